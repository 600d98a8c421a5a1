"""The ledger of the paper's tables, figures and claims; see `__main__`."""
