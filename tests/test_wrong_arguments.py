"""Public functions with wrong arguments: the same words, which name the argument, and no work.

The words themselves are tested in test_arguments.py.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

import ddim_embed as de
from ddim_embed import memory
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.process import coupled, fixed_point, inversion
from tests.conftest import make_pixels

COUNTS = [None, math.nan, math.inf, "3", -1, 0, 1.5, True, 2**63, [2], np.array([2, 2])]
NUMBERS = [None, math.nan, math.inf, "0.5", True, -1, [0.5]]
SEEDS = [None, math.nan, "3", -1, 1.5, True, 2**63, [3]]
FLAGS = [None, math.nan, "no", 0, 1.0]
NAMES = [None, math.nan, "zzz", 3, ["unet"], np.array(["unet", "unet"])]
ARRAYS = [None, "abc", [[1], [1, 2]], [3j], np.array([{}])]

NO_FUNCTIONS = [None, 3, "x", math.nan]
NO_MODELS = [None, 3, "mnist", object(), dict]
NO_PATHS = [None, 3, "", b"x", math.nan, "\0"]

EMBEDDER = de.build_embedder("conv1", 1)
PIXELS = make_pixels(2, (16, 16, 1))
LATENTS = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
CLOUD = np.random.default_rng(1).normal(size=(6, 4, 4, 1))
FEATURES = CLOUD[..., 0, 0]
HALF = np.arange(6) % 2


def not_from_0(values):
    """Wrong values of an integer that may be 0."""
    return [value for value in values if value != 0]


def asymmetric_sampler(denoise, *args, edited=abs, **options):
    return de.asymmetric_sample(denoise, edited, *args, **options)


def attributes(vectors=FEATURES, labels=HALF[:, None], names=("x",), **options):
    return de.fit_attribute_classifier(vectors, labels, names, **options)


def recorded(classifier):
    about = {"data": "", "budget": {}, "errors": {}}
    return de.record_attribute_classifier("nowhere", "x", classifier, **about)


def linear_sampler(function, **options):
    return function(lambda x, rates: x, de.schedules.linear, LATENTS, **options)


# (name of the argument, what takes it, wrong values)
TABLE = [
    # Methods.
    *[
        (name, method, COUNTS)
        for method, names in {
            de.GaussNewton: ("num_steps", "cg_steps", "patience", "batch_size"),
            de.LBFGS: ("num_steps", "memory", "patience", "batch_size"),
            de.Descent: ("num_steps", "patience", "starts", "batch_size"),
            de.DefectCorrection: ("num_steps", "iterations", "patience", "batch_size"),
            de.ImplicitInversion: ("iterations", "batch_size"),
            de.EDICT: ("batch_size",),
            de.BDIA: ("batch_size",),
            de.Network: ("batch_size",),
            de.Hybrid: ("batch_size",),
        }.items()
        for name in names
    ],
    ("num_steps", de.DDIMInversion, COUNTS[1:]),
    ("batch_size", de.DDIMInversion, COUNTS),
    ("damping", de.GaussNewton, [*NUMBERS, 0]),
    ("laplacian", de.LBFGS, NUMBERS),
    ("learning_rate", de.Descent, [*NUMBERS, 0]),
    ("penalty", de.Descent, NUMBERS),
    ("tolerance", de.ImplicitInversion, NUMBERS),
    ("damping", de.ImplicitInversion, [*NUMBERS, 0, 1.1]),
    ("mixing", de.EDICT, [*NUMBERS, 0, 1.1]),
    ("gamma", de.BDIA, [*NUMBERS, 0, 1.1]),
    ("decay", de.Descent, FLAGS),
    *[("progress", method, FLAGS) for method in (de.LBFGS, de.Network, de.Hybrid, de.EDICT)],
    ("loss", de.Descent, NAMES),
    ("acceleration", de.ImplicitInversion, NAMES),
    ("network", de.Network, NAMES),
    ("embedder", de.Network, ["unet", 3, math.nan]),
    ("start", de.Hybrid, NAMES),
    ("finish", de.Hybrid, NAMES),
    # The process.
    ("num_steps", de.Process, COUNTS),
    *[(name, de.Process, NAMES) for name in ("schedule", "last_step", "prediction")],
    ("num_steps", lambda **o: de.sampling.time_grid(de.schedules.linear, **o), COUNTS),
    ("schedule", lambda schedule: de.Process(lambda t: schedule), [None, 3, "x", [1], math.nan]),
    ("eta", lambda **o: linear_sampler(de.sampling.ancestral, **o), [*NUMBERS, 1.1]),
    ("seed", lambda **o: linear_sampler(de.sampling.ancestral, **o), SEEDS),
    *[
        (name, lambda **o: linear_sampler(asymmetric_sampler, **o), values)
        for name, values in {
            "until": [*NUMBERS, 1.1],
            "boost": [*NUMBERS, 1.1],
            "symmetric": FLAGS,
            "seed": SEEDS,
            "num_steps": COUNTS,
            "edited": NO_FUNCTIONS,
        }.items()
    ],
    ("num_steps", lambda **o: linear_sampler(de.sampling.sample, **o), COUNTS),
    ("num_steps", lambda **o: linear_sampler(de.sampling.invert, **o), COUNTS),
    ("mixing", lambda **o: linear_sampler(coupled.edict_invert, **o), [*NUMBERS, 0, 1.1]),
    ("gamma", lambda **o: linear_sampler(coupled.bdia_invert, **o), [*NUMBERS, 0, 1.1]),
    ("num_steps", lambda **o: linear_sampler(coupled.bdia_invert, **o), [*COUNTS, 1]),
    ("window", lambda **o: linear_sampler(inversion.implicit_steps, **o), not_from_0(COUNTS[:-1])),
    ("iterations", lambda **o: fixed_point.solve(np.cos, LATENTS, **o), COUNTS),
    ("diffusion_times", de.schedules.linear, [[math.nan], [1.1], -0.1, math.inf, None, "x", ["x"]]),
    ("data", de.EmpiricalDenoiser, [*ARRAYS, [[math.nan]]]),
    ("block_size", lambda **o: de.EmpiricalDenoiser(CLOUD, **o), COUNTS[1:]),
    # Networks and metrics.
    *[(name, de.UNet, COUNTS) for name in ("channels", "block_depth")],
    ("widths", de.UNet, [None, 8, (), (8, 0), (8, 1.5), (8, None), "88", (8, 2**63)]),
    ("attention", de.UNet, NAMES[1:]),
    ("network", de.build_embedder, NAMES),
    ("precision", lambda **o: de.build_embedder("conv1", **o), NAMES),
    ("channels", lambda **o: de.build_embedder("conv1", **o), COUNTS),
    *[(name, de.FeatureClassifier, COUNTS) for name in ("classes", "num_features")],
    ("image_shape", de.FeatureClassifier, [None, 8, (8, 8), (8, 8, 0), (8, 8, 1.5), "881"]),
    ("padding", de.FeatureClassifier, not_from_0(COUNTS[:-1])),
    ("seed", de.FeatureClassifier, SEEDS),
    ("widths", de.FeatureClassifier, [None, 8, (0,), (1.5,), "8"]),
    ("min_size", de.PerceptualDistance, [*COUNTS, 31]),
    ("padding", lambda **o: de.metrics.mse(PIXELS, PIXELS, **o), [*not_from_0(COUNTS[:-1]), 8]),
    ("batch_size", lambda **o: de.lpips(PIXELS, PIXELS, **o), COUNTS),
    ("size", de.FaceIdentity, [*COUNTS, 102]),
    ("inception", lambda **o: de.fid(PIXELS, PIXELS, **o), [None, 3, "x"]),
    ("features_a", lambda **o: de.frechet_distance(features_b=FEATURES, **o), ARRAYS),
    # Attributes.
    ("vectors", lambda **o: attributes(**o), [*ARRAYS, FEATURES * math.nan, FEATURES[0]]),
    ("labels", lambda **o: attributes(**o), [*ARRAYS, FEATURES, [0, 1], math.nan]),
    ("names", lambda **o: attributes(**o), [None, 3, "x", [], [3], ["a", "a"], math.nan]),
    ("penalty", lambda **o: attributes(**o), [*NUMBERS, 0]),
    ("balanced", lambda **o: attributes(**o), FLAGS),
    ("seed", lambda **o: de.fit_few_shot_classifier(FEATURES, HALF, "x", 2, 2, **o), SEEDS),
    ("classifier", lambda **o: recorded(**o), NO_MODELS),
    # Clouds, directions, interpolation, figures.
    ("latents", de.clouds.spread, [*ARRAYS, CLOUD * math.nan, CLOUD[:1], CLOUD[0]]),
    ("block", lambda **o: de.clouds.spread(CLOUD, **o), COUNTS),
    ("n", lambda **o: de.clouds.combinations(CLOUD, **o), COUNTS),
    ("members", lambda **o: de.clouds.combination_weights(n=3, **o), [*COUNTS, 1]),
    ("of", lambda **o: de.clouds.combination_weights(5, 3, **o), [*COUNTS[1:], 1, 6]),
    ("reach", lambda **o: de.clouds.combination_weights(5, 3, **o), [*NUMBERS, 0]),
    ("kind", lambda **o: de.clouds.combination_weights(5, 3, **o), NAMES),
    ("seed", lambda **o: de.clouds.combination_weights(5, 3, **o), SEEDS),
    ("point", lambda **o: de.clouds.distances_to(CLOUD, **o), [*ARRAYS, CLOUD, [math.nan] * 16]),
    ("point", lambda **o: de.clouds.centrality(CLOUD, **o), [*ARRAYS, CLOUD, [math.nan] * 16]),
    ("members", lambda **o: de.clouds.marchenko_pastur(dimensions=3, **o), COUNTS),
    ("dimensions", lambda **o: de.clouds.marchenko_pastur(members=3, **o), COUNTS),
    ("distances", lambda **o: de.clouds.border_quartiles(errors=np.ones(9), **o), ARRAYS),
    ("n_components", lambda **o: de.LatentCloud(**o).fit(CLOUD), [*COUNTS[1:], 6]),
    ("n", lambda **o: de.LatentCloud().fit(CLOUD).sample(**o), COUNTS),
    ("seed", lambda **o: de.LatentCloud().fit(CLOUD).sample(2, **o), SEEDS),
    ("component", lambda **o: de.LatentCloud().fit(CLOUD).walk(steps=[1], **o), [None, 1.5, 5, -6]),
    ("steps", lambda **o: de.LatentCloud().fit(CLOUD).walk(0, **o), [*ARRAYS, [math.nan]]),
    ("length", lambda **o: de.LatentCloud().fit(CLOUD).walk(0, [1], **o), [math.nan, "1", True]),
    ("coordinates", de.LatentCloud().fit(CLOUD).inverse_transform, [*ARRAYS, [1], [[1] * 6]]),
    ("n", lambda **o: de.principal_directions(CLOUD, **o), COUNTS),
    ("strength", lambda **o: de.class_direction(CLOUD, np.arange(6) % 2, 1, **o), [*NUMBERS, 0]),
    ("seed", lambda **o: de.class_direction(CLOUD, np.arange(6) % 2, 1, **o), SEEDS),
    ("positive", lambda **o: de.class_direction(CLOUD, np.arange(6) % 2, **o), [[], [1, 2]]),
    (
        "resamples",
        lambda **o: de.agreement(np.stack([PIXELS, PIXELS]), **o),
        not_from_0(COUNTS[:-1]),
    ),
    ("padding", lambda **o: de.agreement(np.stack([PIXELS, PIXELS]), **o), [None, -1, 1.5, 8]),
    ("seed", lambda **o: de.agreement(np.stack([PIXELS, PIXELS]), **o), SEEDS),
    ("fraction", lambda **o: de.lerp(LATENTS, LATENTS, **o), [*ARRAYS, math.nan, [1, 2, 3]]),
    ("cell", lambda **o: de.image_grid([PIXELS], **o), [*NUMBERS, 0]),
    ("rows", de.image_grid, [None, 3, "x", [], [None], ["x"]]),
    ("labels", lambda **o: de.image_grid([PIXELS], **o), ["x", 3, [], ["a", "b"], [3], math.nan]),
    ("widths", de.FeatureClassifier, ["", {}, b""]),
    ("images", de.agreement, [np.zeros((2, 2, 8, 8, 0))]),
    (
        "latents",
        lambda **o: de.class_direction(labels=np.arange(10) % 2, positive=1, **o),
        [np.zeros((10, 2, 2, 0))],
    ),
    ("diffusion_times", de.schedules.linear, [object(), {}]),
    *[
        (
            name,
            lambda f=f, **o: f(**{"denoise": abs, "schedule": de.schedules.linear} | o),
            NO_FUNCTIONS,
        )
        for name in ("denoise", "schedule")
        for f in (
            lambda **o: de.sampling.sample(latents=LATENTS, **o),
            lambda **o: de.sampling.ancestral(latents=LATENTS, **o),
            lambda **o: de.sampling.invert(images=LATENTS, **o),
        )
    ],
    # Files and training.
    *[
        (name, lambda f=f, **o: f(**{"model": EMBEDDER, "path": "conv1.weights.h5"} | o), values)
        for f in (de.save_weights, de.load_weights, de.load_legacy_weights)
        for name, values in (("model", NO_MODELS), ("path", NO_PATHS))
    ],
    ("sha256", lambda **o: de.load_weights(EMBEDDER, "conv1.weights.h5", **o), [3, math.nan, b"0"]),
    ("root", lambda **o: de.load_generator("mnist", **o), [3, b"x", "\0"]),
    ("last_step", lambda **o: de.load_generator("mnist", **o), NAMES[1:]),
    *[
        (
            name,
            lambda **o: de.train(
                **{"model": EMBEDDER, "batches": None, "num_steps": 1, "folder": "run"} | o
            ),
            values,
        )
        for name, values in {
            "model": NO_MODELS,
            "num_steps": not_from_0(COUNTS[:-1]),
            "log_steps": COUNTS,
            "folder": NO_PATHS,
            "checkpoint_seconds": [None, math.nan, "3", True],
        }.items()
    ],
    *[
        (name, lambda **o: de.DiffusionModel(**{"network": de.UNet(1, (4,), 1)} | o), values)
        for name, values in {
            "network": NO_MODELS,
            "ema": [*NUMBERS, 1],
            "seed": SEEDS,
            "loss": NAMES,
        }.items()
    ],
    ("embedder", lambda **o: de.EmbedderTrainer(generator=None, **o), NO_MODELS),
    ("generator", lambda **o: de.EmbedderTrainer(EMBEDDER, **o), [None, 3, "mnist"]),
    ("generator", lambda **o: de.LatentRegression(EMBEDDER, **o), [None, 3, "mnist"]),
    ("generator", lambda **o: de.LatentPairs(count=1, path="pairs.bin", **o), [None, 3, "mnist"]),
    # What all methods and much of the analysis take.
    *[
        ("generator", lambda generator, f=f: f(generator), [None, 3, "mnist"])
        for f in (
            lambda g: de.embed(g, PIXELS, "implicit"),
            lambda g: de.interpolate(g, LATENTS, LATENTS, 3),
            lambda g: de.path_length(g, LATENTS, LATENTS),
            lambda g: de.singular_vectors(g, LATENTS[0]),
            lambda g: de.first_layer_directions(g, 2),
            lambda g: de.edit_strip(g, LATENTS, LATENTS[0], [1]),
            lambda g: de.edit_effect(g, LATENTS, LATENTS[0], 1),
            lambda g: de.denoising_errors(g, PIXELS),
            lambda g: de.clouds.decoded_changes(g, LATENTS[0], LATENTS),
        )
    ],
]


def check(name, function, values, words=r"`{}` must "):
    for value in values:
        with pytest.raises(ValueError, match=words.format(name)) as caught:
            function(**{name: value})
        assert "\n" not in str(caught.value).replace("\nArguments received by", "")


@pytest.mark.parametrize(("name", "function", "values"), TABLE)
def test_wrong_values_are_named(name, function, values):
    check(name, function, values)


# As above, with a generator as the first argument.
OF_A_GENERATOR = [
    ("chunk_size", lambda g, **o: embed_in_chunks(g, PIXELS, "implicit", **o), COUNTS),
    ("seed", lambda g, **o: embed_in_chunks(g, PIXELS, "implicit", **o), SEEDS),
    ("pixels", lambda g, **o: embed_in_chunks(g, method="implicit", **o), [*ARRAYS, PIXELS[:0]]),
    ("count", lambda g, **o: de.LatentPairs(g, path="pairs.bin", **o), COUNTS),
    ("path", lambda g, **o: de.LatentPairs(g, 1, **o), NO_PATHS),
    ("n", lambda g, **o: g.sample(**o), COUNTS),
    ("n", lambda g, **o: g.latents(**o), COUNTS),
    ("seed", lambda g, **o: g.sample(2, **o), SEEDS),
    ("stream", lambda g, **o: g.latents(2, **o), [None, math.nan, 1.5, True, 2**63]),
    ("latents", lambda g, **o: g.decode(**o), [*ARRAYS, LATENTS[0], LATENTS * math.nan]),
    ("precision", lambda g, **o: g.decode(LATENTS, **o), NAMES[1:]),
    ("num_steps", lambda g, **o: g.denoiser(**o), COUNTS[1:]),
    ("seed", lambda g, **o: de.embed(g, PIXELS, "implicit", **o), SEEDS),
    ("method", lambda g, **o: de.embed(g, PIXELS, **o), NAMES),
    ("method", lambda g, **o: de.project(g, PIXELS, **o), NAMES),
    ("pixels", lambda g, **o: de.embed(g, **o), [*ARRAYS, PIXELS * 255, PIXELS * math.nan]),
    ("pixels", lambda g, **o: de.embed(g, **o), [np.uint8(PIXELS), PIXELS - 0.5, PIXELS[0]]),
    ("latents", lambda g, **o: de.embed(g, PIXELS, "lbfgs", **o), ["abc", LATENTS[:1]]),
    ("mask", lambda g, **o: de.embed(g, PIXELS, "lbfgs", **o), [3, "abc", PIXELS, [[True]]]),
    ("num", lambda g, **o: de.interpolate(g, LATENTS, LATENTS, **o), [*COUNTS, 1]),
    ("kind", lambda g, **o: de.interpolate(g, LATENTS, LATENTS, 3, **o), NAMES),
    ("samples", lambda g, **o: de.path_length(g, LATENTS, LATENTS, **o), [*COUNTS, 1]),
    ("epsilon", lambda g, **o: de.path_length(g, LATENTS, LATENTS, **o), [*NUMBERS, 0, 1]),
    ("seed", lambda g, **o: de.path_length(g, LATENTS, LATENTS, **o), SEEDS),
    ("distance", lambda g, **o: de.path_length(g, LATENTS, LATENTS, **o), [3, "x"]),
    ("rank", lambda g, **o: de.singular_vectors(g, LATENTS[0], **o), [*COUNTS[1:], 257]),
    ("oversampling", lambda g, **o: de.singular_vectors(g, LATENTS[0], 2, **o), [None, -1, 1.5]),
    ("iterations", lambda g, **o: de.singular_vectors(g, LATENTS[0], 2, **o), [None, -1, 1.5]),
    ("batch_size", lambda g, **o: de.singular_vectors(g, LATENTS[0], 2, **o), COUNTS),
    ("seed", lambda g, **o: de.singular_vectors(g, LATENTS[0], 2, **o), SEEDS),
    ("n", lambda g, **o: de.first_layer_directions(g, **o), [*COUNTS, 256]),
    ("steps", lambda g, **o: de.edit_strip(g, LATENTS, LATENTS[0], **o), [*ARRAYS, [], 3]),
    ("direction", lambda g, **o: de.edit_strip(g, LATENTS, steps=[1], **o), [*ARRAYS, [1]]),
    ("length", lambda g, **o: de.edit_effect(g, LATENTS, LATENTS[0], **o), NUMBERS[:5]),
    ("seed", lambda g, **o: de.edit_effect(g, LATENTS, LATENTS[0], 1, **o), SEEDS),
    ("seed", lambda g, **o: de.denoising_errors(g, PIXELS, **o), SEEDS),
    ("origin", lambda g, **o: de.clouds.decoded_changes(g, directions=LATENTS, **o), ARRAYS),
    ("directions", lambda g, **o: de.clouds.decoded_changes(g, LATENTS[0], **o), [*ARRAYS, [1]]),
    ("length", lambda g, **o: de.clouds.decoded_changes(g, LATENTS[0], LATENTS, **o), [0, "x"]),
]


@pytest.mark.parametrize(("name", "function", "values"), OF_A_GENERATOR)
def test_wrong_values_are_named_with_a_generator(tiny_generator, name, function, values):
    check(name, lambda **options: function(tiny_generator, **options), values)


BUILT = [
    ("image_shape", [None, 16, (16, 16), (16, 16, 0), (16, 16, 1.5), "331"]),
    ("padding", [None, -1, 8, 1.5, True]),
    ("precision", NAMES),
    ("num_steps", COUNTS),
    ("block_depth", COUNTS),
    ("attention", NAMES[1:]),
]


@pytest.mark.parametrize(("name", "values"), BUILT)
def test_options_of_a_generator(name, values):
    options = {"image_shape": (16, 16, 1), "widths": (4,), "block_depth": 1}
    check(name, lambda **o: de.build_generator(**(options | o)), values)


def test_parts_of_a_generator():
    network = de.UNet(1, (4,), 1)
    check("network", lambda **o: de.Generator(image_shape=(8, 8, 1), **o), [None, 3, "unet"])
    check("process", lambda **o: de.Generator(network, image_shape=(8, 8, 1), **o), [3, "linear"])


@pytest.mark.parametrize("value", [None, 3, math.nan, ["mnist"], "../mnist", ""])
def test_names_of_weights_are_plain(value):
    for function in (de.load_generator, lambda name: de.load_embedder("mnist", name)):
        with pytest.raises(ValueError, match="must consist of letters"):
            function(value)


def test_the_nearest_names():
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'fashion_mnist/generator'\?"):
        de.load_generator("fashon_mnist")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'mnist/conv3_16'\?"):
        de.load_embedder("mnist", "conv3-16")
    for wrong, right, function in (
        ("lbfg", "lbfgs", lambda name: de.embed(None, None, name)),
        ("conv_1", "conv1", de.build_embedder),
        ("Linear", "linear", de.Process),
        ("squeeze-excitation", "squeeze_excitation", lambda name: de.UNet(attention=name)),
    ):
        with pytest.raises(ValueError, match=rf"Received: '{wrong}'\. Did you mean '{right}'\?"):
            function(wrong)


def test_values_of_tensors_are_looked_at_where_there_are_any(tiny_generator):
    wrong = tf.constant(np.where(LATENTS > 2, np.nan, LATENTS))
    with pytest.raises(ValueError, match="`latents` must be finite"):
        tiny_generator.decode(wrong)
    with pytest.raises(ValueError, match="`pixels` must be finite"):
        tiny_generator.check_pixels(tf.constant(PIXELS * math.nan))
    traced = tf.function(tiny_generator.check_latents, autograph=False)
    assert np.isnan(traced(wrong).numpy()).any()


HUGE = {
    "sample": lambda g: g.sample(2**31 - 1),
    "levels": lambda g: g.denoiser(num_steps=2000),
    "copies": lambda g: de.build_generator((8, 8, 1), (4,), 1, num_steps=1000).decode_tensor(
        np.zeros((1, 8, 8, 1), np.float32), denoise=lambda x, rates: x
    ),
    "image": lambda g: de.build_generator((2**20, 2**20, 1), widths=(4,)).latents(1),
    "maps": lambda g: de.build_generator((2**20, 2**20, 1), widths=(4,)).denoiser(),
    "widths": lambda g: de.UNet(1, widths=(10**6,)),
    "block_depth": lambda g: de.UNet(1, block_depth=2**31 - 1),
    "combinations": lambda g: de.clouds.combination_weights(10**6, 10**9),
    "cloud": lambda g: de.LatentCloud().fit(CLOUD).sample(2**31 - 1),
    "interpolate": lambda g: de.interpolate(g, LATENTS, LATENTS, 2**31 - 1),
    "path_length": lambda g: de.path_length(g, LATENTS, LATENTS, samples=2**31 - 1),
    "levels of a process": lambda g: de.Process(num_steps=10**6),
    "jacobian": lambda g: de.singular_vectors(
        de.build_generator((64, 64, 1), (4,)), np.zeros((64, 64, 1))
    ),
    "steps": lambda g: de.edit_strip(g, LATENTS, LATENTS[0], np.ones(10**4)),
    "distances": lambda g: de.clouds.spread(np.ones((2000, 1, 1, 1)), block=2000),
    "agreement": lambda g: de.agreement(np.zeros((2, 1000, 1, 1, 1)), resamples=2**31 - 1),
    "starts": lambda g: de.embed(g, PIXELS, de.Descent(starts=2**31 - 1)),
    "memory": lambda g: de.embed(g, PIXELS, de.LBFGS(memory=2**31 - 1)),
    "grid": lambda g: de.image_grid([PIXELS], cell=1e9),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_does_not_fit_into_memory_is_refused_before_it_starts(
    tiny_generator, monkeypatch, name
):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**26)
    with pytest.raises(MemoryError, match=r"There is not enough memory for .* are available"):
        HUGE[name](tiny_generator)


def test_numbers_of_other_types_are_numbers(tiny_generator):
    classifier = de.FeatureClassifier((8, 8, 1), np.int64(2), (4,), np.int64(3))
    assert classifier.features(PIXELS[:, :8, :8]).shape == (2, 3)
    expected = de.clouds.combinations(CLOUD, 2, seed=3)
    np.testing.assert_array_equal(de.clouds.combinations(CLOUD, 2, seed=np.array(3)), expected)
    strip = de.edit_strip(tiny_generator, LATENTS, LATENTS[0], [1])
    same = de.edit_strip(tiny_generator, tf.constant(LATENTS), LATENTS[0], [1])
    np.testing.assert_array_equal(same, strip)
