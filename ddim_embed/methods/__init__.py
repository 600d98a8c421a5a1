"""From pixels to latents: one protocol, one driver, a file per method."""
