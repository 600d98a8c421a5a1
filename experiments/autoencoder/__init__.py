"""Diffusion autoencoders (Preechakul et al., 2022)."""
