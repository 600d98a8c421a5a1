"""The exact denoiser of given data: what a network trained on them approximates, in closed form.

A noisy image x = s d + e z of signal rate s and noise rate e has come from each of the data d with
a probability that Bayes' rule gives. The noise's mean under it is the best prediction in mean
square that these data allow. Its sampler also returns what is in these data and nothing else: where
the last noise rate is small beside their distances, one of them.
"""

import numpy as np
from keras import ops

from ddim_embed import arguments

# Of a block of data, and of the weights of its data for all noisy images of a batch.
_BLOCK_BYTES = 2**26


class EmpiricalDenoiser:
    """The best prediction of the noise when the data are exactly these, all equally probable.

    With w = softmax(-|x - s d_i|**2 / (2 e**2)) over i, the predicted image is sum(w_i d_i), and
    the predicted noise (x - s sum(w_i d_i)) / e; s and e are the rates of signal and noise.

    Args:
        data: float, `(n, ...)`, n at least 1, in model space: images, or points of any shape. Held,
            and computed with, in float64 (on JAX in the widest precision that it is set to).
        block_size: data that are worked on at a time, which bounds memory and changes no result;
            by default as many as fill 64 MiB.

    Call: `(noisy_images, rates) -> pred_noises`, as a sampler does: `noisy_images` float of shape
    `(batch, ...)`, `rates` each broadcastable to `(batch, 1, ..)` with `rates.noise` positive;
    returns the shape and dtype of `noisy_images`. It can be differentiated with respect to these,
    forwards and backwards; rates are constants.

    Example:
        >>> denoise = de.EmpiricalDenoiser(np.zeros((1, 4, 4, 1)))
        >>> images = de.sampling.sample(denoise, de.schedules.linear, np.ones((2, 4, 4, 1)))
        >>> bool(abs(np.asarray(images)).max() < 1e-6)
        True

    Raises:
        ValueError: if `data` is empty or not finite, or `block_size` less than 1; in a call, for
            noisy images of another shape than the data's.
    """

    def __init__(self, data, block_size=None):
        data = arguments.finite_array("data", data, np.float64)
        if data.ndim < 2 or not data.size:
            raise ValueError(
                "`data` must have shape (n, ...), with no dimension of 0. Received shape: "
                f"{data.shape}"
            )
        if block_size is not None:
            block_size = arguments.integer("block_size", block_size)
        self.image_shape = data.shape[1:]
        self.block_size = block_size
        points = data.reshape(len(data), -1)
        # Tensors, so that all graphs share them.
        self._points, self._norms = (
            _float64(points),
            _float64(np.einsum("nd,nd->n", points, points)),
        )

    def __call__(self, noisy_images, rates):
        noisy_images = ops.convert_to_tensor(noisy_images)
        if tuple(noisy_images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"`noisy_images` must have shape (batch, {', '.join(map(str, self.image_shape))}), "
                f"as the data have. Received shape: {tuple(noisy_images.shape)}"
            )
        noisy = _float64(ops.reshape(noisy_images, (-1, self._points.shape[1])))
        signal, noise = (ops.reshape(ops.stop_gradient(_float64(rate)), (-1, 1)) for rate in rates)
        pred_noises = (noisy - signal * self._mean_image(noisy, signal, noise)) / noise
        pred_noises = ops.reshape(pred_noises, ops.shape(noisy_images))
        return ops.cast(pred_noises, noisy_images.dtype)

    def _mean_image(self, noisy, signal, noise):
        """sum_i w_i d_i, `(batch, dims)`; its gradient stores nothing of the blocks."""

        @ops.custom_gradient
        def mean(noisy):
            def gradient(upstream):
                # The derivative is s / e**2 times the covariance of the data under the weights.
                second = self._sum(noisy, signal, noise, upstream)
                expected = self._mean_image(noisy, signal, noise)
                first = expected * ops.sum(expected * upstream, axis=1, keepdims=True)
                return signal / noise**2 * (second - first)

            return self._sum(ops.stop_gradient(noisy), signal, noise), gradient

        return mean(noisy)

    def _sum(self, noisy, signal, noise, direction=None):
        """sum_i w_i d_i, or sum_i w_i (direction . d_i) d_i: a softmax that streams over blocks.

        Args:
            noisy: `(batch, dims)`.
            signal, noise: `(batch or 1, 1)`.
            direction: None, or `(batch, dims)`.

        Returns:
            `(batch, dims)`.
        """
        count, dims = self._points.shape
        size = self.block_size or _BLOCK_BYTES // (8 * max(noisy.shape[0] or 1, dims))
        size = min(max(1, size), count)
        numbers = ops.arange(size, dtype="int32")

        def add(index, state):
            highest, total, weighted = state
            # The last block begins where it fits, and its weights skip what the one before had.
            start = ops.minimum(index * size, count - size)
            block = ops.slice(self._points, (start, 0), (size, dims))
            # -|x - s d|**2 / (2 e**2) without its |x|**2, which all of the data share. In float64
            # the difference of large numbers is precise far below the noise rates of any schedule.
            logits = ops.matmul(signal / noise**2 * noisy, ops.transpose(block))
            logits -= (signal / noise) ** 2 / 2 * ops.slice(self._norms, (start,), (size,))
            logits = ops.where(start + numbers < index * size, -np.inf, logits)
            # The highest one only guards against overflow: it cancels, and so does its gradient.
            highest_now = ops.stop_gradient(
                ops.maximum(highest, ops.max(logits, axis=1, keepdims=True))
            )
            weights = ops.exp(logits - highest_now)
            shrinkage = ops.exp(highest - highest_now)
            total = total * shrinkage + ops.sum(weights, axis=1, keepdims=True)
            if direction is not None:
                weights *= ops.matmul(direction, ops.transpose(block))
            return highest_now, total, weighted * shrinkage + ops.matmul(weights, block)

        zeros = ops.zeros_like(noisy[:, :1])
        state = (zeros - np.inf, zeros, ops.zeros_like(noisy))
        _, total, weighted = ops.fori_loop(0, -(-count // size), add, state)
        return weighted / total


def _float64(values):
    """In float64, where the backend has it."""
    if not ops.is_tensor(values):  # NumPy first: a backend may round Python's floats
        return ops.convert_to_tensor(np.asarray(values, np.float64))
    return ops.cast(values, "float64")
