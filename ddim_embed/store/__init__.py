"""Weights files and the manifest that describes them."""
