"""Attacks: bad inputs and kills, drawn from a seed. `python -m tests.campaigns --help`."""
