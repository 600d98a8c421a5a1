"""Editing images through h, the bottleneck of the U-Net (Asyrp, Kwon et al. 2023)."""
