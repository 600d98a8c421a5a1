"""Training in JAX, on a GPU whose machine has no TensorFlow: the same steps, the same weights.

`python -m experiments.<data set> pack FOLDER` writes images and weights to a folder, `python -m
experiments.jax_port FOLDER/<data set>` trains there with JAX, Optax and NumPy alone, and `python -m
experiments.<data set> unpack FOLDER` records what was trained. Tests compare each step with its
original, `DiffusionModel` and `EmbedderTrainer`.

A network is a tree of dicts and lists: `"weights"`, what is trained, and `"statistics"`, a pair
(mean, variance) per BatchNorm. A generator's has its normaliser's `"mean"` and `"variance"`, too.
"""
