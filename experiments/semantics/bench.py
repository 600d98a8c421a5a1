"""What edits are measured with: images, directions, and instruments that did not guide them."""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np

import ddim_embed as de
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.methods.registry import configured
from ddim_embed.metrics import ranking
from experiments.semantics import realism
from experiments.toolkit import judge, labelled, results, sources
from experiments.toolkit.command_line import UsageError

# Attributes of faces that are shown unless --attribute says otherwise.
SHOWN = ("Smiling", "Male", "Young", "Eyeglasses", "Blond_Hair")
# Images that are embedded, and edited, at a time: what is cached in one file.
_CHUNK = 50
# Test images that are read for each image of an attribute: most lack it, or few do.
_READ = 20


class _Readings(NamedTuple):
    """What the judge says of images, and their score of realism, or None."""

    logits: np.ndarray
    features: np.ndarray
    realism: np.ndarray | None


class Bench:
    """Images without each attribute, their latents, and what measures edits of them.

    Directions, and the guide of f_t, are of the first `fitted` training images; the judge and the
    score of realism are trained on the others.

    Args:
        verb: a verb with `method`, `fitted`, `train_images`, `judge_steps` and `score_steps`.
    """

    def __init__(self, verb):
        self.verb, self.config = verb, verb.config
        self.generator = sources.load_generator(self.config)
        self.editor = de.HSpaceEditor(self.generator)
        self.folder = self.config.run_folder / "semantics"
        self.train, self.names, self.train_labels = sources.load_with_attributes(
            self.config, "train", verb.train_images
        )
        self.fitted = verb.fitted
        if not 2 <= self.fitted <= len(self.train) - 2:
            raise UsageError(
                f"--fitted must leave 2 of the {len(self.train)} training images to the judge, and "
                f"be at least 2. Received: {self.fitted}"
            )
        self.pixels, self.labels = labelled.test_images(
            self.config, self.names, _READ * self.config.images
        )
        self.faces = labelled.are_faces(self.names)
        if not self.faces:
            print(f"Left out: the identity of faces. The images of {self.config.name} are none.")

    def column(self, name):
        """The place of an attribute among the names."""
        return self.names.index(name)

    def without(self, name, count=None):
        """Indices of test images that lack an attribute, at most `count`."""
        count = self.config.images if count is None else count
        found = np.flatnonzero(~self.labels[:, self.column(name)])[:count]
        if len(found) < 2:
            raise UsageError(f"--attribute must be one that 2 test images lack. Received: {name}")
        return found

    # Directions

    @functools.cached_property
    def directions(self):
        """The direction of each attribute that some, not all, of the fitted images have."""
        pixels, labels = self.train[: self.fitted], self.train_labels[: self.fitted]
        known = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
        names = [self.names[i] for i in known]

        def compute():
            found = self.editor.fit(pixels, labels[:, known], names, self.config.seed)
            # float16, as they are recorded: what is measured is what is shipped.
            return {"shifts": np.float16([each.shifts for each in found])}

        own = self.generator.denoiser_fingerprint()
        key = self.key("directions", own, self.fitted, self.generator.num_steps)
        shifts = self.cached("directions.npz", key, compute)["shifts"]
        return {
            name: de.SemanticDirection(rows, own, name=name)
            for name, rows in zip(names, shifts, strict=True)
        }

    def direction(self, name):
        """The recorded direction of an attribute if it is of this generator, or a fitted one.

        Returns:
            `(direction, recorded)`.
        """
        own = self.generator.denoiser_fingerprint()
        try:
            found = de.load_direction(
                self.config.name, labelled.plain_name(name), self.config.weights
            )
            if (found.fingerprint, found.num_steps) == (own, self.generator.num_steps):
                return found, True
        except (FileNotFoundError, ValueError):
            pass  # none
        return self.fitted_direction(name), False

    def fitted_direction(self, name):
        """The direction that is fitted to the first training images, of strength 1."""
        if name not in self.directions:
            raise UsageError(
                f"--fitted must be enough images for some to have {name}, and some not. "
                f"Received: {self.fitted}"
            )
        return self.directions[name]

    # Instruments

    @functools.cached_property
    def judge(self):
        """A classifier of all attributes, of training images that no direction is of."""
        return self._classifier(
            "judge", self.train[self.fitted :], self.train_labels[self.fitted :]
        )

    @functools.cached_property
    def guide(self):
        """The same of the fitted images: what f_t and optimised latents are guided by."""
        return self._classifier(
            "guide", self.train[: self.fitted], self.train_labels[: self.fitted]
        )

    def _classifier(self, name, pixels, labels):
        steps = self.verb.judge_steps
        folder = self.folder / f"{name}-{steps}"
        return judge.train(self.config, pixels, labels, steps, folder, self.key(name, self.fitted))

    @functools.cached_property
    def realism(self):
        """The score of realism; see `realism.train`."""
        steps = self.verb.score_steps
        folder, key = self.folder / f"realism-{steps}", self.key("realism", self.fitted)
        return realism.train(self.config, self.train[self.fitted :], steps, folder, key)

    @functools.cached_property
    def identity(self):
        """The descriptor of faces; None for other images."""
        return de.load_face_identity() if self.faces else None

    def instruments(self, shown):
        """How far the judge and the score of realism can be trusted: a dict."""
        logits = judge.logits(self.judge, self.pixels).astype(np.float64)
        auroc = {
            name: results.finite(
                ranking.auroc(logits[:, self.column(name)], self.labels[:, self.column(name)])
            )
            for name in shown
        }
        some = self.pixels[: self.config.images]
        found = {"judge": auroc, "realism": realism.measure(self.realism, some, self.config.seed)}
        if self.identity:
            others = self.identity.distance(some, np.roll(some, 1, axis=0))
            found["others"] = results.estimate(others)
        return found

    # Images and edits

    def latents_of(self, pixels, name):
        """Latents of pixels by the verb's method, cached under `name`; they are not decoded."""
        method = configured(self.verb.method)
        key = self.key(name, self.generator.fingerprint(), self.verb.method, len(pixels))

        def compute():
            parts = [pixels[i : i + _CHUNK] for i in range(0, len(pixels), _CHUNK)]
            found = [method.solve(self.generator, part, None, lambda: None) for part in parts]
            return {"latents": np.concatenate([np.asarray(one.latents) for one in found])}

        return self.cached(f"latents-{name}.npz", key, compute)["latents"]

    @functools.cached_property
    def embedding(self):
        """Latents of test images that are used, and what they decode to."""
        used = max(self.without(name)[-1] for name in self.verb.chosen_of(self.names)) + 1
        return embed_in_chunks(
            self.generator,
            self.pixels[:used],
            self.verb.method,
            self.config.seed,
            chunk_size=_CHUNK,
            folder=self.folder / f"embedding-{self.verb.method}",
        )

    def edit(self, index, direction, strength=1.0, editor=None, **options):
        """Edited test images, pixels that are clipped, cached.

        Args:
            index: of the test images, `(n,)`.
            direction: a `SemanticDirection` or a `DeltaNetwork`.
            strength, options: as for `HSpaceEditor.edit`.
            editor: another one, of other steps.
        """
        editor, strength = editor or self.editor, float(strength)
        if isinstance(direction, de.SemanticDirection):
            direction, strength = strength * direction, 1.0
            arrays = [direction.shifts]
        else:
            arrays = [np.float64(strength), *direction.get_weights()]

        def compute(latents):
            return editor.edit(latents, direction, strength, **options)

        latents = self.embedding.latents[index]
        return self._in_chunks(editor.generator, latents, arrays, options, compute)

    def decode(self, latents, generator=None):
        """What latents decode to, clipped, cached."""
        generator = generator or self.generator
        return self._in_chunks(generator, latents, [], {}, lambda x: generator.decode(x).numpy())

    def _in_chunks(self, generator, latents, arrays, options, compute):
        """Pixels of a few latents at a time: the first ones of many are in the cache, too."""
        digest = hashlib.sha256(f"{generator.fingerprint()} {sorted(options.items())}".encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array))
        found = []
        for start in range(0, len(latents), _CHUNK):
            part, own = latents[start : start + _CHUNK], digest.copy()
            own.update(np.ascontiguousarray(part))
            key = own.hexdigest()
            compute_part = lambda part=part: {"pixels": np.clip(compute(part), 0, 1)}  # noqa: E731
            found.append(self.cached(f"edits/{key[:16]}.npz", key, compute_part)["pixels"])
        return np.concatenate(found)

    def measure(self, index, name, edited, before=None, scored=True):
        """What the instruments say of edited test images.

        Args:
            index: of the test images, `(n,)`.
            name: the attribute that they were to get.
            edited: pixels `(n, ...)`.
            before: what they were without the edit; None for the reconstructions.
            scored: whether realism is among the estimates.

        Returns:
            A dict of estimates: `positive`, the share that the judge says have the attribute; `own`
            and `others`, how much its logit rose and the absolute change of the others';
            `s_dir`, the cosine of the change of the judge's features with the difference of the
            classes' means; `lpips` and `identity` from the image itself; `realism`, the score minus
            that of the image before; and `identity_median`.
        """
        own, pixels = self.column(name), self.pixels[index]
        after = self._readings(edited, scored)
        start = (
            self._readings_before(tuple(index), scored)
            if before is None
            else self._readings(before, scored)
        )
        change = after.logits - start.logits
        others = np.abs(np.delete(change, own, axis=1))
        moved = after.features - start.features
        target = self._target(name)
        lengths = np.linalg.norm(moved, axis=1) * np.linalg.norm(target)
        found = {
            "positive": after.logits[:, own] > 0,
            "own": change[:, own],
            "others": others.mean(axis=1),
            "s_dir": moved @ target / np.maximum(lengths, 1e-12),
            "lpips": de.lpips(pixels, edited, self.generator.padding),
        }
        if scored:
            found["realism"] = after.realism - start.realism
        if self.identity:
            found["identity"] = self.identity.distance(pixels, edited)
        rows = {key: results.estimate(values) for key, values in found.items()}
        if self.identity:
            rows["identity_median"] = float(np.median(found["identity"]))
        return rows | {"images": len(index)}

    def _readings(self, pixels, scored):
        score = realism.score(self.realism, pixels) if scored else None
        return _Readings(judge.logits(self.judge, pixels), self.judge.features(pixels), score)

    @functools.cache  # noqa: B019 (there is one bench)
    def _readings_before(self, index, scored):
        """Those of reconstructions, with which many edits are compared."""
        return self._readings(self.embedding.reconstruction[[*index]].clip(0, 1), scored)

    @functools.cache  # noqa: B019 (there is one bench)
    def _target(self, name):
        labels = self.train_labels[self.fitted :, self.column(name)]
        features = self.judge.features(self.train[self.fitted :][:2000])
        labels = labels[:2000]
        if labels.all() or not labels.any():
            return np.zeros(features.shape[1])
        return features[labels].mean(axis=0) - features[~labels].mean(axis=0)

    def cached(self, name, key, compute):
        """`labelled.cached` of a file of this verb."""
        return labelled.cached(self.folder / name, key, compute)

    def key(self, *more):
        """The key of a cache of what is computed of the images, and of `more`."""
        return labelled.data_key(self.config, self.verb.train_images, self.config.seed, *more)


def random_like(direction, seed):
    """A direction whose shift at each step is random, of the length of the given one's."""
    shifts = np.random.default_rng(seed).normal(size=direction.shifts.shape)
    return scaled_like(shifts, direction)


def permuted(direction, seed):
    """The direction with the positions of its shifts in another order; channels stay together."""
    count, height, width, channels = direction.shifts.shape
    order = np.random.default_rng(seed).permutation(height * width)
    rows = direction.shifts.reshape(count, height * width, channels)[:, order]
    return dataclasses.replace(direction, shifts=rows.reshape(direction.shifts.shape))


def scaled_like(shifts, direction):
    """The direction with other shifts, each as long as its own at that step."""
    axes = (1, 2, 3)
    own, given = (
        np.sqrt(np.sum(np.float64(each) ** 2, axis=axes, keepdims=True))
        for each in (direction.shifts, shifts)
    )
    return dataclasses.replace(direction, shifts=shifts * own / np.maximum(given, 1e-12))
