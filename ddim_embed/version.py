"""The version, in a module of its own so that building the package need not import TensorFlow."""

__version__ = "0.1.0"
