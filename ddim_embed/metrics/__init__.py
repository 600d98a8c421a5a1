"""Image quality: pixel errors here; perceptual and Frechet distances in their modules."""

from ddim_embed.metrics.pixels import clipped_mse, content, mse, psnr, ssim

__all__ = ["clipped_mse", "content", "mse", "psnr", "ssim"]
