"""Priors of semantic vectors: the network, its training, sampling, fitting, files."""

import inspect

import keras
import numpy as np
import pytest
from conftest import set_random_weights
from oracles import gaussian_mixture

import ddim_embed as de
from ddim_embed.autoencoder import fitting
from ddim_embed.autoencoder import prior as priors
from ddim_embed.networks.blocks import VectorNormalizer
from ddim_embed.process import noise
from ddim_embed.process.schedules import Rates
from ddim_embed.store.weights import WeightsError
from ddim_embed.training.loop import CheckpointError

RNG = np.random.default_rng(0)
VECTORS = RNG.normal([3, -1, 0], [2, 0.5, 1], size=(40, 3)).astype(np.float32)
OTHERS = RNG.normal([3, -1, 0], [2, 0.5, 1], size=(7, 3)).astype(np.float32)


def make_mlp(**options):
    return set_random_weights(de.LatentMLP(**{"dims": 3, "hidden": 6, "depth": 3} | options), 1)


def make_model(**options):
    model = de.PriorModel(make_mlp(), **{"ema": 0.9, "seed": 3} | options)
    model.normalizer.adapt(VECTORS)
    return model


class TestLatentMLP:
    def test_the_published_size(self):
        shapes = [w.shape for w in de.LatentMLP(dims=8, hidden=16, depth=10).weights]
        assert sum(map(np.prod, shapes)) == self.count(8, 16, 10)
        parameters = inspect.signature(de.LatentMLP).parameters
        defaults = [parameters[name].default for name in ("dims", "hidden", "depth")]
        assert round(self.count(*defaults) / 2**20, 2) == 51.60

    @staticmethod
    def count(dims, hidden, depth):
        embedding = 64 * 512 + 512 + 512 * 512 + 512
        each = 512 * hidden + hidden + 2 * hidden  # the scale, and LayerNorm
        first = dims * hidden + hidden
        inner = (hidden + dims) * hidden + hidden
        last = (hidden + dims) * dims + dims
        return embedding + (depth - 1) * each + first + (depth - 2) * inner + last

    def test_is_its_formula(self):
        """In NumPy, layer by layer."""
        network, rng = make_mlp(depth=4), np.random.default_rng(2)
        vectors, variances = rng.normal(size=(5, 3)), rng.uniform(size=(5, 1))
        weights = {weight.path: weight.numpy() for weight in network.weights}

        def linear(name, x):
            kernel, bias = (
                next(v for k, v in weights.items() if f"{name}/{part}" in k)
                for part in ("kernel", "bias")
            )
            return x @ kernel + bias

        def silu(x):
            return x / (1 + np.exp(-x))

        angles = 2 * np.pi * np.geomspace(1, 1000, 32) * variances
        embedded = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        condition = linear("condition1", silu(linear("condition0", embedded)))
        x = vectors
        for i in range(3):
            x = linear(f"linear{i}", x) * (1 + linear(f"scale{i}", silu(condition)))
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            gamma = next(v for k, v in weights.items() if f"norm{i}/gamma" in k)
            beta = next(v for k, v in weights.items() if f"norm{i}/beta" in k)
            x = np.concatenate([silu(x * gamma + beta), vectors], axis=1)
        expected = linear("output_layer", x)
        found = network([vectors.astype(np.float32), variances.astype(np.float32)])
        # float32, of angles up to 6000
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)

    def test_the_last_layer_is_linear_and_sees_the_input(self):
        """With no hidden unit left the output is a linear map of the vectors."""
        network = make_mlp()
        for norm in network.norms:
            norm.set_weights([np.zeros(6), np.zeros(6)])
        vectors, variances = RNG.normal(size=(4, 3)), np.full((4, 1), 0.3)
        kernel, bias = network.output_layer.get_weights()
        expected = vectors @ kernel[6:] + bias
        np.testing.assert_allclose(network([vectors, variances]), expected, rtol=1e-5, atol=1e-6)
        assert np.ptp(expected, axis=0).min() > 0.1

    def test_initial_weights(self):
        network = de.LatentMLP(dims=64, hidden=256, depth=3, seed=7)
        kernels = {
            "linear0": (2 / 64) ** 0.5,
            "linear1": (2 / 320) ** 0.5,
            "scale1": (2 / 512) ** 0.5,
            "output_layer": (1 / 320 / 3) ** 0.5,
        }
        for name, deviation in kernels.items():
            kernel = next(w for w in network.weights if f"{name}/kernel" in w.path)
            assert np.std(kernel) == pytest.approx(deviation, rel=0.03)  # of 16,384 or more
        again = de.LatentMLP(dims=64, hidden=256, depth=3, seed=7)
        for weight, other in zip(network.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, other)
        other = de.LatentMLP(dims=64, hidden=256, depth=3, seed=8)
        assert (other.linears[1].kernel.numpy() != network.linears[1].kernel.numpy()).any()
        assert (network.linears[1].bias.numpy() == 0).all()

    def test_dropout_is_of_training_alone(self):
        network, inputs = make_mlp(dropout=0.5), [VECTORS[:4], np.full((4, 1), 0.3)]
        expected = make_mlp()(inputs)
        np.testing.assert_array_equal(network(inputs), expected)
        assert np.abs(network(inputs, training=True) - expected).max() > 0.01

    @pytest.mark.parametrize(
        "options", [{"depth": 1}, {"dims": 0}, {"dropout": 1}, {"hidden": 1.5}]
    )
    def test_sizes_that_cannot_be_built(self, options):
        (name,) = options
        with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {options[name]}"):
            make_mlp(**options)


class TestVectorNormalizer:
    def test_standardises_each_dimension_and_back(self):
        normalizer = VectorNormalizer(3)
        normalizer.adapt(VECTORS)
        standard = normalizer(VECTORS)
        np.testing.assert_allclose(np.mean(standard, axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.std(standard, axis=0, ddof=1), 1, rtol=1e-5)
        np.testing.assert_allclose(normalizer.inverse(standard), VECTORS, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            (VECTORS[:, :2], r"shape \(n, 3\), n at least 2.*\(40, 2\)"),
            (VECTORS[:1], r"n at least 2.*\(1, 3\)"),
            (VECTORS * [1, 0, 1], r"vary in every dimension.*\[1\]"),
            (VECTORS * np.nan, "finite"),
        ],
    )
    def test_what_it_cannot_standardise(self, vectors, words):
        with pytest.raises(ValueError, match=words):
            VectorNormalizer(3).adapt(vectors)


class TestPriorModel:
    def test_the_loss_is_the_error_of_the_noise(self):
        """Of a network that predicts none, at the schedule's rates: E|noise|."""
        model = make_model()
        for network in (model.network, model.ema_network):
            network.output_layer.set_weights([np.zeros((9, 3)), np.zeros(3)])
        model.compile("adam")
        found = model.evaluate(np.tile(VECTORS, (100, 1)), batch_size=4000, verbose=0)
        # 12,000 numbers of mean absolute value sqrt(2 / pi), deviation .6
        assert found[0] == pytest.approx((2 / np.pi) ** 0.5, abs=4 * 0.6 / 12_000**0.5)

    def test_noisy_vectors_are_standardised_and_have_the_schedule_s_rates(self, monkeypatch):
        model, seen = make_model(), []
        monkeypatch.setattr(
            model, "ema_network", lambda inputs, training: seen.append(inputs) or 0 * inputs[0]
        )
        seed = noise.seed_words(3, 5)
        model.compute_losses(VECTORS, seed, False, ())
        times_seed, noise_seed = noise.split(seed)
        times = (np.arange(40) + np.asarray(noise.uniform((40, 1), times_seed))[:, 0])[:, None] / 40
        rates = de.schedules.constant(times)
        standard = (VECTORS - VECTORS.mean(0)) / VECTORS.std(0, ddof=1)
        expected = rates.signal * standard + rates.noise * noise.normal((40, 3), noise_seed)
        ((noisy, variances),) = seen
        np.testing.assert_allclose(noisy, expected, atol=1e-5)
        np.testing.assert_allclose(variances, rates.noise**2, atol=1e-6)

    @pytest.mark.parametrize(
        ("batch", "words"),
        [
            (VECTORS[:, :2], r"takes vectors alone.*shape \(batch, 3\).*\(40, 2\)\.$"),
            (VECTORS[None], r"shape \(batch, 3\).*\(1, 40, 3\)"),
            (VECTORS.astype(int), r"floats of shape.*int64 of shape \(40, 3\)\.$"),
            (VECTORS * np.nan, "finite"),
        ],
    )
    def test_batches_are_finite_vectors(self, batch, words):
        model = make_model()
        model.compile("adam")
        with pytest.raises(ValueError, match=words):
            model.train_on_batch(batch)


class MixtureNetwork(keras.Model):
    """The best denoiser of standardised vectors of a mixture of Gaussians."""

    dims = 2

    def __init__(self, *mixture):
        super().__init__()
        self._denoise = gaussian_mixture(*mixture)

    def call(self, inputs, training=None):
        vectors, variances = inputs
        return self._denoise(vectors, Rates((1 - variances) ** 0.5, variances**0.5))


class TestSemanticPrior:
    def test_the_exact_denoiser_of_a_mixture_samples_the_mixture(self, monkeypatch):
        """Weights, means and covariances of 20,000 samples, within 4 standard deviations."""
        monkeypatch.setattr(priors, "SAMPLE_BATCH", 20_000)
        weights = np.array([0.3, 0.7])
        means = np.array([[8.0, 1.0], [-4.0, 2.0]])
        covariances = np.array([[[1.0, 0.8], [0.8, 2.0]], [[2.0, -0.5], [-0.5, 0.5]]])
        mean = weights @ means
        spread = np.einsum("k,ki,kj->ij", weights, means - mean, means - mean)
        total = np.einsum("k,kij->ij", weights, covariances) + spread
        deviation = np.sqrt(np.diag(total))
        standard = (
            weights,
            (means - mean) / deviation,
            covariances / np.outer(deviation, deviation),
        )
        prior = de.SemanticPrior(MixtureNetwork(*standard))
        prior.normalizer.set_weights([mean, deviation**2])

        samples = np.float64(prior.sample(20_000, seed=1, num_steps=400))
        first = samples[:, 0] > 2  # six and four deviations from the means
        assert abs(first.mean() - 0.3) < 4 * (0.3 * 0.7 / 20_000) ** 0.5
        for part, of, covariance in zip((first, ~first), means, covariances, strict=True):
            count, variances = part.sum(), np.diag(covariance)
            assert (abs(samples[part].mean(0) - of) < 4 * (variances / count) ** 0.5).all()
            errors = np.cov(samples[part], rowvar=False) - covariance
            bound = (np.outer(variances, variances) + covariance**2) / count
            assert (abs(errors) < 4 * bound**0.5).all()

    def test_a_vector_is_a_function_of_the_seed_and_its_number(self, monkeypatch):
        prior = set_random_weights(de.build_prior(3, 6, 3))
        all_at_once = prior.sample(5, seed=2, num_steps=3)
        monkeypatch.setattr(priors, "SAMPLE_BATCH", 2)
        np.testing.assert_allclose(prior.sample(5, seed=2, num_steps=3), all_at_once, rtol=1e-5)
        np.testing.assert_allclose(prior.sample(3, seed=2, num_steps=3), all_at_once[:3], rtol=1e-5)
        assert np.abs(prior.sample(5, seed=3, num_steps=3) - all_at_once).min() > 1e-3
        assert np.abs(prior.sample(5, seed=2, num_steps=4) - all_at_once).min() > 1e-3

    def test_samples_are_those_of_the_sampler_with_its_network(self):
        model = make_model(prediction="velocity", schedule="linear")
        set_random_weights(model.ema_network, 4)
        prior = de.SemanticPrior.from_model(model, num_steps=3)

        def denoise(noisy, rates):
            outputs = model.ema_network([noisy, np.full((4, 1), rates.noise**2, np.float32)])
            return rates.noise * noisy + rates.signal * outputs

        latents = noise.normal((4, 3), noise.seed_words(5, -2), numpy=True)
        levels = de.schedules.by_angle(de.schedules.linear)
        expected = de.sampling.sample(denoise, levels, latents, 3)
        deviation = VECTORS.std(0, ddof=1)
        # float32; the first step divides by a signal rate of .0067
        np.testing.assert_allclose(
            prior.sample(4, seed=5), expected * deviation + VECTORS.mean(0), rtol=1e-3, atol=1e-3
        )

    @pytest.mark.parametrize("num_steps", [10, 100])
    def test_few_steps_shrink_white_vectors(self, num_steps):
        """Their exact velocity is 0, and a step multiplies by the cosine of its angle."""
        prior = de.build_prior(3, 6, 2, prediction="velocity")
        for variable in prior.network.variables:
            variable.assign(0 * variable.value)
        latents = noise.normal((4, 3), noise.seed_words(5, -2), numpy=True)
        sampled = prior.standardize(prior.sample(4, seed=5, num_steps=num_steps))
        # Steps of equal angles, a quarter of a turn in all.
        share = np.cos(np.pi / 2 / num_steps) ** num_steps
        np.testing.assert_allclose(np.abs(sampled), np.abs(share * latents), rtol=0.01)

    def test_new_weights_reach_the_next_sample(self):
        prior = set_random_weights(de.build_prior(3, 6, 3))
        before = prior.sample(2, num_steps=2)
        prior.normalizer.mean.assign(prior.normalizer.mean + 1)
        np.testing.assert_allclose(prior.sample(2, num_steps=2), before + 1, rtol=1e-4, atol=1e-4)
        prior.network.output_layer.bias.assign(prior.network.output_layer.bias + 1)
        assert np.abs(prior.sample(2, num_steps=2) - before - 1).min() > 0.1

    def test_standardised_vectors_and_back(self):
        prior = de.SemanticPrior.from_model(make_model())
        standard = prior.standardize(VECTORS)
        expected = (VECTORS - VECTORS.mean(0)) / VECTORS.std(0, ddof=1)
        np.testing.assert_allclose(standard, expected, atol=1e-5)
        np.testing.assert_allclose(prior.unstandardize(standard), VECTORS, rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match=r"`vectors` must have shape \(n, 3\).*\(40, 2\)"):
            prior.standardize(VECTORS[:, :2])

    def test_weights_are_recorded_and_loaded(self, tmp_path):
        model = make_model(prediction="velocity")
        model.network.dropout = 0.5
        recorded = set_random_weights(de.build_prior(3, 6, 3, "linear", "velocity"))
        options = {"data": "x", "budget": {}, "errors": {}, "half": False}
        config = priors.prior_config(recorded)
        path, _ = de.record_weights(tmp_path, "cats", "prior", recorded, config=config, **options)
        loaded = de.load_prior("cats", tmp_path, num_steps=4)
        assert loaded.process == de.Process("linear", 4, prediction="velocity")
        expected = recorded.sample(3, num_steps=4)
        np.testing.assert_allclose(loaded.sample(3), expected, rtol=1e-6)
        assert not loaded.trainable and not loaded.trainable_variables
        made = de.SemanticPrior.from_config(loaded.get_config())
        made.set_weights(loaded.get_weights())
        np.testing.assert_allclose(made.sample(3, num_steps=4), expected, rtol=1e-6)
        with pytest.raises(FileNotFoundError, match="No weights `dogs/prior`"):
            de.load_prior("dogs", tmp_path)
        wrong = config | {"hidden": 2**14}
        de.record_weights(tmp_path, "cats", "prior", recorded, config=wrong, **options)
        with pytest.raises(WeightsError, match="larger network than"):
            de.load_prior("cats", tmp_path)
        assert priors._least_size(config) < path.stat().st_size

    def test_the_distance_is_of_standardised_vectors(self):
        prior = de.build_prior(2, 6, 2)
        prior.normalizer.set_weights([np.array([5.0, 6.0]), np.array([4.0, 0.25])])
        vectors = np.random.default_rng(0).normal(size=(50, 2))
        # A shift by half a deviation, and by two.
        assert prior.distance(vectors, vectors + 1) == pytest.approx(0.25 + 4, rel=1e-5)

    def test_a_network_with_dropout_becomes_one_without(self):
        """Its random numbers have a state, which a weights file would hold."""
        model = de.PriorModel(make_mlp(dropout=0.5))
        prior = de.SemanticPrior.from_model(model)
        assert prior.network.drop is None
        assert len(prior.variables) == len(de.build_prior(3, 6, 3).variables)
        for a, b in zip(prior.network.get_weights(), model.ema_network.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


class TestGaussianPrior:
    def test_mean_and_covariance(self):
        prior = de.GaussianPrior().fit(VECTORS)
        np.testing.assert_allclose(prior.mean_, VECTORS.mean(0), rtol=1e-5)
        np.testing.assert_allclose(prior.covariance_, np.cov(VECTORS.T), rtol=1e-5)
        assert prior.shrinkage_ == 0
        samples = np.float64(prior.sample(20_000, seed=1))
        variances = np.diag(prior.covariance_)
        assert (abs(samples.mean(0) - prior.mean_) < 4 * (variances / 20_000) ** 0.5).all()
        bound = (np.outer(variances, variances) + prior.covariance_**2) / 20_000
        assert (abs(np.cov(samples.T) - prior.covariance_) < 4 * bound**0.5).all()
        np.testing.assert_array_equal(prior.sample(7, seed=1), np.float32(samples[:7]))
        assert (prior.sample(7, seed=2) != np.float32(samples[:7])).any()

    def test_few_vectors_are_shrunk_in_standardised_units(self):
        few, scales = VECTORS[:20] @ [[1, 1, 1], [0, 1, 0], [0, 0, 1]], np.array([0.01, 1, 100])
        prior, sample = de.GaussianPrior().fit(few), np.cov(few.T)
        assert 0.01 < prior.shrinkage_ < 0.99
        off = ~np.eye(3, dtype=bool)
        expected = (1 - prior.shrinkage_) * sample[off] * 19 / 20  # scikit-learn's is biased
        np.testing.assert_allclose(prior.covariance_[off], expected, rtol=1e-4)
        scaled = de.GaussianPrior().fit(few * scales)
        expected = prior.covariance_ * np.outer(scales, scales)
        np.testing.assert_allclose(scaled.covariance_, expected, rtol=1e-4)

    def test_fewer_vectors_than_dimensions(self):
        wide = np.random.default_rng(0).normal(size=(5, 8)) * [1, 1, 1, 1, 1, 1, 1, 0]
        samples = de.GaussianPrior().fit(wide).sample(3)
        assert np.isfinite(samples).all() and (samples[:, 7] == 0).all()

    @pytest.mark.parametrize("vectors", [VECTORS[:1], VECTORS[0], VECTORS * np.nan])
    def test_what_has_no_covariance(self, vectors):
        with pytest.raises(ValueError, match="`vectors` must"):
            de.GaussianPrior().fit(vectors)


def fit(folder, **options):
    """Eight vectors, which are known by heart soon."""
    usual = {
        "hidden": 32, "depth": 2, "num_steps": 200, "validation_steps": 10, "patience": 3,
        "batch_size": 8, "learning_rate": 0.05, "ema": 0.5, "dropout": 0.05, "seed": 5,
        "progress": False,
    }  # fmt: skip
    return de.fit_prior(VECTORS[:8], OTHERS, folder=folder, **usual | options)


def losses(history):
    return [(line["step"], line["loss"], line["validation_loss"]) for line in history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return *fit(folder), folder


class TestFitPrior:
    def test_ends_after_patience_with_the_best_weights(self, whole):
        prior, history, _ = whole
        found = [line["validation_loss"] for line in history]
        best = int(np.argmin(found))
        assert 0 < best == len(found) - 4 and found[-1] > found[best]
        assert [line["step"] for line in history] == [10 * (i + 1) for i in range(len(found))]
        assert history[-1]["loss"] < history[0]["loss"]
        model = de.PriorModel(prior.network, seed=5)
        model.normalizer.set_weights(prior.normalizer.get_weights())
        model.compile("adam")
        rows = np.tile(OTHERS, (-(-4096 // 7), 1))
        measured = model.evaluate(rows, batch_size=len(rows), verbose=0)[0]
        assert measured == pytest.approx(found[best], rel=1e-6)
        np.testing.assert_allclose(prior.normalizer.mean, VECTORS[:8].mean(0), rtol=1e-5)

    def test_a_killed_run_goes_on(self, whole, tmp_path, monkeypatch):
        """Killed between a checkpoint and the best weights."""
        expected, history, _ = whole
        write, writes = fitting.write_arrays, []

        def killed(*args, **kwargs):
            writes.append(args)
            if len(writes) == 4:
                raise KeyboardInterrupt
            write(*args, **kwargs)

        monkeypatch.setattr(fitting, "write_arrays", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path)
        prior, found = fit(tmp_path)
        assert losses(found) == losses(history)
        for a, b in zip(prior.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_finished_run_returns_at_once_and_another_one_is_refused(self, whole, monkeypatch):
        expected, history, folder = whole
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "train", None)
            prior, found = fit(folder)
        assert losses(found) == losses(history)
        for a, b in zip(prior.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        with pytest.raises(CheckpointError, match="of another run"):
            fit(folder, seed=6)
        # The best weights are lost: it goes on from the checkpoint.
        (folder / fitting.BEST).unlink()
        _, found = fit(folder, num_steps=history[-1]["step"])
        assert [line["step"] for line in found] == [history[-1]["step"]]

    def test_a_tenth_is_held_out(self, monkeypatch):
        train, held = fitting._held_out(np.arange(25.0)[:, None], seed=0)
        assert len(train) == 22 and len(held) == 3
        np.testing.assert_array_equal(np.sort(np.concatenate([train, held])[:, 0]), np.arange(25))
        assert (held != fitting._held_out(np.arange(25.0)[:, None], seed=1)[1]).any()

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"vectors": VECTORS[0]}, r"`vectors` must have shape \(n, dims\)"),
            (
                {"validation_vectors": OTHERS[:, :2]},
                r"`validation_vectors` must have shape \(n, 3\).*\(7, 2\)",
            ),
            ({"validation_vectors": OTHERS * np.inf}, "`validation_vectors` must be finite"),
            ({"patience": 0}, "`patience` must be an integer"),
            ({"folder": ""}, "`folder` must be a path"),
            ({"loss": "l1"}, "`loss` must be one of"),
        ],
    )
    def test_wrong_arguments(self, tmp_path, given, words):
        with pytest.raises(ValueError, match=words):
            de.fit_prior(**{"vectors": VECTORS, "folder": tmp_path} | given)
