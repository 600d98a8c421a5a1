"""Autoencoders built from plain options, and loaded by name."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from ddim_embed import arguments
from ddim_embed.autoencoder.autoencoder import Autoencoder
from ddim_embed.autoencoder.prior import load_prior
from ddim_embed.generator.generator import Generator
from ddim_embed.generator.pretrained import generator_config, generator_kinds, sampler_options
from ddim_embed.networks.adaptive_unet import AdaptiveUNet
from ddim_embed.networks.modulated_unet import ModulatedUNet
from ddim_embed.networks.semantic_encoder import SemanticEncoder
from ddim_embed.process.process import Process
from ddim_embed.store.schema import integer, integers, one_of
from ddim_embed.store.weights import MissingWeightsError, load_recorded

DECODERS = ("modulated", "adaptive")
_CONFIG = generator_kinds() | {
    "decoder": one_of(DECODERS),
    "semantic_dims": integer(1, 2**15),
    "encoder_widths": integers(1, 2**15, 1, 16),
    "encoder_depth": integer(1, 2**6),
    "attention_resolutions": integers(1, 2**15, 0, 16),
}


def build_autoencoder(
    image_shape: Sequence[int] = (32, 32, 1),
    widths: Sequence[int] = (32, 64, 96, 128),
    block_depth: int = 2,
    attention: str | None = None,
    decoder: str = "modulated",
    semantic_dims: int = 32,
    encoder_widths: Sequence[int] | None = None,
    encoder_depth: int = 1,
    attention_resolutions: Sequence[int] = (16,),
    schedule: str = "continuous_cosine",
    num_steps: int = 10,
    last_step: str = "predicted_image",
    precision: str = "float32",
    padding: int = 0,
    prediction: str = "velocity",
) -> Autoencoder:
    """A diffusion autoencoder with random weights.

    Args:
        image_shape: (height, width, channels) of pixels and of latents.
        widths, block_depth, attention: sizes of the decoder, as for `UNet`.
        decoder: "modulated", a `ModulatedUNet`, or "adaptive", an `AdaptiveUNet`.
        semantic_dims: length of the semantic vectors.
        encoder_widths, encoder_depth: `widths` and `block_depth` of the `SemanticEncoder`; None
            for the decoder's widths and the last one once more.
        attention_resolutions: of the encoder, and of an adaptive decoder.
        schedule, num_steps, last_step, prediction: as for `Process`.
        precision, padding: as for `Generator`.

    Returns:
        An `Autoencoder`.

    Raises:
        ValueError: for options that the parts refuse.

    Example:
        >>> de.build_autoencoder((16, 16, 1), widths=(4, 8), semantic_dims=3).dims
        3
    """
    image_shape = arguments.integers("image_shape", image_shape, count=3)
    arguments.choice("decoder", decoder, DECODERS)
    widths = arguments.integers("widths", widths)
    sizes = {"channels": image_shape[-1], "widths": widths, "block_depth": block_depth}
    if decoder == "modulated":
        network = ModulatedUNet(semantic_dims, attention=attention, dtype="float32", **sizes)
    elif attention is None:
        network = AdaptiveUNet(
            semantic_dims,
            image_size=image_shape[0],
            attention_resolutions=attention_resolutions,
            dropout=0.0,  # which acts in training alone
            dtype="float32",
            **sizes,
        )
    else:
        raise ValueError(
            "An adaptive decoder has attention at the `attention_resolutions`: `attention` must "
            f"be None. Received: {attention!r}"
        )
    encoder = SemanticEncoder(
        image_shape[-1],
        encoder_widths or (*widths, widths[-1]),
        encoder_depth,
        semantic_dims,
        image_shape[0],
        attention_resolutions,
        dtype="float32",
    )
    process = Process(schedule, num_steps, last_step, prediction)
    generator = Generator(
        network, process=process, image_shape=image_shape, precision=precision, padding=padding
    )
    return Autoencoder(encoder, generator)


def autoencoder_config(autoencoder) -> dict:
    """The options of `build_autoencoder` that are recorded with an autoencoder's weights."""
    encoder, network = autoencoder.encoder, autoencoder.generator.network
    return generator_config(autoencoder.generator) | {
        "decoder": "adaptive" if isinstance(network, AdaptiveUNet) else "modulated",
        "semantic_dims": encoder.dims,
        "encoder_widths": encoder.widths,
        "encoder_depth": encoder.block_depth,
        "attention_resolutions": encoder.attention_resolutions,
    }


def load_autoencoder(
    name: str,
    root: str | Path | None = None,
    num_steps: int = 10,
    precision: str = "float32",
    last_step: str | None = None,
) -> Autoencoder:
    """Loads a trained diffusion autoencoder.

    Args:
        name, root, num_steps, precision, last_step: as for `load_generator`.

    Returns:
        An `Autoencoder`, with its prior if that was trained.

    Raises:
        FileNotFoundError: if there are no such weights; says which there are.
        ValueError: if the file is not what its record says, or for options that `Generator`
            refuses.

    Example:
        >>> from ddim_embed.autoencoder.pretrained import autoencoder_config
        >>> autoencoder = de.build_autoencoder((16, 16, 1), widths=(4, 8), semantic_dims=3)
        >>> path, entry = de.record_weights(
        ...     "my_weights", "cats", "autoencoder", autoencoder,
        ...     config=autoencoder_config(autoencoder), data="cats", budget={}, errors={},
        ... )
        >>> de.load_autoencoder("cats", "my_weights").dims
        3
    """
    options = sampler_options(num_steps, precision, last_step)
    autoencoder, _, entry = load_recorded(
        lambda config: build_autoencoder(**config | options), _CONFIG, name, "autoencoder", root
    )
    autoencoder.checksum = entry["sha256"]
    with contextlib.suppress(MissingWeightsError):
        prior = load_prior(name, root)
        if prior.autoencoder in (None, autoencoder.checksum):
            autoencoder.prior = prior
        else:
            warnings.warn(
                f"The prior {name}/prior is left out: it is of other weights of the autoencoder, "
                "before they were trained again.",
                stacklevel=2,
            )
    return autoencoder
