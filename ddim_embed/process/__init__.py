"""The diffusion process: schedules, sampling and its inversions. Knows no network."""

from ddim_embed.process import sampling, schedules

__all__ = ["sampling", "schedules"]
