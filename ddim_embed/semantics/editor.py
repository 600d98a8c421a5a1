"""Finds directions in the h-space of a generator, and edits images along them."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from keras import ops, tree

from ddim_embed import arguments
from ddim_embed.data import crop_padding
from ddim_embed.generator.generator import DECODE_BATCH, Generator
from ddim_embed.memory import require_memory
from ddim_embed.networks.shift import DeltaNetwork
from ddim_embed.process import noise, sampling
from ddim_embed.process.asymmetric import asymmetric_sample
from ddim_embed.process.schedules import Rates, linear
from ddim_embed.semantics.direction import SemanticDirection

# Kwon et al., Sec. 4: LPIPS where the editing interval ends, and where boosting begins; and about
# where that is for their networks of CelebA-HQ, of 1000 steps with the linear schedule.
_EDIT_DISTANCE, _EDIT_TIME = 0.33, 0.513
_BOOST_DISTANCE, _BOOST_TIME = 1.2, 0.167


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The editing interval and the boost for some images, and what they follow from.

    Attributes:
        times: at which the steps start, `(num_steps,)`, from 1 on.
        predicted: mean LPIPS between the images and those predicted at each step, `(num_steps,)`.
        noisy: mean LPIPS between the images and the noisy images where each step starts.
        until: t_edit, the earliest time at which `predicted` reaches its threshold.
        boost: t_boost, the same of `noisy`.
        reached: whether each threshold is reached. If not, the time is that at which the noise is
            as strong as at the published one.
    """

    times: np.ndarray
    predicted: np.ndarray
    noisy: np.ndarray
    until: float
    boost: float
    reached: tuple[bool, bool]


class HSpaceEditor:
    """Edits images by shifting h, the output of the U-Net's last middle block.

    The shifted h goes up through the network beside the plain one; the lower half of the network is
    evaluated once for both. Predicted images come from the shifted one alone: see
    `asymmetric_sample`.

    Args:
        generator: a `Generator` whose network has an h: a `UNet`, or one with `encode` and `decode`
            as it has them. With a condition, each image is edited under its own.

    Raises:
        ValueError: for anything else.

    Example:
        >>> generator = de.build_generator((16, 16, 1), widths=(4, 8), block_depth=1, num_steps=2)
        >>> editor = de.HSpaceEditor(generator)
        >>> pixels, labels = generator.sample(8).clip(0, 1), np.arange(8) % 2
        >>> direction = editor.fit(pixels, labels)
        >>> latents = de.embed(generator, pixels[:2], "ddim_inversion").latents
        >>> editor.edit(latents, direction, strength=0.5).shape
        (2, 16, 16, 1)
    """

    def __init__(self, generator: Generator):
        self.generator = arguments.instance("generator", generator, Generator)

    @functools.cached_property
    def h_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of h."""
        first = self.generator.take(slice(0, 1))
        images = np.zeros((1, *self.generator.image_shape), np.float32)
        h, _ = first.denoiser().encode(images, self._levels[0])
        return tuple(h.shape[1:])

    def fit(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        name: str | Sequence[str] = "",
        seed: int = 0,
    ) -> SemanticDirection | list[SemanticDirection]:
        """The mean difference of h between images with an attribute and images without it.

        h is taken at the noise level of each step, of the images with noise mixed in: neither
        latents of the images nor gradients are needed.

        Args:
            pixels: `(n, height, width, channels)` in [0, 1].
            labels: `(n,)`, True or 1 with the attribute, False or 0 without; or `(n, k)`, of k
                attributes, for which h is evaluated once.
            name: what the direction is called; of k attributes, their k names.
            seed: integer, of the noise.

        Returns:
            A `SemanticDirection` of strength 1, or a list of k.

        Raises:
            ValueError: for other shapes, pixels that are not in [0, 1], or an attribute that all
                images have, or none.
        """
        pixels = self.generator.check_pixels(pixels)
        weights = arguments.contrasts("labels", labels, len(pixels))
        names = [name] * weights.shape[1] if isinstance(name, str) else [*name]
        if len(names) != weights.shape[1]:
            raise ValueError(
                f"`name` must be one for each of {weights.shape[1]} attributes. "
                f"Received: {arguments.received(name)}"
            )
        seed, count = arguments.seed(seed), self.generator.num_steps
        size = int(np.prod(self.h_shape))
        require_memory(16 * weights.shape[1] * count * size, f"{weights.shape[1]} directions")
        sums = np.zeros((weights.shape[1], count, size))
        for number, part in enumerate(_parts(len(pixels))):
            denoise = self.generator.take(part).denoiser()
            images = ops.convert_to_numpy(self.generator.normalizer(pixels[part]))
            for step, rates in enumerate(self._levels[:-1]):
                words = noise.seed_words(seed, number * count + step)
                noises = noise.normal(images.shape, words, numpy=True)
                noisy_images = np.float32(rates.signal * images + rates.noise * noises)
                h, _ = denoise.compiled_encode(noisy_images, rates)
                h = ops.convert_to_numpy(h).reshape(len(images), -1)
                sums[:, step] += weights[part].T @ h
        sums = sums.reshape(-1, count, *self.h_shape)
        found = [
            self._direction(shifts, name=each) for shifts, each in zip(sums, names, strict=True)
        ]
        return found if np.ndim(labels) == 2 else found[0]

    def components(self, k: int, n: int = 200, seed: int = 0) -> list[SemanticDirection]:
        """Principal components of h over sampled images, as Haas et al. (2023) use them.

        The h of all steps of an image are one vector, so that each component has a shift for every
        step, and their signs agree.

        Args:
            k: how many, less than n.
            n: sampled images; with a condition, as many as it has rows.
            seed: integer, of their latents.

        Returns:
            k directions, that of the largest variance first; strength 1 is one standard deviation.
            The largest number of each in absolute value is positive.

        Raises:
            ValueError: for numbers out of their range.
        """
        n = arguments.integer("n", n, 2)
        k = arguments.integer("k", k, 1, n - 1)
        rows = []

        def record(step):
            rows.append(ops.convert_to_numpy(self._encode(step.noisy_images, step.rates)[0]))

        size = self.generator.num_steps * int(np.prod(self.h_shape))
        require_memory(16 * n * size, f"h of {n} images at {self.generator.num_steps} steps")
        self._sample(self.generator.latents(n, seed), record)
        rows = np.stack(rows, axis=1).reshape(n, -1)
        _, values, vectors = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        vectors = _signed(vectors[:k]) * (values[:k, None] / np.sqrt(n - 1))
        return [
            self._direction(vector.reshape(-1, *self.h_shape), name=f"component {i}")
            for i, vector in enumerate(vectors)
        ]

    def singular_vectors(
        self,
        latents: np.ndarray,
        mask: np.ndarray | None = None,
        k: int = 3,
        until: float = 0.0,
        seed: int = 0,
    ) -> tuple[list[SemanticDirection], np.ndarray]:
        """The shifts of h that change given images most, to first order (Haas et al. 2023).

        Singular vectors of the map from a shift of h, the same at all steps, to what it adds to the
        next images of every edited step, under the asymmetric process. The map is never formed: a
        product with it, or its transpose, takes about two gradients of the upper half of the
        network for each step. On TensorFlow.

        Args:
            latents: `(n, height, width, channels)`, of a few images; the map is that of all.
            mask: `(height, width)` in [0, 1], where the change counts; None for everywhere.
            k: how many vectors, less than there are dimensions of h.
            until: t_edit, as for `edit`: which steps are edited.
            seed: integer, of the vector that the iteration starts with.

        Returns:
            k directions, orthogonal and of length 1, the same shift for all steps, that of the
            largest effect first; and their singular values, float64 `(k,)`. The largest number of
            each in absolute value is positive.

        Raises:
            ValueError: for other shapes, or numbers out of their range.
        """
        from scipy.sparse.linalg import LinearOperator, svds  # importing the library needs no SciPy

        latents = np.asarray(self.generator.check_latents(latents))
        size = int(np.prod(self.h_shape))
        k = arguments.integer("k", k, 1, size - 1)
        until = arguments.number("until", until, at_least=0, at_most=1)
        mask = self._check_mask(mask)
        steps, count = [], self.generator.num_steps
        self._sample(latents, steps.append)
        steps = [step for step in steps if (count - step.index) / count >= until]
        points, weights = [], []
        for step in steps:
            h, skips = self._encode(step.noisy_images, step.rates)
            rates = Rates(*map(ops.convert_to_tensor, np.float32(step.rates)))
            points.append((h, skips, step.noisy_images, rates))
            tau = step.rates.noise / step.rates.signal
            weights.append(-step.next_rates.signal * tau * mask)
        product, transposed = map(self.generator.traced, (_product, _transposed))
        shape = (len(steps), *latents.shape)

        def forward(vector):
            vectors = np.broadcast_to(vector.reshape(self.h_shape), (len(latents), *self.h_shape))
            vectors = ops.convert_to_tensor(np.float32(vectors))
            moved = [
                weight * ops.convert_to_numpy(product(*point, vectors))
                for point, weight in zip(points, weights, strict=True)
            ]
            return np.stack(moved).ravel()

        def backward(vector):
            parts = zip(points, weights, vector.reshape(shape), strict=True)
            pulled = [
                transposed(*point, ops.convert_to_tensor(np.float32(weight * part)))
                for point, weight, part in parts
            ]
            return np.sum([ops.convert_to_numpy(p).sum(axis=0) for p in pulled], axis=0).ravel()

        operator = LinearOperator(
            (int(np.prod(shape)), size), matvec=forward, rmatvec=backward, dtype=np.float32
        )
        start = np.random.default_rng(arguments.seed(seed)).normal(size=min(operator.shape))
        _, values, vectors = svds(
            operator, k=k, v0=np.float32(start), tol=1e-4, return_singular_vectors="vh"
        )
        order = np.argsort(values)[::-1]
        directions = [
            self._direction(
                np.broadcast_to(vector.reshape(self.h_shape), (count, *self.h_shape)),
                name=f"singular vector {i}",
            )
            for i, vector in enumerate(_signed(vectors[order]))
        ]
        return directions, np.float64(values[order])

    def edit(
        self,
        latents: np.ndarray,
        direction: SemanticDirection | DeltaNetwork,
        strength: float | np.ndarray | None = None,
        until: float = 0.0,
        boost: float = 0.0,
        symmetric: bool = False,
        seed: int = 0,
    ) -> np.ndarray:
        """Decodes latents with shifted h.

        Args:
            latents: `(n, height, width, channels)`, of the images to edit.
            direction: a `SemanticDirection` for the steps of this generator; or a `DeltaNetwork`.
            strength: by how much shifts are multiplied, a number or one for each image; None for
                the direction's own, 1 for a network.
            until, boost, symmetric, seed: as for `asymmetric_sample`; image i is a function of the
                seed and i.

        Returns:
            Pixels, float32 `(n, height, width, channels)`, not clipped. Strength 0 gives those of
            `decode`, up to rounding.

        Raises:
            ValueError: for a direction of another generator, another size or another number of
                steps; for other shapes, or numbers out of their range.
        """
        latents = self.generator.check_latents(latents)
        shift = self._shift_by(direction)
        if strength is None:
            strength = getattr(direction, "strength", 1.0)
        strengths = arguments.finite_array("strength", strength)
        if strengths.shape not in ((), (len(latents),)):
            raise ValueError(
                f"`strength` must be a number, or one for each of {len(latents)} images. "
                f"Received shape: {strengths.shape}"
            )
        strengths = np.broadcast_to(strengths, len(latents)).reshape(-1, 1, 1, 1)

        def edited(images, rates):
            def both(denoise, images, strengths):
                h, skips = denoise.compiled_encode(images, rates)
                shifted = h + strengths * shift(h, rates)
                return [denoise.compiled_decode(x, skips, images, rates) for x in (h, shifted)]

            return self._in_parts(both, images, strengths)

        images = asymmetric_sample(
            self._denoise,
            edited,
            self.generator.schedule,
            ops.convert_to_tensor(latents, "float32"),
            self.generator.num_steps,
            self.generator.last_step,
            until,
            boost,
            symmetric,
            seed,
        )
        return ops.convert_to_numpy(self.generator.normalizer.inverse(images))

    def calibrate(self, pixels: np.ndarray, latents: np.ndarray | None = None) -> Calibration:
        """The editing interval and the boost for images: Kwon et al., Sec. 4.

        The longer the interval, the stronger and the less faithful an edit. Steps are edited until
        what they predict is near the image: until LPIPS(x, P_t) is 0.33. Noise is drawn once the
        noisy image resembles the image: once LPIPS(x, x_t) is below 1.2.

        Args:
            pixels: `(n, height, width, channels)` in [0, 1]; a few dozen will do.
            latents: theirs, same shape; None to embed them by "implicit".

        Returns:
            A `Calibration`, whose `until` and `boost` are those of `edit`.

        Raises:
            ValueError: for other shapes, or pixels that are not in [0, 1].
        """
        # Not at the top: they need TensorFlow.
        from ddim_embed.methods.registry import embed
        from ddim_embed.metrics.perceptual import load_perceptual_distance

        pixels = self.generator.check_pixels(pixels)
        if latents is None:
            latents = embed(self.generator, pixels, "implicit").latents
        latents = self.generator.check_latents(latents)
        if len(latents) != len(pixels):
            raise ValueError(
                f"`latents` must be as many as `pixels`, {len(pixels)}. Received: {len(latents)}"
            )
        distance, rows = load_perceptual_distance(), []
        cropped = crop_padding(pixels, self.generator.padding)

        def mean_distance(images):
            # Not clipped: it is the noise that counts.
            other = crop_padding(self.generator.normalizer.inverse(images), self.generator.padding)
            found = [distance([cropped[part], other[part]]) for part in _parts(len(pixels))]
            return float(np.mean(np.concatenate(found)))

        def record(step):
            rows.append([mean_distance(x) for x in (step.parts.pred_images, step.noisy_images)])

        self._sample(latents, record)
        count = self.generator.num_steps
        times = np.arange(count, 0, -1) / count
        predicted, noisy = np.transpose(rows)
        until, boost = (
            times[distances >= threshold].min(initial=np.inf)
            for distances, threshold in ((predicted, _EDIT_DISTANCE), (noisy, _BOOST_DISTANCE))
        )
        reached = bool(np.isfinite(until)), bool(np.isfinite(boost))
        return Calibration(
            times,
            predicted,
            noisy,
            float(until) if reached[0] else self._time_of(_EDIT_TIME),
            float(boost) if reached[1] else self._time_of(_BOOST_TIME),
            reached,
        )

    @property
    def _levels(self):
        return self.generator.process.levels(self.generator.num_steps)

    def _time_of(self, published):
        """When the noise is as strong as at a time of the linear schedule, to 1/1000."""
        noise_rate = linear(np.float64(published)).noise
        rates = np.array(
            [rates.noise for rates in sampling.time_grid(self.generator.schedule, 1000)]
        )
        return float(np.abs(rates - noise_rate).argmin() / 1000)

    def _shift_by(self, direction):
        """`shift(h, rates)` of a direction or a network, after a look at what it is of."""
        own, count = self.generator.denoiser_fingerprint(), self.generator.num_steps
        if not isinstance(direction, SemanticDirection | DeltaNetwork):
            raise ValueError(
                "`direction` must be a `SemanticDirection` or a `DeltaNetwork`. "
                f"Received: {arguments.received(direction)}"
            )
        network = isinstance(direction, DeltaNetwork)
        if direction.fingerprint != own and not (network and not direction.fingerprint):
            raise ValueError(
                f"The direction is of another generator, {direction.fingerprint!r}; this one is "
                f"{own!r}. Directions hold for the weights that they were found in."
            )
        size = (*self.h_shape[:2], direction.channels) if network else direction.shifts.shape[1:]
        if size != self.h_shape:
            raise ValueError(
                f"The direction must have the size of h, {self.h_shape}. Received: {size}"
            )
        if network:
            ratio = direction.num_steps / count

            def shift(h, rates):
                variances = ops.full((h.shape[0], 1, 1, 1), rates.noise**2)
                return ratio * direction([h, variances])

            return shift
        if direction.num_steps != count:
            raise ValueError(
                f"The direction must have a shift for each of {count} steps: "
                f"`direction.at({count})` does. Received: {direction.num_steps}"
            )
        levels = (rates.noise for rates in self._levels[:-1])
        rows = dict(zip(levels, direction.shifts, strict=True))
        return lambda h, rates: rows[rates.noise]

    def _check_mask(self, mask):
        """The mask as float32, of the shape of an image with one channel."""
        if mask is None:
            return np.float32(1)
        size = self.generator.image_shape[:2]
        mask = arguments.finite_array("mask", mask)
        if mask.shape != size or mask.min() < 0 or mask.max() > 1 or not mask.any():
            raise ValueError(
                f"`mask` must have shape {size}, values in [0, 1], and one above 0. "
                f"Received shape: {mask.shape}"
            )
        return mask[..., None]

    def _direction(self, shifts, **options):
        return SemanticDirection(shifts, self.generator.denoiser_fingerprint(), **options)

    def _sample(self, latents, callback):
        self.generator.check_latents(latents)
        return sampling.sample(
            self._denoise,
            self.generator.schedule,
            ops.convert_to_tensor(latents, "float32"),
            self.generator.num_steps,
            self.generator.last_step,
            callback=callback,
        )

    def _denoise(self, images, rates):
        return self._in_parts(lambda denoise, x: denoise.compiled(x, rates), images)

    def _encode(self, images, rates):
        return self._in_parts(lambda denoise, x: denoise.compiled_encode(x, rates), images)

    def _in_parts(self, function, *arrays):
        """`function(denoise, *arrays)` of a few images at a time, each under its condition."""
        found = [
            function(self.generator.take(part).denoiser(), *(values[part] for values in arrays))
            for part in _parts(len(arrays[0]))
        ]
        return tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *found)


def _product(generator, h, skips, noisy_images, rates, vectors):
    return _linearized(generator, h, skips, noisy_images, rates)[1](vectors)


def _transposed(generator, h, skips, noisy_images, rates, vectors):
    return _linearized(generator, h, skips, noisy_images, rates)[2](vectors)


def _linearized(generator, h, skips, noisy_images, rates):
    from ddim_embed.generator.linearization import linearize  # needs TensorFlow

    denoise = generator.denoiser()
    return linearize(lambda h: denoise.decode(h, skips, noisy_images, rates), h)


def _parts(count):
    return [slice(i, i + DECODE_BATCH) for i in range(0, count, DECODE_BATCH)]


def _signed(vectors):
    """Rows whose largest number in absolute value is positive."""
    largest = np.abs(vectors).argmax(axis=1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]
