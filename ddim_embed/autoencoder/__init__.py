"""Diffusion autoencoders: images as semantic vectors and latents (Preechakul et al., 2022)."""
