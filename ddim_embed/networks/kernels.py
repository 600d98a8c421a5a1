"""The passes over memory that decide how fast a U-Net is, each in a plain and a fused form.

The plain forms are written in `keras.ops` and run on every backend. With TensorFlow the fused forms
take their place; this is the only file of the networks with TensorFlow in it.
"""

import keras
from keras import ops

FUSED = keras.backend.backend() == "tensorflow"
if FUSED:
    import tensorflow as tf

_EPSILON = 1e-5  # of group normalisation


def plain_swish(x):
    """x * sigmoid(x), elementwise."""
    return x * ops.sigmoid(x)


def plain_add_swish(x, added):
    """swish(x + added), computed in float32.

    Args:
        x: float, `(batch, height, width, channels)`.
        added: a constant of the same dtype, `(1, height, width, channels)`.

    Returns:
        The shape and dtype of `x`.
    """
    total = ops.cast(x, "float32") + ops.cast(added, "float32")
    return ops.cast(total * ops.sigmoid(total), x.dtype)


def plain_add_swish_modulate(x, added, scale, shift):
    """swish(x + added) * (1 + scale) + shift, computed in float32.

    Args:
        x, added: as for `plain_add_swish`.
        scale, shift: float32, `(batch, 1, 1, channels)`.

    Returns:
        The shape and dtype of `x`.
    """
    total = ops.cast(x, "float32") + ops.cast(added, "float32")
    return ops.cast(total * ops.sigmoid(total) * (1 + scale) + shift, x.dtype)


def plain_norm_swish(x, scale, shift, groups):
    """Group normalisation with scale and shift, and swish behind it, computed in float32.

    Args:
        x: float, `(batch, height, width, channels)`.
        scale, shift: float32, `(batch, 1, 1, channels)` or what broadcasts to it; they follow the
            normalisation to zero mean and unit variance.
        groups: a divisor of the channels.

    Returns:
        The shape and dtype of `x`.
    """
    mean, deviation = group_moments(x, groups)
    values = (ops.cast(x, "float32") - mean) * (scale / deviation) + shift
    return ops.cast(values * ops.sigmoid(values), x.dtype)


def group_moments(x, groups):
    """The mean and the deviation of each image's groups of channels, spread over their channels.

    Args:
        x: float, `(batch, height, width, channels)`.
        groups: a divisor of the channels.

    Returns:
        float32 `(batch, 1, 1, channels)` each; the deviation is at least 0.003.
    """
    x = ops.cast(x, "float32")
    # The variances of the channels, in which nothing cancels, and that of their means.
    mean = ops.mean(x, axis=(1, 2), keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=(1, 2), keepdims=True)
    grouped = _of_groups(mean, groups)
    variance = _of_groups(variance + ops.square(mean - grouped), groups)
    return grouped, ops.sqrt(variance + _EPSILON)


def _of_groups(values, groups):
    """The means of groups of channels, one for each channel."""
    channels = values.shape[-1]
    split = ops.reshape(values, (-1, 1, 1, groups, channels // groups))
    means = ops.broadcast_to(ops.mean(split, axis=-1, keepdims=True), ops.shape(split))
    return ops.reshape(means, (-1, 1, 1, channels))


def plain_upsample(x):
    """Twice the height and width by bilinear interpolation, `(batch, height, width, channels)`.

    A new pixel has a quarter of the neighbour on its side, and three quarters of the old pixel.
    """
    for axis in (1, 2):
        first = ops.take(x, [0], axis=axis)
        last = ops.take(x, [x.shape[axis] - 1], axis=axis)
        edged = ops.concatenate([first, x, last], axis=axis)
        numbers = ops.arange(x.shape[axis])
        before, after = (ops.take(edged, numbers + shift, axis=axis) for shift in (0, 2))
        pair = ops.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        shape = [*ops.shape(x)]
        shape[axis] *= 2
        x = ops.reshape(pair, shape)
    return x


def plain_bias_add(x, bias):
    """x + bias, `(channels,)`."""
    return x + bias


def plain_pointwise(x, kernel):
    """A 1x1 convolution with a kernel `(1, 1, channels, filters)`."""
    return ops.matmul(x, kernel[0, 0])


if FUSED:

    def fused_swish(x):
        """`plain_swish`, with a gradient of one pass over memory instead of six."""
        return _swish(x)  # Keras could not load a layer whose activation is the decorated function

    @tf.custom_gradient
    def _swish(x):
        def gradient(upstream):
            return _swish_gradient(x, upstream)

        return tf.nn.silu(x), gradient

    @tf.function(jit_compile=True, autograph=False)
    def _swish_gradient(x, upstream):
        gradient = _gradient_of_swish(tf.cast(x, tf.float32), tf.cast(upstream, tf.float32))
        return tf.cast(gradient, x.dtype)

    def _gradient_of_swish(x, upstream):
        gate = tf.sigmoid(x)
        return upstream * gate * (1 + x * (1 - gate))

    @tf.custom_gradient
    def fused_add_swish(x, added):
        """`plain_add_swish` in one pass, and one for its gradient with respect to x."""

        def gradient(upstream):
            return _add_swish_gradient(x, added, upstream), None

        return _add_swish(x, added), gradient

    @tf.function(jit_compile=True, autograph=False)
    def _add_swish(x, added):
        return plain_add_swish(x, added)

    @tf.function(jit_compile=True, autograph=False)
    def _add_swish_gradient(x, added, upstream):
        total = tf.cast(x, tf.float32) + tf.cast(added, tf.float32)
        return tf.cast(_gradient_of_swish(total, tf.cast(upstream, tf.float32)), x.dtype)

    @tf.custom_gradient
    def fused_add_swish_modulate(x, added, scale, shift):
        """`plain_add_swish_modulate` in one pass, and one for its gradient with respect to x."""

        def gradient(upstream):
            # Functions of their own: a graph that needs the first alone computes no other.
            of_x = _add_swish_gradient(x, added, upstream * tf.cast(1 + scale, upstream.dtype))
            return of_x, None, _scale_gradient(x, added, upstream), _shift_gradient(upstream)

        return _add_swish_modulate(x, added, scale, shift), gradient

    @tf.function(jit_compile=True, autograph=False)
    def _add_swish_modulate(x, added, scale, shift):
        return plain_add_swish_modulate(x, added, scale, shift)

    @tf.function(jit_compile=True, autograph=False)
    def _scale_gradient(x, added, upstream):
        activated = plain_add_swish(tf.cast(x, tf.float32), added)
        product = tf.cast(upstream, tf.float32) * activated
        return tf.reduce_sum(product, axis=(1, 2), keepdims=True)

    def _shift_gradient(upstream):
        return tf.reduce_sum(tf.cast(upstream, tf.float32), axis=(1, 2), keepdims=True)

    def fused_norm_swish(x, scale, shift, groups):
        """`plain_norm_swish` in one pass behind the moments; its gradient in two and two sums."""

        @tf.custom_gradient
        def normalize(x, scale, shift):
            mean, deviation = group_moments(x, groups)
            factor = scale / deviation

            def gradient(upstream):
                slope, product = _norm_swish_slope(x, mean, factor, shift, upstream)
                of_shift = tf.reduce_sum(slope, axis=(1, 2), keepdims=True)
                of_scale = tf.reduce_sum(product, axis=(1, 2), keepdims=True) / deviation
                # What goes through mean and deviation, by x and by what is normalised.
                spread = deviation * tf.cast(tf.reduce_prod(tf.shape(x)[1:3]), tf.float32)
                even = _of_groups(scale * of_shift, groups) / spread
                tilt = _of_groups(scale * of_scale, groups) / (spread * deviation)
                return _norm_swish_gradient(x, mean, slope, factor, even, tilt), of_scale, of_shift

            return _norm_swish(x, mean, factor, shift), gradient

        rows = tf.shape(x)[0], 1, 1, x.shape[-1]
        return normalize(x, tf.broadcast_to(scale, rows), tf.broadcast_to(shift, rows))

    @tf.function(jit_compile=True, autograph=False)
    def _norm_swish(x, mean, factor, shift):
        return tf.cast(tf.nn.silu((tf.cast(x, tf.float32) - mean) * factor + shift), x.dtype)

    @tf.function(jit_compile=True, autograph=False)
    def _norm_swish_slope(x, mean, factor, shift, upstream):
        centred = tf.cast(x, tf.float32) - mean
        slope = _gradient_of_swish(centred * factor + shift, tf.cast(upstream, tf.float32))
        return slope, slope * centred

    @tf.function(jit_compile=True, autograph=False)
    def _norm_swish_gradient(x, mean, slope, factor, even, tilt):
        return tf.cast(slope * factor - even - (tf.cast(x, tf.float32) - mean) * tilt, x.dtype)

    def fused_upsample(x):
        """`plain_upsample` in one operation, whose gradient can be differentiated, too.

        Products with the Jacobian are gradients of gradients; TensorFlow has no derivative of the
        gradient of bilinear resizing, and would silently leave its share out.
        """
        return _upsample(x)

    @tf.custom_gradient
    def _upsample(x):
        @tf.custom_gradient
        def transposed(upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = _resize(x)
            return tape.gradient(y, x, output_gradients=upstream), _resize

        return _resize(x), transposed

    def _resize(x):
        # Keras' `UpSampling2D` also clips to the range of the dtype: five times the work.
        larger = tf.raw_ops.ResizeBilinear(
            images=x, size=2 * tf.shape(x)[1:3], align_corners=False, half_pixel_centers=True
        )
        height, width = (size and 2 * size for size in x.shape[1:3])
        larger.set_shape((x.shape[0], height, width, x.shape[3]))
        return tf.cast(larger, x.dtype)

    def fused_batch_norm(x, mean, variance, epsilon):
        """Batch normalisation in one kernel, without centre and scale.

        Args:
            x: float, `(batch, height, width, channels)`.
            mean, variance: float32 `(channels,)`, or None for those of the batch.
            epsilon: added to the variance.

        Returns:
            The shape and dtype of `x`; and the mean and the biased variance that were used.
        """
        channels = tf.shape(x)[-1:]
        scale, offset = tf.ones(channels), tf.zeros(channels)
        if mean is not None:
            outputs = tf.compat.v1.nn.fused_batch_norm(
                x, scale, offset, mean, variance, epsilon, is_training=False
            )[0]
            return outputs, mean, variance
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, epsilon=epsilon, is_training=True
        )
        # The kernel returns the unbiased variance; Keras averages the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), variance.dtype)
        return outputs, mean, variance * (count - 1) / count

    def fused_bias_add(x, bias):
        """`plain_bias_add`, as the operation that TensorFlow fuses with a convolution."""
        return tf.nn.bias_add(x, bias)

    def fused_pointwise(x, kernel):
        """`plain_pointwise` as a convolution."""
        return tf.nn.conv2d(x, kernel, 1, "SAME")


swish = fused_swish if FUSED else plain_swish
add_swish = fused_add_swish if FUSED else plain_add_swish
add_swish_modulate = fused_add_swish_modulate if FUSED else plain_add_swish_modulate
norm_swish = fused_norm_swish if FUSED else plain_norm_swish
upsample = fused_upsample if FUSED else plain_upsample
bias_add = fused_bias_add if FUSED else plain_bias_add
pointwise = fused_pointwise if FUSED else plain_pointwise
