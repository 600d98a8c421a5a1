"""The study of latents: clouds, the Jacobian, directions, agreement, interpolation."""

from ddim_embed.analysis import clouds

__all__ = ["clouds"]
