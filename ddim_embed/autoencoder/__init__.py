"""Diffusion autoencoders: an image as a semantic vector and latents (Preechakul et al., 2022)."""
