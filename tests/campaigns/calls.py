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
    same = [values.tolist(), tf.constant(values), values[..., ::-1][..., ::-1], np.asfortranarray(values)]
    return bad, same


def _images(values):
    """Of a shape that is given."""
    bad, same = _array(values)
    bad += [values[None, None], values[0], values[:, 1:], values[..., 1:, :], np.concatenate([values] * 2, -1)]
    bad += [np.moveaxis(values, -1, 1)]
    return bad, same


def _pixels(values):
    bad, same = _images(values)
    bad += [
        np.uint8(255 * values), 255 * values, 2 * values - 1, -values, (255 * values).astype(int),
        values > 0.5, np.float16(values) * 3,
    ]  # fmt: skip
    return bad, [*same, values.astype(np.float64)]


def _objects(*also):
    return [*_NO_OBJECTS, *also], []


def _functions():
    return [None, 3, "x", math.nan, []], []


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


class Calls:
    """One argument of a good call is replaced: a bad one is refused, another form changes nothing."""

    name = "calls"

    def __init__(self, folder):
        self.folder = folder
        self.user = folder / "user"
        self.user.mkdir()
        put(self.user / "file", b"a user's")
        self.bystanders = Bystanders(self.user)
        self.table = [
            (f"{words}({argument}=...)", function, options, argument, *values)
            for words, function, options, kinds in self._calls()
            for argument, values in kinds.items()
        ]
        self.expected = {}

    def draw(self, rng):
        words, function, options, argument, bad, same = rng.choice(self.table)
        good = rng.random() < 0.15 and same
        value = rng.choice(same if good else bad)

        def attempt():
            result = refused(
                lambda: function(**(options | {argument: value})), also=(MemoryError,)
            )
            self.bystanders.check()
            if result is None:
                if good:
                    raise Fault("a good value is refused")
                return REFUSED
            if not good:
                raise Fault("a bad value is taken")
            if words not in self.expected:
                self.expected[words] = _flat(function(**options))
            _same(_flat(result[0]), self.expected[words])
            return DONE

        shown = " ".join(repr(value).split())[:80]
        kind = type(value).__name__ + str(getattr(value, "dtype", "")) + str(getattr(value, "shape", ""))
        return f"{words} {kind} {shown}", attempt

    def _calls(self):
        """Rows (words, function, good arguments, which arguments are replaced by what)."""
        generator = make_generator(image_shape=(8, 8, 1), widths=(4, 8), num_steps=2)
        pixels = make_pixels(2)
        latents = generator.latents(2, 1)
        cloud = np.random.default_rng(0).normal(size=(12, 2, 2, 1)).astype(np.float32)
        labels = np.arange(12) % 2
        fitted = de.LatentCloud().fit(cloud)
        features = cloud[..., 0].reshape(12, 4)
        classifier = de.FeatureClassifier((8, 8, 1), 2, (4,), 3)
        classifier.build((None, 8, 8, 1))
        diffusion = make_diffusion(widths=(4,))
        embedder = de.build_embedder("conv1", 1)
        path = self.user / "missing"
        g = {"generator": generator}
        of_g = {"generator": _objects(generator.network)}
        identity = {"denoise": lambda images, rates: images, "schedule": de.schedules.linear}

        def denoise(function):
            return lambda **options: function(**(identity | options))

        def network_of(**options):
            network = de.UNet(**options)
            return [network.channels, network.widths, network.block_depth]

        rows = []

        def row(words, function, good, kinds):
            rows.append((words, function, good, kinds))

        # Making and loading.
        row(
            "build_generator",
            lambda **o: de.build_generator(**o).latents(1),
            {"image_shape": (8, 8, 1), "widths": (4,), "block_depth": 1, "schedule": "linear",
             "num_steps": 2, "last_step": "transfer", "precision": "float32", "padding": 1,
             "prediction": "noise", "attention": None},
            {"image_shape": _shape((8, 8, 1)), "widths": _widths((4,)), "block_depth": _count(1),
             "schedule": _name("linear"), "num_steps": _count(2), "last_step": _name("transfer"),
             "precision": _name("float32"), "padding": _count(1, 0), "prediction": _name("noise")},
        )  # fmt: skip
        row(
            "UNet",
            network_of,
            {"channels": 1, "widths": (4,), "block_depth": 1, "conditioned": True},
            {"channels": _count(1), "widths": _widths((4,)), "block_depth": _count(1)},
        )
        row(
            "build_embedder",
            lambda **o: de.build_embedder(**o).get_config()["channels"],
            {"network": "conv1", "channels": 1, "precision": "float32"},
            {"network": _name("conv1"), "channels": _count(1), "precision": _name("float32")},
        )
        row(
            "Process",
            lambda **o: de.Process(**o).levels(2),
            {"schedule": "linear", "num_steps": 2, "last_step": "transfer", "prediction": "noise"},
            {"schedule": _name("linear"), "num_steps": _count(2), "last_step": _name("transfer"),
             "prediction": _name("noise")},
        )  # fmt: skip
        row(
            "Generator",
            lambda **o: de.Generator(**o).image_shape,
            {"network": generator.network, "normalizer": generator.normalizer,
             "process": de.Process(num_steps=2), "image_shape": (8, 8, 1), "precision": "float32",
             "padding": 1},
            {"network": _objects(), "image_shape": (_shape((8, 8, 1))[0][:-1], []), "padding": _count(1, 0),
             "precision": _name("float32"),
             "normalizer": (["x", 3, object()], []), "process": (["linear", 3, object()], [])},
        )  # fmt: skip
        for function, good in (
            (de.load_generator, {"name": "mnist"}),
            (de.load_embedder, {"name": "mnist", "network": "conv1"}),
            (de.load_feature_classifier, {"name": "mnist"}),
        ):
            kinds = {argument: (_name(value)[0], []) for argument, value in good.items()}
            if function is not de.load_feature_classifier:  # which takes the shipped one
                kinds["root"] = ([path, str(path), "\0", self.user / "file", "a" * 300], [])
            row(function.__name__, function, good, kinds)
        row("load_generator", de.load_generator, {"name": "mnist"},
            {"num_steps": (_count(2)[0], []), "precision": (_name("float32")[0], []),
             "last_step": ([v for v in _name("transfer")[0] if v is not None], [])})  # fmt: skip
        weights = self.folder / "conv1.weights.h5"
        legacy = self.folder / "legacy.h5"
        with h5py.File(legacy, "w") as file:
            for name, values in zip(("kernel:0", "bias:0"), embedder.get_weights(), strict=True):
                file[f"conv2d/conv2d/{name}"] = values
        for function in (de.save_weights, de.load_weights, de.load_legacy_weights):
            good = {"model": embedder, "path": legacy if function is de.load_legacy_weights else weights}
            bad = ["", "x", path, self.user, self.user / "file", "\0", None, 3, b"", self.folder / ("a" * 300)]
            row(function.__name__, function, good, {"model": _objects(), "path": (bad, [])})
        de.save_weights(embedder, weights)
        row("load_weights", de.load_weights, {"model": embedder, "path": weights},
            {"sha256": ([3, "", "0" * 64, "x", math.nan, b"0" * 64], [None])})  # fmt: skip
        record = {"root": self.folder / "weights", "dataset": "cats", "name": "conv1",
                  "model": embedder, "config": {"channels": 1}, "data": "cats", "budget": {},
                  "errors": {"mse": 0.5}, "half": True}  # fmt: skip
        no_objects = [None, 3, "x", [], math.nan, {"a": math.nan}, {"a": object()}, {"a": {1, 2}}]
        plain = [v for v in _name("cats")[0] if not (isinstance(v, str) and v.isalpha())]
        row(
            "record_weights",
            de.record_weights,
            record,
            {"dataset": (plain, []), "name": (plain, []), "model": _objects(),
             "config": (no_objects, []), "budget": (no_objects, []),
             "errors": ([*no_objects, {"a": "x"}, {"a": [1]}, {1: 2, "1": 3}], []),
             "data": ([math.nan, object(), {1, 2}, b"cats"], []),
             "root": ([self.user / "file", "\0"], [])},
        )  # fmt: skip

        # A generator's own.
        for words, function, good, kinds in (
            ("decode", generator.decode, {"latents": latents, "precision": "float32"},
             {"latents": _images(latents), "precision": ([v for v in _name("float32")[0] if v is not None], [])}),
            ("sample", generator.sample, {"n": 2, "seed": 1}, {"n": _count(2), "seed": _seed(1)}),
            ("latents", generator.latents, {"n": 2, "seed": 1, "stream": 0},
             {"n": _count(2), "seed": _seed(1)}),
            ("check_pixels", generator.check_pixels, {"pixels": pixels}, {"pixels": _pixels(pixels)}),
        ):  # fmt: skip
            row(f"Generator.{words}", function, good, kinds)

        # Methods.
        embed = g | {"pixels": pixels, "method": "ddim_inversion", "seed": 1}
        row("embed", de.embed, embed,
            {"pixels": _pixels(pixels), "method": _name("ddim_inversion"), "seed": _seed(1)} | of_g)  # fmt: skip
        one = de.LBFGS(num_steps=1)
        mask = pixels[..., 0] > 0.5
        wrong_masks = ["", "abc", 3, pixels, mask[:1], mask[None], mask.astype(int), mask[:, :4], [[True]],
                       object(), mask.astype(object), mask.astype(str), ~np.zeros_like(mask)]  # fmt: skip
        row("embed", de.embed, embed | {"method": one, "latents": latents, "mask": mask},
            {"latents": ([v for v in _images(latents)[0] if v is not None] + [latents[:1]], _images(latents)[1]),
             "mask": (wrong_masks, [mask[..., None], mask.tolist()])})  # fmt: skip
        row("project", de.project, embed | {"method": one, "mask": mask},
            {"pixels": (_pixels(pixels)[0], []), "mask": (wrong_masks, []), "method": (_name("lbfgs")[0], []),
             "seed": (_seed(1)[0], [])} | of_g)  # fmt: skip
        row("embed_in_chunks", embed_in_chunks, embed | {"chunk_size": 1},
            {"chunk_size": _count(1), "pixels": (_pixels(pixels)[0], []), "seed": _seed(1)} | of_g)  # fmt: skip
        for kind, good, kinds in (
            (de.Descent, {"num_steps": 2, "learning_rate": 0.5, "decay": True, "penalty": 0.5,
                          "loss": "mean_squared_error", "patience": 2, "starts": 1},
             {"num_steps": _count(2), "learning_rate": _number(0.5, 0, -1), "decay": _flag(True),
              "penalty": _number(0.5, -1), "loss": _name("mean_squared_error"), "patience": _count(2),
              "starts": _count(1)}),
            (de.LBFGS, {"num_steps": 2, "memory": 2, "patience": 2, "laplacian": 0.5},
             {"num_steps": _count(2), "memory": _count(2), "patience": _count(2),
              "laplacian": _number(0.5, -1)}),
            (de.GaussNewton, {"num_steps": 2, "cg_steps": 2, "damping": 0.5, "patience": 2},
             {"num_steps": _count(2), "cg_steps": _count(2), "damping": _number(0.5, -1, 0),
              "patience": _count(2)}),
            (de.DefectCorrection, {"num_steps": 2, "iterations": 2, "patience": 2},
             {"num_steps": _count(2), "iterations": _count(2), "patience": _count(2)}),
            (de.ImplicitInversion, {"iterations": 2, "tolerance": 0.5, "damping": 0.5,
                                    "acceleration": "anderson"},
             {"iterations": _count(2), "tolerance": _number(0.5, -1), "damping": _number(0.5, 0, 1.5),
              "acceleration": _name("anderson")}),
            (de.EDICT, {"mixing": 0.5}, {"mixing": _number(0.5, 0, 1.5)}),
            (de.BDIA, {"gamma": 0.5}, {"gamma": _number(0.5, 0, 1.5)}),
            (de.DDIMInversion, {"num_steps": 2}, {"num_steps": (_count(2)[0][1:], _count(2)[1])}),
            (de.Network, {"network": "conv1"}, {"network": _name("conv1")}),
            (de.Hybrid, {"start": "conv1", "finish": "lbfgs"},
             {"start": _name("conv1"), "finish": _name("lbfgs")}),
        ):  # fmt: skip
            if kind is not de.Hybrid:
                good = good | {"batch_size": 4, "progress": False}
                kinds = kinds | {"batch_size": _count(4), "progress": _flag(False)}
            row(kind.__name__, kind, good, kinds)
        # Metrics.
        for function in (de.metrics.mse, de.metrics.psnr, de.metrics.ssim):
            big = make_pixels(2, (16, 16, 1))
            row(function.__name__, function,
                {"pixels": big, "reconstruction": big[::-1].copy(), "padding": 1},
                {"pixels": _pixels(big), "reconstruction": (_pixels(big)[0][:22], []),
                 "padding": _count(1, 0)})  # fmt: skip
        row("frechet_distance", de.frechet_distance, {"features_a": features, "features_b": features + 1},
            {"features_a": _array(features), "features_b": _array(features + 1)})  # fmt: skip
        row("fid", lambda **o: de.fid(**o),
            {"pixels_a": pixels, "pixels_b": pixels[::-1].copy(), "batch_size": 2,
             "inception": lambda images: np.reshape(images, (len(images), -1))[:, :2]},
            {"pixels_a": (_pixels(pixels)[0][:19], []), "pixels_b": (_pixels(pixels)[0][-7:], []),
             "batch_size": _count(2), "inception": _functions()})  # fmt: skip
        for name in ("features", "classify_pixels", "class_probabilities"):
            row(f"FeatureClassifier.{name}", getattr(classifier, name), {"pixels": pixels, "batch_size": 2},
                {"pixels": (_pixels(pixels)[0], []), "batch_size": _count(2)})  # fmt: skip
        row("FeatureClassifier", lambda **o: (c := de.FeatureClassifier(**o)) and [c.classes, c.widths],
            {"image_shape": (8, 8, 1), "classes": 2, "widths": (4,), "num_features": 3, "padding": 1, "seed": 1},
            {"image_shape": _shape((8, 8, 1)), "classes": _count(2), "widths": _widths((4,)),
             "num_features": _count(3), "padding": _count(1, 0), "seed": _seed(1)})  # fmt: skip
        row("train_feature_classifier", de.train_feature_classifier,
            {"pixels": pixels, "labels": np.array([0, 1]), "batch_size": 2, "epochs": 1, "widths": (4,)},
            {"pixels": (_pixels(pixels)[0], []),
             "labels": ([None, "", 3, [0], [0, 1, 2], [0.5, 1], [-1, 0], ["a", "b"], [math.nan, 0], [[0, 1]]], []),
             "epochs": (_count(1)[0], []), "batch_size": (_count(1)[0], []), "seed": (_seed(1)[0], []),
             "learning_rate": (_number(0.1, 0, -1)[0], []), "widths": (_widths((4,))[0], []),
             "num_features": (_count(3)[0], []), "padding": (_count(1, 0)[0], []),
             "progress": (_flag(False)[0], [])})  # fmt: skip

        # Clouds, directions, interpolation.
        clouds = de.clouds
        row("spread", clouds.spread, {"latents": cloud, "block": 2}, {"latents": _array(cloud), "block": _count(2)})
        row("combinations", clouds.combinations, {"latents": cloud, "n": 2, "kind": "convex", "seed": 1, "reach": 0.5},
            {"latents": _array(cloud), "n": _count(2), "kind": _name("convex"), "seed": _seed(1),
             "reach": _number(0.5, 0, -1)})  # fmt: skip
        row("combination_weights", clouds.combination_weights, {"members": 6, "n": 2, "of": 3, "seed": 1},
            {"members": _count(6, 2), "n": _count(2), "seed": _seed(1)})  # fmt: skip
        row("distances_to", clouds.distances_to, {"latents": cloud, "point": cloud[0]},
            {"latents": _array(cloud), "point": ([v for v in _array(cloud[0])[0]], _array(cloud[0])[1])})  # fmt: skip
        row("centrality", clouds.centrality, {"latents": cloud, "point": cloud[0]},
            {"latents": (_array(cloud)[0], []), "point": (_array(cloud[0])[0], [])})  # fmt: skip
        row("marchenko_pastur", clouds.marchenko_pastur, {"members": 6, "dimensions": 3},
            {"members": _count(6), "dimensions": _count(3)})  # fmt: skip
        row("running_means", clouds.running_means, {"latents": cloud}, {"latents": _array(cloud)})
        row("border_quartiles", clouds.border_quartiles,
            {"distances": np.arange(8.0), "errors": np.arange(8.0)[::-1].copy()},
            {"distances": _array(np.arange(8.0)), "errors": _array(np.arange(8.0)[::-1].copy())})  # fmt: skip
        row("decoded_changes", clouds.decoded_changes,
            g | {"origin": latents[0], "directions": latents, "length": 0.5},
            {"origin": (_array(latents[0])[0], []), "directions": (_images(latents)[0], []),
             "length": (["", "x", 0, math.nan, math.inf, None, object()], [])} | of_g)  # fmt: skip
        row("LatentCloud.fit", lambda **o: de.LatentCloud().fit(**o).components_, {"latents": cloud},
            {"latents": _array(cloud)})  # fmt: skip
        row("LatentCloud.sample", fitted.sample, {"n": 2, "seed": 1}, {"n": _count(2), "seed": _seed(1)})
        row("LatentCloud.mahalanobis", fitted.mahalanobis, {"latents": cloud}, {"latents": _images(cloud)})
        row("LatentCloud.transform", fitted.transform, {"latents": cloud}, {"latents": _images(cloud)})
        row("LatentCloud.walk", fitted.walk, {"component": 1, "steps": np.array([0.5, 1.0]), "length": 0.5},
            {"component": ([None, 1.5, "", 99, -99, math.nan, [1], True], [np.int64(1)]),
             "steps": ([None, "", "abc", math.nan, object(), {}, [[1], [1, 2]], [math.inf], [1j]], [[0.5, 1]]),
             "length": ([math.nan, math.inf, "", "1", True, object()], [np.float64(0.5)])})  # fmt: skip
        row("principal_directions", de.principal_directions, {"latents": cloud, "n": 2},
            {"latents": _array(cloud), "n": _count(2)})  # fmt: skip
        row("class_direction", de.class_direction,
            {"latents": cloud, "labels": labels, "positive": 1, "strength": 0.5, "seed": 1},
            {"latents": _array(cloud), "strength": _number(0.5, 0, -1), "seed": _seed(1),
             "labels": ([None, "", 3, labels[:3], labels * 0, labels[None], labels * math.nan], [labels.tolist()]),
             "positive": ([7, math.nan, "x", [], [1, 2], object()], [np.int64(1)])})  # fmt: skip
        row("edit_strip", de.edit_strip,
            g | {"latents": latents, "direction": latents[0], "steps": np.array([0.5, 1.0])},
            {"latents": (_images(latents)[0], []), "direction": (_array(latents[0])[0], []),
             "steps": _array(np.array([0.5, 1.0]))} | of_g)  # fmt: skip
        row("edit_effect", de.edit_effect,
            g | {"latents": latents, "direction": latents[0], "length": 0.5, "seed": 1},
            {"latents": (_images(latents)[0], []), "direction": (_array(latents[0])[0], []),
             "length": (_number(0.5)[0], []), "seed": (_seed(1)[0], [])} | of_g)  # fmt: skip
        row("first_layer_directions", de.first_layer_directions, g | {"n": 2}, {"n": (_count(2)[0], [])} | of_g)
        row("interpolate", de.interpolate,
            g | {"latents": latents, "other": latents[::-1].copy(), "num": 3, "kind": "spherical"},
            {"latents": _images(latents), "other": (_images(latents)[0], []), "num": _count(3, 2),
             "kind": _name("spherical")} | of_g)  # fmt: skip
        for function in (de.lerp, de.slerp):
            row(function.__name__, function, {"latents": latents, "other": latents[::-1].copy(), "fraction": 0.5},
                {"latents": (_array(latents)[0], []), "other": (_array(latents)[0], []),
                 "fraction": ([None, "", "x", math.nan, math.inf, object(), [1, 2, 3]], [np.float64(0.5)])})  # fmt: skip
        row("path_length", de.path_length,
            g | {"latents": latents, "other": latents[::-1].copy(), "samples": 2, "epsilon": 0.25, "seed": 1},
            {"latents": (_images(latents)[0], []), "samples": _count(2, 2), "epsilon": _number(0.25, 0, -1, 1),
             "seed": _seed(1), "kind": (_name("spherical")[0], []),
             "distance": ([3, "x", math.nan], [])} | of_g)  # fmt: skip
        row("singular_vectors", de.singular_vectors,
            g | {"latents": latents[0], "rank": 2, "oversampling": 2, "iterations": 1, "seed": 1, "batch_size": 4},
            {"latents": (_array(latents[0])[0], []), "rank": (_count(2)[0][1:], []),
             "oversampling": (_count(2, 0)[0], []), "iterations": (_count(1, 0)[0], []),
             "seed": (_seed(1)[0], []), "batch_size": (_count(4)[0], [])} | of_g)  # fmt: skip
        row("principal_angles", de.principal_angles, {"first": features[:2], "second": features[2:4]},
            {"first": (_array(features[:2])[0], []), "second": (_array(features[:2])[0], [])})  # fmt: skip
        row("denoising_errors", de.denoising_errors, g | {"pixels": pixels, "seed": 1},
            {"pixels": (_pixels(pixels)[0], []), "seed": (_seed(1)[0], [])} | of_g)  # fmt: skip
        row("agreement", de.agreement,
            {"images": np.stack([pixels, pixels[::-1]]), "padding": 1, "resamples": 3, "seed": 1},
            {"images": (_array(np.stack([pixels, pixels[::-1]]))[0], []), "padding": _count(1, 0),
             "resamples": _count(3, 0), "seed": _seed(1)})  # fmt: skip

        # The process.
        for name in ("linear", "quadratic", "cosine", "continuous_cosine"):
            times = np.array([0.25, 0.5])
            row(f"schedules.{name}", getattr(de.schedules, name), {"diffusion_times": times},
                {"diffusion_times": ([None, "", "x", [math.nan], [1.1], -0.1, math.inf, object(), [1j]],
                                     [times.tolist()])})  # fmt: skip
        row("sampling.sample", denoise(de.sampling.sample), {"latents": latents, "num_steps": 2},
            {"num_steps": _count(2), "denoise": _functions(), "schedule": _functions(),
             "last_step": (_name("transfer")[0], [])})  # fmt: skip
        row("sampling.ancestral", denoise(de.sampling.ancestral), {"latents": latents, "num_steps": 2, "eta": 0.5},
            {"num_steps": _count(2), "eta": _number(0.5, -1, 2), "seed": (_seed(1)[0], []),
             "denoise": _functions(), "schedule": _functions()})  # fmt: skip
        row("sampling.invert", denoise(de.sampling.invert), {"images": latents, "num_steps": 2},
            {"num_steps": _count(2), "denoise": _functions(), "schedule": _functions()})  # fmt: skip
        row("time_grid", de.sampling.time_grid, {"schedule": de.schedules.linear, "num_steps": 2},
            {"schedule": _functions(), "num_steps": _count(2)})  # fmt: skip
        row("EmpiricalDenoiser", lambda **o: [de.EmpiricalDenoiser(**o)(latents, de.Rates(0.5, 0.5))],
            {"data": pixels, "block_size": 2}, {"data": (_array(pixels)[0], []), "block_size": (_count(2)[0][1:], [])})  # fmt: skip

        # Data and figures.
        sample = {"name_or_path": "mnist", "split": "test", "source": "sample", "limit": 2, "image_size": 16,
                  "channels": 1}  # fmt: skip
        bad_paths = [None, "", "zzz", 3, math.nan, object(), path, "\0", b"mnist", self.user / "file", ["mnist"]]
        kinds = {"name_or_path": (bad_paths, []), "split": _name("test"), "source": _name("sample"),
                 "limit": (_count(2)[0][1:], []), "image_size": (_count(16)[0][1:] + [15, 7], _count(16)[1]),
                 "channels": ([0, 2, 4, -1, 1.5, "", "1", True, math.nan, object()], [])}  # fmt: skip
        row("load_images", de.load_images, sample, kinds)
        row("stream_images", lambda **o: next(iter(de.stream_images(**o))),
            sample | {"batch_size": 2, "seed": 1, "start_step": 0, "mirror": False},
            {k: (bad, []) for k, (bad, _) in kinds.items()}
            | {"batch_size": (_count(2)[0] + [3], []), "seed": (_seed(1)[0], []),
               "start_step": (_count(1, 0)[0], []), "mirror": (_flag(False)[0], [])})  # fmt: skip
        row("read_image_files", de.read_image_files, {"paths": [], "image_shape": (8, 8, 1), "padding": 1},
            {"paths": ([None, "", "a.png", 3, path, object(), math.nan], [()]),
             "image_shape": (_shape((8, 8, 1))[0][:-1] + [(8, 8, 2)], _shape((8, 8, 1))[1]),
             "padding": _count(1, 0)})  # fmt: skip
        row("image_grid", lambda **o: len(de.image_grid(**o).axes), {"rows": [pixels], "cell": 1.0},
            {"rows": ([None, 3, "", "x", [], [None], ["x"], [[]], [pixels[0, 0]], pixels[:0]], []),
             "labels": (["x", "", 3, [], ["a", "b"], [3], [None], math.nan], []),
             "cell": (_number(1.0, 0, -1)[0], [])})  # fmt: skip

        # Training.
        model = diffusion
        model.compile(keras.optimizers.SGD(0.0))

        def train(**options):
            return de.train(model, lambda step: [pixels] * 9, **({"progress": False} | options))[-1]["step"]

        row("train", train, {"num_steps": 1, "folder": self.folder / "run"},
            {"num_steps": (_count(1, 1)[0], []), "log_steps": (_count(1)[0], []),
             "checkpoint_seconds": ([None, "", "x", math.nan, -1, object(), [1]], []),
             "folder": (["\0", self.user / "file", None, 3, math.nan, ""], [])})  # fmt: skip
        row("DiffusionModel", lambda **o: de.DiffusionModel(**o).get_config()["ema"],
            {"network": generator.network, "schedule": "linear", "ema": 0.5, "seed": 1,
             "loss": "mean_squared_error", "prediction": "noise"},
            {"network": _objects(), "schedule": _name("linear"), "ema": _number(0.5, -1, 1, 2), "seed": _seed(1),
             "loss": _name("mean_squared_error"), "prediction": _name("noise")})  # fmt: skip
        row("EmbedderTrainer", lambda **o: bool(de.EmbedderTrainer(**o)),
            {"embedder": embedder, "generator": generator, "loss": "mean_squared_error"},
            {"embedder": _objects(), "loss": _name("mean_squared_error")} | of_g)  # fmt: skip
        row("LatentRegression", lambda **o: bool(de.LatentRegression(**o)),
            {"embedder": embedder, "generator": generator}, {"embedder": _objects()} | of_g)  # fmt: skip
        row("LatentPairs", lambda **o: de.LatentPairs(**o, progress=False).pixels,
            g | {"count": 64, "path": self.folder / "pairs.bin", "seed": 1},
            {"count": (_count(64)[0], []), "seed": (_seed(1)[0], []),
             "path": ([None, "", 3, "\0", self.user, self.user / "file" / "x"], [])} | of_g)  # fmt: skip
        pairs = de.LatentPairs(generator, 64, self.folder / "pairs.bin", 1, progress=False)
        row("LatentPairs.batches", lambda **o: next(pairs.batches(**o)), {"batch_size": 2, "start_step": 1},
            {"batch_size": _count(2), "start_step": _count(1, 0)})  # fmt: skip
        for words, batch in (("fit", {"x": pixels}),):
            row(f"DiffusionModel.{words}", lambda **o: model.fit(**o, verbose=0) and 1, batch,
                {"x": ([v for v in _pixels(pixels)[0] if isinstance(v, np.ndarray) and v.dtype.kind in "fiu" and v.size and v.shape != (2, 7, 8, 1) and v.shape != (2, 8, 7, 1)], [])})  # fmt: skip
        return rows


def _flat(result):
    """The arrays and numbers of a result."""
    if hasattr(result, "_asdict"):
        result = result._asdict()
    elif hasattr(result, "__dataclass_fields__"):
        result = {n: getattr(result, n) for n in result.__dataclass_fields__ if n != "seconds"}
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
