"""What bfloat16 costs in accuracy: errors of the shipped networks, decoded in both precisions."""

import ddim_embed as de
from benchmarks.work import PRECISIONS
from ddim_embed import metrics


def reconstruction_errors(dataset="fashion_mnist", images=256):
    """Mean squared errors of the bundled sample's first images.

    Args:
        dataset: one with a bundled sample and shipped weights.
        images: how many.

    Returns:
        Dict from network to a dict from precision to the mean error.
    """
    generator = de.load_generator(dataset)
    pixels, _ = de.load_images(dataset, "test", limit=images, source="sample")
    errors = {}
    for network in de.NETWORKS:
        latents = de.embed(generator, pixels, network).latents
        errors[network] = {
            precision: float(
                metrics.clipped_mse(
                    pixels, generator.decode(latents, precision).numpy(), generator.padding
                ).mean()
            )
            for precision in PRECISIONS
        }
    return errors
