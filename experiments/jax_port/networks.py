"""The networks of `ddim_embed.unet` and `ddim_embed.embedders` as functions of trees."""

import math

import jax
import jax.numpy as jnp

EMBEDDING_DIMS = 64
EPSILON = 1e-3  # of BatchNorm
MOMENTUM = 0.99


def convolve(x, kernel, bias):
    """A convolution with stride 1 that keeps height and width, in the precision of `x`."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    kernel = kernel.astype(x.dtype)
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)
    return y + bias.astype(x.dtype)


def pointwise(x, kernel, bias):
    """A 1x1 convolution, as a product of matrices."""
    return jnp.einsum("bhwc,cd->bhwd", x, kernel[0, 0].astype(x.dtype)) + bias.astype(x.dtype)


def swish(x):
    wide = x.astype(jnp.float32)
    return (wide * jax.nn.sigmoid(wide)).astype(x.dtype)


def pool(x):
    """The mean of each 2x2 square."""
    batch, height, width, channels = x.shape
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return squares.astype(jnp.float32).mean((2, 4)).astype(x.dtype)


def upsample(x):
    """Twice the height and width, bilinearly: a quarter of the neighbour on the nearer side."""

    def along(x, axis):
        size = x.shape[axis]
        edged = jnp.concatenate(
            [x.take(jnp.array([0]), axis), x, x.take(jnp.array([size - 1]), axis)], axis
        )
        before = jax.lax.slice_in_dim(edged, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(edged, 2, size + 2, axis=axis)
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        return pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])

    return along(along(x, 1), 2)


def sinusoids(variances):
    """As `SinusoidalEmbedding`: `(..., 1)` -> `(..., EMBEDDING_DIMS)`, float32."""
    frequencies = jnp.exp(jnp.linspace(math.log(1.0), math.log(1000.0), EMBEDDING_DIMS // 2))
    angles = 2 * math.pi * frequencies * variances
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def down_and_up(x, count, depth, block):
    """Runs `count` blocks, `depth` per level, down to the last width and back, joined by skips.

    Args:
        x: `(batch, height, width, channels)`.
        count, depth: see above.
        block: function of `(x, index of the block)`.
    """
    last = (count // depth - 1) // 2
    blocks, skips = iter(range(count)), []
    for level in range(last + 1):
        for _ in range(depth):
            x = block(x, next(blocks))
            skips += [x] * (level < last)
        x = pool(x) if level < last else x
    for _ in range(last):
        x = upsample(x)
        for _ in range(depth):
            x = block(jnp.concatenate([x, skips.pop()], -1), next(blocks))
    return x


def unet(tree, images, variances=None, *, depth=2, training=False, dtype=jnp.bfloat16):
    """`UNet`.

    Args:
        tree: the network.
        images: `(batch, height, width, channels)`, model space.
        variances: noise variances `(batch, 1, 1, 1)`, or None where it is not conditioned.
        depth: blocks per level and direction.
        training: whether BatchNorm uses the batch's statistics and moves its averages.
        dtype: of the convolutions.

    Returns:
        `(outputs, statistics)`: float32 of the shape of `images`, and the averages as they are now.
    """
    weights, moved = tree["weights"], []

    def block(x, index):
        layer, (mean, variance) = weights["blocks"][index], tree["statistics"][index]
        residual = pointwise(x, **layer["projection"]) if "projection" in layer else x
        if training:
            wide = x.astype(jnp.float32)
            found = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
            averages = zip((mean, variance), jax.lax.stop_gradient(found), strict=True)
            moved.append(tuple(MOMENTUM * old + (1 - MOMENTUM) * new for old, new in averages))
            mean, variance = found
        else:
            moved.append((mean, variance))
        scale = jax.lax.rsqrt(variance + EPSILON)
        x = (x.astype(jnp.float32) * scale - mean * scale).astype(dtype)
        return convolve(swish(convolve(x, **layer["conv1"])), **layer["conv2"]) + residual

    x = pointwise(images.astype(dtype), **weights["input_conv"])
    if variances is not None:
        embedded = sinusoids(variances).astype(dtype)
        x = jnp.concatenate([x, jnp.broadcast_to(embedded, (*x.shape[:3], EMBEDDING_DIMS))], -1)
    x = down_and_up(x, len(weights["blocks"]), depth, block)
    return pointwise(x, **weights["output_conv"]).astype(jnp.float32), moved


def embed(tree, images, *, depth=2, dtype=jnp.bfloat16):
    """Images in model space -> latents, by a `ConvEmbedder`'s tree or an unconditioned `UNet`'s."""
    if isinstance(tree["weights"], dict):
        return unet(tree, images, depth=depth, dtype=dtype)[0]
    x = images.astype(dtype)
    *hidden, last = tree["weights"]
    for layer in hidden:
        x = jax.nn.relu(convolve(x, **layer))
    return convolve(x, **last).astype(jnp.float32)
