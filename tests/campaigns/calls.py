"""Calls of every public function and method with one argument that is not as it should be."""

import decimal
import fractions
import math
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from conftest import make_diffusion, make_generator, make_pixels

import ddim_embed as de
from ddim_embed.methods.cache import embed_in_chunks

from .harness import DONE, REFUSED, Bystanders, Fault, put, refused

_NO_NUMBERS = (
    None, math.nan, math.inf, -math.inf, "", "3", b"3", True, [3], (), {}, 3j, object(), int,
    np.array([3, 4]), np.array("3"), 10**400, "nan",
)  # fmt: skip
_FUNCTIONS = (None, 3, "x", math.nan, [])
_NO_OBJECTS = (None, 3, "mnist", math.nan, object(), np.zeros(3), {}, dict)


def _count(value, least=1):
    bad = [*_NO_NUMBERS, least - 1, -1, -(2**63), 2**63, 10**30, value + 0.5, float(value), "∞"]
    return bad, [np.int64(value), np.uint8(value), np.array(value)]


def _seed(value):
    bad = [*_NO_NUMBERS, -1, 1.5, 2**63, 2**64, np.int64(-1), np.float64(3)]
    return bad, [np.int64(value), np.array(value)]


def _number(value, *also):
    same = [np.float64(value), np.array(value), fractions.Fraction(value), decimal.Decimal(value)]
    return [*_NO_NUMBERS, *also], same


def _flag(value):
    return [None, 0, 1, 1.0, "", "yes", "False", math.nan, [], [value], object()], [np.bool_(value)]


def _name(value):
    bad = [
        None, "", "zzz", value.upper() + "!", value + " ", value[:-1], f"../{value}", 3, math.nan,
        [value], (value,), value.encode(), {value: 1}, np.array([value, value]), object(), "\0",
        "a" * 10_000, "\ud800", Path(value),
    ]  # fmt: skip
    return bad, [str(np.str_(value))]


def _array(values):
    """Of numbers; what is not finite, not numbers, of another shape, or empty is not one."""
    values = np.asarray(values)
    nan, infinite = values.astype(np.float32), values.astype(np.float32)
    nan.flat[-1], infinite.flat[0] = np.nan, -np.inf
    bad = [
        None, "", "abc", 3, math.nan, object(), {}, [], [[1], [1, 2]], nan, infinite,
        tf.constant(nan), values.astype(complex), values.astype("S8"), np.full(values.shape, None),
        values.astype(str), values[:0], values[..., :0], np.zeros(values.shape, "M8[s]"), [*"abc"],
        iter([1, 2]), np.array(None),
    ]  # fmt: skip
    same = [
        values.tolist(),
        tf.constant(values),
        values[..., ::-1][..., ::-1],
        np.asfortranarray(values),
    ]
    return bad, same


def _images(values):
    """Of a shape that is given."""
    bad, same = _array(values)
    bad += [
        values[None, None],
        values[0],
        values[:, 1:],
        values[..., 1:, :],
        np.concatenate([values] * 2, -1),
    ]
    bad += [np.moveaxis(values, -1, 1)]
    return bad, same


def _pixels(values):
    bad, same = _images(values)
    bad += [
        np.uint8(255 * values), 255 * values, 2 * values - 1, -values, (255 * values).astype(int),
        values > 0.5, np.float16(values) * 3,
    ]  # fmt: skip
    return bad, [*same, values.astype(np.float64)]


def _shape(value):
    bad = [
        None, 3, "", "881", (), value[:-1], (*value, 1), (0, *value[1:]), (-8, *value[1:]),
        (8.0, *value[1:]), (None, *value[1:]), ("8", *value[1:]), (math.nan, *value[1:]),
        (2**63, *value[1:]), (True, *value[1:]), {}, object(), [value], (2**20, 2**20, value[-1]),
    ]  # fmt: skip
    return bad, [list(value), np.array(value)]


def _widths(value):
    bad = [
        None, 8, "", "8", (0,), (-1,), (8.5,), (None,), ("8",), (math.nan,), (2**63,), {}, [[8]],
        (2**30,), object(),
    ]  # fmt: skip
    return bad, [list(value), np.array(value)]


# Where an integer can be less than 1, or must be more; numbers that are out of a range.
_LEAST = {"padding": 0, "start_step": 0, "resamples": 0, "oversampling": 0, "members": 2, "num": 2}
_LEAST |= {"samples": 2}
_OUT = {
    "learning_rate": (0, -1), "penalty": (-1,), "damping": (0, -1, -1e-9), "laplacian": (-1,),
    "tolerance": (-1,), "mixing": (0, 1.5), "gamma": (0, 1.5), "reach": (0, -1),
    "strength": (0, -1),
    "epsilon": (0, 1, -1), "eta": (-1, 2), "ema": (-1, 1), "cell": (0, -1),
}  # fmt: skip
_PIXELS = {"pixels", "reconstruction", "pixels_a", "pixels_b"}


def _replacements(argument, value):
    """Bad values of an argument, and other forms of the good one."""
    if argument == "seed":
        return _seed(value)
    if isinstance(value, bool):
        return _flag(value)
    if isinstance(value, int):
        return _count(value, _LEAST.get(argument, 1))
    if isinstance(value, float):
        return _number(value, *_OUT.get(argument, ()))
    if isinstance(value, str):
        return _name(value)
    if isinstance(value, tuple):
        return (_widths if argument == "widths" else _shape)(value)
    if isinstance(value, np.ndarray):
        of_images = _pixels if argument in _PIXELS else _images if value.ndim == 4 else _array
        return of_images(value)
    return _FUNCTIONS if not isinstance(value, keras.layers.Layer) else _NO_OBJECTS, []


class Calls:
    """One argument of a good call is replaced: a bad one is refused, another form is as good."""

    name = "calls"

    def __init__(self, folder):
        self.folder = folder
        self.user = folder / "user"
        self.user.mkdir()
        put(self.user / "file", b"a user's")
        self.bystanders = Bystanders(self.user)
        self.table, self.expected = [], {}
        self._fill()

    def draw(self, rng):
        words, function, options, argument, bad, same = rng.choice(self.table)
        good = rng.random() < 0.15 and same
        value = rng.choice(same if good else bad)

        def attempt():
            result = refused(lambda: function(**(options | {argument: value})), also=(MemoryError,))
            self.bystanders.check()
            if result is None:
                if good:
                    raise Fault("a good value is refused")
                return REFUSED
            if not good:
                raise Fault("a bad value is taken")
            if id(options) not in self.expected:
                self.expected[id(options)] = _flat(function(**options))
            _same(_flat(result[0]), self.expected[id(options)])
            return DONE

        what = [type(value).__name__, *(getattr(value, name, "") for name in ("dtype", "shape"))]
        return f"{words} {' '.join(map(str, what))} {' '.join(repr(value).split())[:80]}", attempt

    def _row(self, function, options, but="", words=None, none=(), **bad):
        """Enters a good call.

        Args:
            function, options: of the call.
            but: names of arguments that are not replaced, with blanks between them.
            words: name of the function.
            none: arguments for which None is good.
            bad: bad values of an argument, in the place of those that fit its good value.
        """
        words = words or function.__name__
        for argument in (options.keys() | bad.keys()) - {*but.split()}:
            if argument in bad:
                wrong, same = bad[argument], []
            else:
                wrong, same = _replacements(argument, options[argument])
                same = [] if words == "train_feature_classifier" else same  # which takes seconds
            if argument in none:
                wrong = [value for value in wrong if value is not None]
            self.table.append(
                (f"{words}({argument}=...)", function, options, argument, wrong, same)
            )
        self.table.sort(key=lambda row: row[0])  # sets have no order

    def _fill(self):
        generator = make_generator(image_shape=(8, 8, 1), widths=(4, 8), num_steps=2)
        g = {"generator": generator}
        embedder = de.build_embedder("conv1", 1)
        pixels, latents = make_pixels(2), generator.latents(2, 1)
        self._making(generator, embedder)
        self._files(embedder)
        self._embedding(g, pixels, latents)
        self._metrics(pixels)
        self._clouds(g, latents)
        self._process(latents)
        self._data(pixels)
        self._training(generator, embedder, pixels)

    def _making(self, generator, embedder):
        row = self._row
        shape = {"image_shape": (8, 8, 1)}
        names = {"schedule": "linear", "num_steps": 2, "last_step": "transfer"}
        row(
            lambda **o: de.build_generator(**o).latents(1),
            shape | names | {"widths": (4,), "block_depth": 1, "padding": 1, "prediction": "noise"},
            words="build_generator",
        )
        row(lambda **o: de.Process(**o).levels(2), names | {"prediction": "noise"}, words="Process")
        unet = {"channels": 1, "widths": (4,), "block_depth": 1}
        row(
            lambda **o: _read(de.UNet(**o), unet),
            unet,
            words="UNet",
            attention=_name("nafnet")[0][1:],
        )
        row(
            lambda **o: _read(de.build_embedder(**o), ["channels"]),
            {"network": "conv1", "channels": 1, "precision": "float32"},
            words="build_embedder",
        )
        row(
            lambda **o: de.Generator(**o).padding,
            shape | {"network": generator.network, "padding": 1, "precision": "float32"},
            words="Generator",
            image_shape=_shape((8, 8, 1))[0][:-1],
            normalizer=["x", 3, object()],
            process=["linear", 3, object()],
        )
        for method, options in (
            (generator.decode, {"latents": generator.latents(2, 1)}),
            (generator.sample, {"n": 2, "seed": 1}),
            (generator.latents, {"n": 2, "seed": 1}),
            (generator.check_pixels, {"pixels": make_pixels(2)}),
        ):
            row(method, options, words=f"Generator.{method.__name__}")
        row(
            generator.decode,
            {"latents": generator.latents(2, 1)},
            "latents",
            precision=_name("float32")[0][1:],
        )
        classifier = shape | {
            "classes": 2,
            "widths": (4,),
            "num_features": 3,
            "padding": 1,
            "seed": 1,
        }
        row(
            lambda **o: _read(de.FeatureClassifier(**o), classifier),
            classifier,
            words="FeatureClassifier",
        )

    def _files(self, embedder):
        row, missing = self._row, self.user / "missing"
        roots = [missing, str(missing), "\0", self.user / "file", "a" * 300, 3]
        mnist = {"name": "mnist"}
        wrong = _name("mnist")[0]
        row(
            de.load_generator,
            mnist | {"num_steps": 2, "precision": "float32"},
            root=roots,
            name=wrong,
            last_step=_name("transfer")[0][1:],
        )
        row(de.load_embedder, mnist | {"network": "conv1"}, root=roots, name=wrong)
        row(de.load_feature_classifier, mnist, name=wrong)
        paths = ["", "x", missing, self.user, self.user / "file", "\0", None, 3, b"", "a" * 300]
        weights, legacy = self.folder / "conv1.weights.h5", self.folder / "legacy.h5"
        de.save_weights(embedder, weights)
        with h5py.File(legacy, "w") as file:
            for name, values in zip(("kernel:0", "bias:0"), embedder.get_weights(), strict=True):
                file[f"conv2d/conv2d/{name}"] = values
        for function, path in (
            (de.save_weights, weights),
            (de.load_weights, weights),
            (de.load_legacy_weights, legacy),
        ):
            row(function, {"model": embedder, "path": path}, path=paths)
        row(
            de.load_weights,
            {"model": embedder, "path": weights},
            "model path",
            sha256=[3, "", "0" * 64, "x", math.nan, b"0" * 64],
        )
        no_json = [
            math.nan,
            object(),
            {1, 2},
            b"cats",
            {"a": math.nan},
            {"a": object()},
            {1: 2, "1": 3},
        ]
        no_json += [{"a": {1, 2}}]
        plain = [v for v in wrong if not (isinstance(v, str) and v.isalpha())]
        row(
            de.record_weights,
            {
                "root": self.folder / "weights",
                "dataset": "cats",
                "name": "conv1",
                "model": embedder,
                "config": {"channels": 1},
                "data": "cats",
                "budget": {},
                "errors": {"mse": 0.5},
            },
            dataset=plain,
            name=plain,
            root=["\0", self.user / "file", 3],
            data=no_json[:3],
            config=[None, 3, "x", [], *no_json[:-2]],
            budget=[None, 3, "x", [], *no_json[:-2]],
            errors=[None, 3, "x", [], {"a": "x"}, {"a": [1]}, *no_json],
        )

    def _embedding(self, g, pixels, latents):
        row = self._row
        embed = g | {"pixels": pixels, "method": "ddim_inversion", "seed": 1}
        row(de.embed, embed)
        row(embed_in_chunks, embed | {"chunk_size": 1})
        mask = pixels[..., 0] > 0.5
        masks = [
            "",
            "abc",
            3,
            pixels,
            mask[:1],
            mask[None],
            mask.astype(int),
            mask[:, :4],
            [[True]],
            object(),
            mask.astype(object),
            mask.astype(str),
            ~np.zeros_like(mask),
        ]
        refined = embed | {"method": de.LBFGS(num_steps=1), "latents": latents, "mask": mask}
        row(de.embed, refined, "generator pixels seed method", none=("latents",), mask=masks)
        refined = {name: value for name, value in refined.items() if name != "latents"}
        row(de.project, refined, method=_name("lbfgs")[0], mask=masks)
        for kind, options, none in (
            (
                de.Descent,
                {
                    "num_steps": 2,
                    "learning_rate": 0.5,
                    "decay": True,
                    "penalty": 0.5,
                    "loss": "mean_squared_error",
                    "patience": 2,
                    "starts": 1,
                },
                (),
            ),
            (de.LBFGS, {"num_steps": 2, "memory": 2, "patience": 2, "laplacian": 0.5}, ()),
            (de.GaussNewton, {"num_steps": 2, "cg_steps": 2, "damping": 0.5, "patience": 2}, ()),
            (de.DefectCorrection, {"num_steps": 2, "iterations": 2, "patience": 2}, ()),
            (
                de.ImplicitInversion,
                {"iterations": 2, "tolerance": 0.5, "damping": 0.5, "acceleration": "anderson"},
                (),
            ),
            (de.EDICT, {"mixing": 0.5}, ()),
            (de.BDIA, {"gamma": 0.5}, ()),
            (de.DDIMInversion, {"num_steps": 2}, ("num_steps",)),
            (de.Network, {"network": "conv1"}, ()),
        ):
            row(kind, options | {"batch_size": 4, "progress": False}, none=none)
        row(de.Hybrid, {"start": "conv1", "finish": "lbfgs"})

    def _metrics(self, pixels):
        row = self._row
        big = make_pixels(2, (16, 16, 1))
        for function in (de.metrics.mse, de.metrics.psnr, de.metrics.ssim):
            row(function, {"pixels": big, "reconstruction": big[::-1].copy(), "padding": 1})
        features = np.random.default_rng(1).normal(size=(12, 4))
        row(de.frechet_distance, {"features_a": features, "features_b": features + 1})
        images = [*_array(pixels)[0], np.uint8(255 * pixels), 2 * pixels - 1, -pixels]
        row(
            de.fid,
            {
                "pixels_a": pixels,
                "pixels_b": pixels[::-1].copy(),
                "batch_size": 2,
                "inception": lambda images: np.reshape(images, (len(images), -1))[:, :2],
            },
            pixels_a=images,
            pixels_b=images,
        )
        classifier = de.FeatureClassifier((8, 8, 1), 2, (4,), 3)
        for method in (
            classifier.features,
            classifier.classify_pixels,
            classifier.class_probabilities,
        ):
            row(
                method,
                {"pixels": pixels, "batch_size": 2},
                words=f"FeatureClassifier.{method.__name__}",
            )
        row(
            lambda **o: de.train_feature_classifier(**o).widths,
            {
                "pixels": pixels,
                "labels": np.array([0, 1]),
                "batch_size": 2,
                "epochs": 1,
                "widths": (4,),
                "learning_rate": 0.5,
                "seed": 1,
                "num_features": 3,
                "padding": 1,
                "progress": False,
            },
            words="train_feature_classifier",
            pixels=_pixels(pixels)[0][-7:],
            labels=[
                None,
                "",
                3,
                [0],
                [0, 1, 2],
                [0.5, 1],
                [-1, 0],
                ["a", "b"],
                [math.nan, 0],
                [[0, 1]],
            ],
        )

    def _clouds(self, g, latents):
        row, clouds = self._row, de.clouds
        cloud = np.random.default_rng(0).normal(size=(12, 2, 2, 1)).astype(np.float32)
        some, points = {"latents": _array(cloud)[0]}, {"point": _array(cloud[0])[0]}
        row(clouds.spread, {"latents": cloud, "block": 2}, **some)
        row(
            clouds.combinations,
            {"latents": cloud, "n": 2, "kind": "convex", "seed": 1, "reach": 0.5},
            **some,
        )
        row(clouds.combination_weights, {"members": 6, "n": 2, "seed": 1})
        row(clouds.distances_to, {"latents": cloud, "point": cloud[0]}, **some, **points)
        row(clouds.centrality, {"latents": cloud, "point": cloud[0]}, **some, **points)
        row(
            clouds.marchenko_pastur,
            {"members": 6, "dimensions": 3},
            "members",
            members=_count(6)[0],
        )
        row(clouds.running_means, {"latents": cloud}, **some)
        values = np.arange(8.0)
        row(clouds.border_quartiles, {"distances": values, "errors": values[::-1].copy()})
        row(
            clouds.decoded_changes,
            g | {"origin": latents[0], "directions": latents},
            length=["", "x", 0, math.nan, math.inf, None, object()],
        )
        row(
            lambda **o: de.LatentCloud().fit(**o).components_,
            {"latents": cloud},
            words="fit",
            **some,
        )
        fitted = de.LatentCloud().fit(cloud)
        row(fitted.sample, {"n": 2, "seed": 1}, words="LatentCloud.sample")
        row(fitted.mahalanobis, {"latents": cloud})
        row(fitted.transform, {"latents": cloud})
        numbers = [None, "", "abc", math.nan, object(), {}, [[1], [1, 2]], [math.inf], [1j]]
        row(
            fitted.walk,
            {"component": 1, "steps": np.array([0.5, 1.0]), "length": 0.5},
            none=("length",),
            steps=numbers,
            component=[None, 1.5, "", 99, -99, math.nan, [1], True],
        )
        row(de.principal_directions, {"latents": cloud, "n": 2}, **some)
        labels = np.arange(12) % 2
        row(
            de.class_direction,
            {"latents": cloud, "labels": labels, "positive": 1, "strength": 0.5, "seed": 1},
            **some,
            labels=[None, "", 3, labels[:3], labels * 0, labels[None], labels * math.nan],
            positive=[7, math.nan, "x", [], [1, 2], object()],
        )
        one = {"latents": latents, "direction": latents[0]}
        row(de.edit_strip, g | one | {"steps": np.array([0.5, 1.0])})
        row(de.edit_effect, g | one | {"length": 0.5, "seed": 1})
        row(de.first_layer_directions, g | {"n": 2})
        two = {"latents": latents, "other": latents[::-1].copy()}
        row(de.interpolate, g | two | {"num": 3, "kind": "spherical"})
        both = dict.fromkeys(two, _array(latents)[0])
        for function in (de.lerp, de.slerp):
            row(
                function,
                two | {"fraction": 0.5},
                **both,
                fraction=[None, "", "x", math.nan, math.inf, object(), [1, 2, 3]],
            )
        row(
            de.path_length,
            g | two | {"samples": 2, "epsilon": 0.25, "seed": 1, "kind": "spherical"},
            distance=[3, "x", math.nan],
        )
        row(
            de.singular_vectors,
            g | {"latents": latents[0], "rank": 2, "oversampling": 2, "seed": 1, "batch_size": 4},
            none=("rank",),
            iterations=_count(1, 0)[0],
        )
        bases = np.random.default_rng(2).normal(size=(2, 4))
        row(de.principal_angles, {"first": bases, "second": bases[::-1].copy()})
        row(de.denoising_errors, g | {"pixels": make_pixels(2), "seed": 1})
        pair = np.stack([make_pixels(2), make_pixels(2, seed=1)])
        row(de.agreement, {"images": pair, "padding": 1, "resamples": 3, "seed": 1})

    def _process(self, latents):
        row = self._row
        for schedule in de.schedules.SCHEDULES.values():
            row(
                schedule,
                {"diffusion_times": np.array([0.25, 0.5])},
                diffusion_times=[None, "", "x", [math.nan], [1.1], -0.1, math.inf, object(), [1j]],
            )
        steps = {"denoise": _no_noise, "schedule": de.schedules.linear, "num_steps": 2}
        row(de.sampling.sample, steps | {"latents": latents, "last_step": "transfer"}, "latents")
        row(de.sampling.ancestral, steps | {"latents": latents, "eta": 0.5, "seed": 1}, "latents")
        row(de.sampling.invert, steps | {"images": latents}, "images")
        row(de.sampling.time_grid, {"schedule": de.schedules.linear, "num_steps": 2})
        row(
            lambda **o: [de.EmpiricalDenoiser(**o)(latents, de.Rates(0.5, 0.5))],
            {"data": latents, "block_size": 2},
            words="EmpiricalDenoiser",
            none=("block_size",),
            data=_array(latents)[0],
        )

    def _data(self, pixels):
        row = self._row
        sample = {
            "name_or_path": "mnist",
            "split": "test",
            "source": "sample",
            "limit": 2,
            "image_size": 16,
        }
        paths = [
            None,
            "",
            "zzz",
            3,
            math.nan,
            object(),
            self.user / "missing",
            "\0",
            b"mnist",
            self.user / "file",
            ["mnist"],
        ]
        bad = {
            "channels": [0, 2, 4, -1, 1.5, "", "1", True, math.nan, object()],
            "name_or_path": paths,
            "image_size": [*_count(16)[0], 15, 7],
        }
        none = ("limit", "image_size")
        row(de.load_images, sample, none=none, **bad)
        row(
            lambda **o: next(iter(de.stream_images(**o))),
            sample | {"batch_size": 2, "seed": 1, "start_step": 1, "mirror": False},
            words="stream_images",
            none=none,
            **bad,
        )
        shapes = [*_shape((8, 8, 1))[0][:-1], (8, 8, 2)]
        row(
            de.read_image_files,
            {"paths": [], "image_shape": (8, 8, 1), "padding": 1},
            paths=[None, "", "a.png", 3, self.user, object(), math.nan],
            image_shape=shapes,
        )
        row(
            lambda **o: len(de.image_grid(**o).axes),
            {"rows": [pixels], "cell": 1.0},
            words="image_grid",
            rows=[None, 3, "", "x", [], [None], ["x"], [[]], [pixels[0, 0]], pixels[:0]],
            labels=["x", "", 3, [], ["a", "b"], [3], [None], math.nan],
        )

    def _training(self, generator, embedder, pixels):
        row = self._row
        model = make_diffusion(widths=(4,))
        model.compile(keras.optimizers.SGD(0.0))
        folders = ["\0", self.user / "file", None, 3, math.nan, ""]
        row(
            lambda **o: de.train(model, lambda step: [pixels] * 9, progress=False, **o)[-1]["step"],
            {"num_steps": 1, "folder": self.folder / "run", "log_steps": 1},
            words="train",
            num_steps=_count(1, 0)[0],
            folder=folders,
            checkpoint_seconds=[None, "", "x", math.nan, object(), [1]],
        )
        images = [
            np.uint8(255 * pixels),
            255 * pixels,
            2 * pixels - 1,
            -pixels,
            np.float16(pixels) * 3,
        ]
        images += [pixels[0], pixels[None], pixels[:0], np.where(pixels > 0.9, np.nan, pixels)]
        row(lambda **o: model.fit(**o, verbose=0) and 1, {"x": pixels}, words="fit", x=images)
        row(
            lambda **o: de.DiffusionModel(**o).seed,
            {
                "network": generator.network,
                "schedule": "linear",
                "ema": 0.5,
                "seed": 1,
                "loss": "mean_squared_error",
                "prediction": "noise",
            },
            words="DiffusionModel",
        )
        both = {"embedder": embedder, "generator": generator}
        row(
            lambda **o: bool(de.EmbedderTrainer(**o)),
            both | {"loss": "mean_squared_error"},
            words="EmbedderTrainer",
        )
        row(lambda **o: bool(de.LatentRegression(**o)), both, words="LatentRegression")
        path = self.folder / "pairs.bin"
        row(
            lambda **o: de.LatentPairs(**o, progress=False).pixels,
            {"generator": generator, "count": 64, "path": path, "seed": 1},
            words="LatentPairs",
            path=[None, "", 3, "\0", self.user, self.user / "file" / "x"],
        )
        pairs = de.LatentPairs(generator, 64, path, 1, progress=False)
        row(
            lambda **o: next(pairs.batches(**o)),
            {"batch_size": 2, "start_step": 1},
            words="LatentPairs.batches",
        )


def _no_noise(images, rates):
    return 0 * images


def _read(model, names):
    """Options of a model."""
    return [getattr(model, name) for name in names]


def _flat(result):
    """The arrays and numbers of a result."""
    if hasattr(result, "_asdict"):
        result = result._asdict()
    elif hasattr(result, "__dataclass_fields__"):
        result = {
            n: getattr(result, n)
            for n in result.__dataclass_fields__
            if n not in ("seconds", "trace")
        }
    leaves = keras.tree.flatten(result)
    if len(leaves) == 1 and leaves[0] is result:
        return leaves
    return [each for leaf in leaves for each in _flat(leaf)]


def _same(found, expected):
    if len(found) != len(expected):
        raise Fault("another result")
    for one, other in zip(found, expected, strict=True):
        if one is None or isinstance(one, str):
            same = one == other
        else:
            try:
                one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
            except (TypeError, ValueError):
                continue  # objects
            same = one.shape == other.shape and np.allclose(one, other, 1e-3, 1e-4, equal_nan=True)
        if not same:
            raise Fault("another result")
