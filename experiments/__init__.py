"""Experiments: a module for each data set, a package for each system, and their toolkit."""

import os

# Hides TensorFlow's start-up messages; it has to be set before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
