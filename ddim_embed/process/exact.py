"""The exact denoiser of given data: what a network trained on them approximates, in closed form.

A noisy image x = s d + e z of signal rate s and noise rate e has come from each of the data d with
a probability that Bayes' rule gives. The noise's mean under it is the best prediction in mean
square that these data allow. Its sampler also returns what is in these data and nothing else: where
the last noise rate is small beside their distances, one of them.
"""

import numpy as np
import tensorflow as tf

# Of a block of data, and of the weights of its data for all noisy images of a batch.
_BLOCK_BYTES = 2**26


class EmpiricalDenoiser:
    """The best prediction of the noise when the data are exactly these, all equally probable.

    With w = softmax(-|x - s d_i|**2 / (2 e**2)) over i, the predicted image is sum(w_i d_i), and
    the predicted noise (x - s sum(w_i d_i)) / e; s and e are the rates of signal and noise.

    Args:
        data: float, `(n, ...)`, n at least 1, in model space: images, or points of any shape. Held,
            and computed with, in float64.
        block_size: data that are worked on at a time, which bounds memory and changes no result;
            by default as many as fill 64 MiB.

    Call: `(noisy_images, rates) -> pred_noises`, as a sampler does: `noisy_images` float of shape
    `(batch, ...)`, `rates` each broadcastable to `(batch, 1, ..)` with `rates.noise` positive;
    returns the shape and dtype of `noisy_images`. It can be differentiated with respect to these,
    forwards and backwards; rates are constants.

    Raises:
        ValueError: if `data` is empty or not finite, or `block_size` less than 1; in a call, for
            noisy images of another shape than the data's.
    """

    def __init__(self, data, block_size=None):
        data = np.asarray(data)
        if data.ndim < 2 or not data.size:
            raise ValueError(
                "`data` must have shape (n, ...), with no dimension of 0. Received shape: "
                f"{data.shape}"
            )
        if not np.isfinite(data).all():
            raise ValueError("`data` must be finite. Received: NaN or infinity")
        if block_size is not None and block_size < 1:
            raise ValueError(f"`block_size` must be at least 1. Received: {block_size}")
        self.image_shape = data.shape[1:]
        self.block_size = block_size
        points = data.reshape(len(data), -1).astype(np.float64)
        with tf.init_scope():  # one tensor for all graphs, not a copy in each
            self._points = tf.constant(points)
            self._norms = tf.constant(np.einsum("nd,nd->n", points, points))

    def __call__(self, noisy_images, rates):
        noisy_images = tf.convert_to_tensor(noisy_images)
        expected = tf.TensorShape([None, *self.image_shape])
        if not noisy_images.shape.is_compatible_with(expected):
            raise ValueError(
                f"`noisy_images` must have shape (batch, {', '.join(map(str, self.image_shape))}), "
                f"as the data have. Received shape: {noisy_images.shape}"
            )
        noisy = tf.cast(tf.reshape(noisy_images, (-1, self._points.shape[1])), tf.float64)
        signal, noise = (tf.reshape(tf.stop_gradient(_float64(rate)), (-1, 1)) for rate in rates)
        pred_noises = (noisy - signal * self._mean_image(noisy, signal, noise)) / noise
        return tf.cast(tf.reshape(pred_noises, tf.shape(noisy_images)), noisy_images.dtype)

    def _mean_image(self, noisy, signal, noise):
        """sum_i w_i d_i, float64 `(batch, dims)`; its gradient keeps nothing of the blocks."""

        @tf.custom_gradient
        def mean(noisy):
            def gradient(upstream):
                # The derivative is s / e**2 times the covariance of the data under the weights.
                second = self._sum(noisy, signal, noise, upstream)
                expected = self._mean_image(noisy, signal, noise)
                first = expected * tf.reduce_sum(expected * upstream, axis=1, keepdims=True)
                return signal / noise**2 * (second - first)

            return self._sum(tf.stop_gradient(noisy), signal, noise), gradient

        return mean(noisy)

    def _sum(self, noisy, signal, noise, direction=None):
        """sum_i w_i d_i, or sum_i w_i (direction . d_i) d_i: a softmax that streams over blocks.

        Args:
            noisy: float64, `(batch, dims)`.
            signal, noise: float64, `(batch or 1, 1)`.
            direction: None, or float64, `(batch, dims)`.

        Returns:
            float64, `(batch, dims)`.
        """
        count, dims = self._points.shape
        batch = tf.shape(noisy)[0]
        size = self.block_size
        if size is None:
            size = tf.maximum(1, _BLOCK_BYTES // (8 * tf.maximum(batch, dims)))

        def add(start, highest, total, weighted):
            block = self._points[start : start + size]
            # -|x - s d|**2 / (2 e**2) without its |x|**2, which all of the data share. In float64
            # the difference of large numbers is precise far below the noise rates of any schedule.
            logits = tf.matmul(signal / noise**2 * noisy, block, transpose_b=True)
            logits -= (signal / noise) ** 2 / 2 * self._norms[start : start + size]
            # The highest one only guards against overflow: it cancels, and so does its gradient.
            highest_now = tf.stop_gradient(
                tf.maximum(highest, tf.reduce_max(logits, axis=1, keepdims=True))
            )
            weights = tf.exp(logits - highest_now)
            shrinkage = tf.exp(highest - highest_now)
            total = total * shrinkage + tf.reduce_sum(weights, axis=1, keepdims=True)
            if direction is not None:
                weights *= tf.matmul(direction, block, transpose_b=True)
            weighted = weighted * shrinkage + tf.matmul(weights, block)
            return start + size, highest_now, total, weighted

        _, _, total, weighted = tf.while_loop(
            lambda start, *_: start < count,
            add,
            (
                0,
                tf.fill((batch, 1), tf.constant(-np.inf, tf.float64)),
                tf.zeros((batch, 1), tf.float64),
                tf.zeros((batch, dims), tf.float64),
            ),
            shape_invariants=(
                tf.TensorShape(()),
                tf.TensorShape((None, 1)),
                tf.TensorShape((None, 1)),
                tf.TensorShape((None, dims)),
            ),
            parallel_iterations=1,  # blocks side by side would need the memory of all
        )
        return weighted / total


def _float64(rate):
    """Python's floats are converted at once: TensorFlow would round them to float32 first."""
    return tf.cast(rate, tf.float64) if tf.is_tensor(rate) else tf.constant(rate, tf.float64)
