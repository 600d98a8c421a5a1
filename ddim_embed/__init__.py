"""Embedding images into the latent space of denoising diffusion implicit models.

import ddim_embed as de

generator = de.load_generator("fashion_mnist")
pixels, labels = de.load_images("fashion_mnist", "test", limit=64)
result = de.embed(generator, pixels, method="unet")

Each public name is imported when it is first used: importing the package alone imports neither
Keras nor TensorFlow. `__init__.pyi` lists the names and the modules that define them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
