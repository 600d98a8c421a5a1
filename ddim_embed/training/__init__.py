"""The training loop, and what each system minimises."""
