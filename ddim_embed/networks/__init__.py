"""Keras layers and models, and their frozen forms for decoding."""
