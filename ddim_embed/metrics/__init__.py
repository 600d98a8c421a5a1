"""Image quality: pixel errors here; perceptual and Frechet distances in their modules."""

from ddim_embed.metrics.pixels import content, mse, psnr, ssim

__all__ = ["content", "mse", "psnr", "ssim"]
