"""Checks of arguments, in the same words everywhere."""
