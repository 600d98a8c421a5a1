"""The study of diffusion schedules (Figs 6 and 7)."""
