"""Shipped generators by name."""

from ddim_embed.generator.generator import Generator
from ddim_embed.store.weights import find_weights, load_weights


def load_generator(name, root=None, num_steps=10, precision="float32", last_step=None):
    """Loads a trained generator.

    Args:
        name: data set, a folder of `weights/`.
        root: folder of weights; by default the shipped one (see `weights.weights_root`).
        num_steps: sampler steps of a decode.
        precision: "float32" or "bfloat16", of the convolutions.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`; None for that which
            the weights were recorded with.

    Returns:
        A `Generator`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says, or for options that `Generator`
            refuses.
    """
    path, entry = find_weights(name, "generator", root)
    options = {"num_steps": num_steps, "precision": precision}
    if last_step is not None:
        options["last_step"] = last_step
    generator = Generator(**entry["config"] | options)
    load_weights(generator, path, entry["sha256"])
    generator.dataset, generator.root = name, root
    return generator
