"""The five embedding networks of Asperti et al. (Sec. 5.2, Table 1): from images to latents."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.networks.blocks import dtype_policy, register
from ddim_embed.networks.unet import UNet
from ddim_embed.store.schema import integer, integers
from ddim_embed.store.weights import MissingWeightsError, find_weights, load_recorded

# Per network, its convolutions as (kernel size, channels); the last one puts out the latents.
CONVOLUTIONS = {
    "conv1": ((5, None),),
    "conv3_16": ((5, 16), (5, 16), (5, None)),
    "conv3_64": ((5, 64), (5, 64), (5, None)),
    "conv5_128": ((5, 128), (5, 128), (3, 128), (3, 128), (3, 128), (5, None)),
}
NETWORKS = (*CONVOLUTIONS, "unet")
# What a record must say of a U-Net, and of a network of convolutions, which may have these sizes.
UNET_SIZES = {
    "channels": integer(1, 2**10),
    "widths": integers(1, 2**15, 1, 16),
    "block_depth": integer(1, 2**6),
}


@register
class ConvEmbedder(keras.Model):
    """A stack of convolutions with ReLU between them.

    Args:
        channels: image channels, in and out.
        convolutions: pairs (kernel size, output channels); the last pair's channels are `channels`,
            written None.

    Example:
        >>> network = de.ConvEmbedder(channels=3, convolutions=((5, 8), (3, None)))
        >>> network(np.zeros((2, 16, 16, 3))).shape
        TensorShape([2, 16, 16, 3])

    Call: images `(batch, height, width, channels)`, model space -> latents of the same shape,
    float32 at any `dtype` policy.
    """

    def __init__(self, channels=1, convolutions=CONVOLUTIONS["conv3_16"], **kwargs):
        super().__init__(**kwargs)
        self.channels = arguments.integer("channels", channels)
        self.convolutions = tuple(tuple(convolution) for convolution in convolutions)
        *hidden, (last_size, _) = self.convolutions
        self.convs = [
            keras.layers.Conv2D(
                width,
                size,
                padding="same",
                data_format="channels_last",
                activation="relu",
                dtype=self.dtype_policy,
            )
            for size, width in hidden
        ]
        self.convs.append(
            keras.layers.Conv2D(
                channels,
                last_size,
                padding="same",
                data_format="channels_last",
                dtype=self.dtype_policy,
            )
        )
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return
        width = self.channels
        for conv in self.convs:
            conv.build((None, None, None, width))
            width = conv.filters
        self.built = True

    def call(self, images, training=None):
        for conv in self.convs:
            images = conv(images)
        return ops.cast(images, "float32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "convolutions": self.convolutions,
        }


def build_embedder(
    network: str,
    channels: int = 1,
    widths: Sequence[int] = (32, 64, 96, 128),
    block_depth: int = 2,
    precision: str = "float32",
) -> keras.Model:
    """Builds an embedding network by its name in Table 1.

    Args:
        network: one of `NETWORKS`.
        channels: image channels.
        widths, block_depth: the sizes of the `unet`; the convolutional networks have none.
        precision: "float32", or "bfloat16" to compute in it with float32 weights.

    Returns:
        A built `keras.Model` from images in model space to latents, with random weights.

    Raises:
        ValueError: for an unknown name or precision.

    Example:
        >>> de.build_embedder("conv1", channels=1).count_params()
        26
    """
    policy = dtype_policy(precision)
    if arguments.choice("network", network, NETWORKS) == "unet":
        return UNet(channels, widths, block_depth, conditioned=False, dtype=policy)
    return ConvEmbedder(channels, CONVOLUTIONS[network], dtype=policy)


def load_embedder(name: str, network: str, root: str | Path | None = None) -> keras.Model:
    """Loads a trained embedding network.

    Args:
        name: data set, a folder of `weights/`.
        network: a name of `embedders.NETWORKS`.
        root: folder of weights; by default the shipped one.

    Returns:
        A `keras.Model` from images in model space to latents.

    Raises:
        FileNotFoundError: if there are no such weights; the message lists those there are.
        ValueError: if the file is not what its record says.

    Warns:
        UserWarning: if it was trained through another generator than the one that is there now.

    Example:
        >>> generator = de.load_generator("mnist")
        >>> network = de.load_embedder("mnist", "conv3_16")
        >>> network(generator.normalizer(np.zeros((2, 32, 32, 1)))).shape
        TensorShape([2, 32, 32, 1])
    """
    if not isinstance(network, str) or network not in NETWORKS:
        find_weights(name, network, root)  # which names those that there are
    sizes = UNET_SIZES
    if network in CONVOLUTIONS:
        _, entry = find_weights(name, network, root)
        sizes = {"channels": UNET_SIZES["channels"]}
        sizes |= {key: UNET_SIZES[key] for key in UNET_SIZES if key in entry["config"]}
    embedder, path, entry = load_recorded(
        lambda config: build_embedder(network, **config),
        sizes,
        name,
        network,
        root,
        least_size=unet_size if network == "unet" else None,
    )
    trained_through = entry["budget"].get("generator")
    generator = None
    with contextlib.suppress(MissingWeightsError):
        generator = find_weights(name, "generator", root)[1]["sha256"]
    if trained_through and generator and trained_through != generator:
        warnings.warn(
            f"{path} was trained through another generator than the one in its folder: train it "
            "again.",
            stacklevel=2,
        )
    return embedder


def unet_size(config: dict) -> int:
    """The bytes that a file of a U-Net of such sizes has at least, in half precision."""
    widths = config["widths"]
    kernels = (
        2 * 9 * sum(width**2 for width in widths)
    )  # of the second convolutions on the way down
    # HDF5 takes more than 2000 bytes for the groups and the arrays of a block.
    return config["block_depth"] * (kernels + 2000 * (2 * len(widths) - 1))
