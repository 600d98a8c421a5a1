"""Attacks: many bad inputs and many kills, drawn from a seed. `python -m tests.campaigns --help`."""
