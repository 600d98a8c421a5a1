"""Files that are kept: weights and their records, checkpoints, caches."""
