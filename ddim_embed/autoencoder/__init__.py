"""Diffusion autoencoders: semantic vectors of images, and the distribution they come from."""
