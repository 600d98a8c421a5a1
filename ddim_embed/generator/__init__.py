"""A trained denoiser as one differentiable map from latents to pixels."""
