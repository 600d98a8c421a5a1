"""One module per data set, and the runner that all of them share."""

import os

# TensorFlow's start-up messages would drown the report; set before its first import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
