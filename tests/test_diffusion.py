"""Training the denoiser: the loss, its noise and the average, each derived a second time."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_diffusion, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed import backend

# The first three losses of `make_diffusion()` on `make_pixels(4)`, float32 on a CPU.
GOLDEN_LOSSES = [1.194977, 0.962517, 0.828993]


def compiled(seed=0, learning_rate=1e-2, **kwargs):
    model = make_diffusion(seed, **kwargs)
    model.compile(keras.optimizers.Adam(learning_rate))
    return model


def train_losses(model, batches):
    losses = []  # eagerly: three steps are done before a graph of them is traced
    for batch in batches:
        model.reset_metrics()
        losses.append(float(model.train_step(tf.constant(batch))["loss"]))
    return losses


def drawn(seed, step, n, shape=(8, 8, 1)):
    """The documented draws: functions of the run's seed and the step, in another wording."""
    seeds = tf.random.split(np.array([seed, step], np.int64), 2)
    times = tf.random.stateless_uniform((n, 1, 1, 1), seeds[0]).numpy()
    return tf.random.stateless_normal((n, *shape), seeds[1]).numpy(), times


def mixed(model, pixels, noises, times):
    """The angles of the rates at these times, the images, and these with the noises in them."""
    angles = np.arccos(0.95) + times * (np.arccos(0.02) - np.arccos(0.95))
    images = (pixels - model.normalizer.mean) / np.sqrt(model.normalizer.variance)
    return angles, images, np.cos(angles) * images + np.sin(angles) * noises


def expected_losses(model, network, pixels, noises, times, training):
    """The mean absolute errors of the noise and of the image it implies, in NumPy."""
    angles, images, noisy = mixed(model, pixels, noises, times)
    variances = (np.sin(angles) ** 2).astype(np.float32)
    predicted = network([noisy.astype(np.float32), variances], training=training).numpy()
    pred_images = (noisy - np.sin(angles) * predicted) / np.cos(angles)
    return np.abs(noises - predicted).mean(), np.abs(images - pred_images).mean()


@pytest.mark.parametrize("n", [1, 4])
def test_the_loss_of_a_step(n):
    model = compiled(seed=7)
    pixels = make_pixels(n)
    for step in range(2):
        noises, times = drawn(7, step, n)
        network = type(model.network).from_config(model.network.get_config())
        network.set_weights(model.network.get_weights())
        loss, image_loss = expected_losses(model, network, pixels, noises, times, training=True)
        model.reset_metrics()
        logs = model.train_step(tf.constant(pixels))
        assert float(logs["loss"]) == pytest.approx(loss, rel=1e-4)  # float32, 50 layers' rounding
        # Divided by signal rates down to .02, rounding errors of the float32 noise grow.
        assert float(logs["image_loss"]) == pytest.approx(image_loss, rel=1e-3)


def test_the_loss_may_be_squared():
    model = compiled(seed=7, loss="mean_squared_error")
    pixels = make_pixels(4)
    noises, times = drawn(7, 0, 4)
    angles, _, noisy = mixed(model, pixels, noises, times)
    inputs = [np.float32(noisy), np.float32(np.sin(angles) ** 2)]
    predicted = model.network(inputs, training=True)
    logs = model.train_step(tf.constant(pixels))
    assert float(logs["loss"]) == pytest.approx(np.mean((noises - predicted) ** 2), rel=1e-4)
    again = type(model).from_config(model.get_config())
    assert again.loss_name == "mean_squared_error"
    with pytest.raises(ValueError, match=r"'mean_squared_error'.*Received: 'cubed'"):
        de.DiffusionModel(model.network, loss="cubed")


def test_the_velocity_may_be_predicted():
    model = compiled(seed=7, loss="mean_squared_error", prediction="velocity")
    pixels = make_pixels(4)
    noises, times = drawn(7, 0, 4)
    angles, images, noisy = mixed(model, pixels, noises, times)
    inputs = [np.float32(noisy), np.float32(np.sin(angles) ** 2)]
    predicted = model.network(inputs, training=True)
    velocities = np.cos(angles) * noises - np.sin(angles) * images
    # The image on the circle through the noisy one, a quarter of the way round from its noise.
    pred_images = np.cos(angles) * noisy - np.sin(angles) * predicted
    logs = model.train_step(tf.constant(pixels))
    assert float(logs["loss"]) == pytest.approx(np.mean((velocities - predicted) ** 2), rel=1e-4)
    assert float(logs["image_loss"]) == pytest.approx(np.abs(images - pred_images).mean(), rel=1e-3)
    again = type(model).from_config(model.get_config())
    assert again.prediction == "velocity"
    with pytest.raises(ValueError, match="`prediction` must be one of"):
        de.DiffusionModel(model.network, prediction="image")


def test_the_gradient_is_that_of_the_loss():
    """One step of plain descent moves the weights along the finite-difference slope."""
    model = make_diffusion(seed=2)
    model.compile(keras.optimizers.SGD(1.0))
    pixels, before = make_pixels(4), model.network.get_weights()
    names = [weight.path for weight in model.network.trainable_variables]
    old = {weight.path: weight.numpy() for weight in model.network.trainable_variables}
    model.train_step(tf.constant(pixels))
    new = {weight.path: weight.numpy() for weight in model.network.trainable_variables}
    gradients = {name: old[name] - new[name] for name in names}  # learning rate 1
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))

    noises, times = drawn(2, 0, 4)

    def loss_at(offset):
        model.network.set_weights(before)
        for weight in model.network.trainable_variables:
            weight.assign_add(gradients[weight.path] / norm * offset)
        return expected_losses(model, model.network, pixels, noises, times, training=True)[0]

    step = 1e-2  # rounding of the loss, 1e-7, leaves 1e-5; curvature cancels in central differences
    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert slope == pytest.approx(norm, rel=2e-2)  # kinks of 256 absolute values


def test_golden_first_losses():
    losses = train_losses(compiled(), [make_pixels(4)] * 3)
    np.testing.assert_allclose(losses, GOLDEN_LOSSES, rtol=1e-4)  # float32 kernels differ so much


def test_the_average_follows_every_weight():
    model = compiled()
    for step in range(1, 4):
        averages = [weight.numpy() for weight in model.ema_network.weights]
        model.train_step(tf.constant(make_pixels(3)))
        for average, old, new in zip(
            model.ema_network.weights, averages, model.network.weights, strict=True
        ):
            kept = (1 + step) / (10 + step)  # less than 0.9, so early
            expected = kept * old + (1 - kept) * new.numpy()
            np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)  # float32
    moved = [
        not np.array_equal(average, new)
        for average, new in zip(model.ema_network.weights, model.network.weights, strict=True)
    ]
    assert all(moved)  # BatchNorm statistics too
    model.updates.assign(10_000)
    average, weight = model.ema_network.weights[0], model.network.weights[0]
    old = average.numpy()
    model.train_step(tf.constant(make_pixels(3)))
    np.testing.assert_allclose(average, 0.9 * old + 0.1 * weight.numpy(), rtol=1e-5, atol=1e-6)


def test_the_average_of_a_short_run_has_left_its_start():
    """With the final decay alone, 0.999, a tenth of the start would be left after 2,300 steps."""
    model = compiled(ema=0.999)
    for weight in model.ema_network.weights:
        weight.assign(tf.fill(weight.shape, 1000.0))
    for _ in range(30):
        model.train_step(tf.constant(make_pixels(2)))
    for average in model.ema_network.weights:
        assert np.abs(average).max() < 10


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def weights_saved(model, folder):
    other = type(model).from_config(model.get_config())
    other.compile(keras.optimizers.Adam(1e-2))
    model.save_weights(folder / "model.weights.h5")
    other.load_weights(folder / "model.weights.h5")
    return other


def copied(model, folder):
    return copy.deepcopy(model)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("again", [saved, weights_saved, copied])
def test_saved_it_goes_on_as_if_it_had_not_been_saved(again, policy, tmp_path):
    model = compiled(widths=(4,), dtype=policy, seed=3)
    batches = [make_pixels(2, seed=i) for i in range(3)]
    train_losses(model, batches[:2])
    other = again(model, tmp_path)
    assert train_losses(other, batches[2:]) == train_losses(model, batches[2:])
    assert type(other.optimizer) is type(model.optimizer) and other.jit_compile is model.jit_compile
    for own, old in (
        (other.variables, model.variables),
        (other.optimizer.variables, model.optimizer.variables),
    ):
        for a, b in zip(own, old, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_average_goes_on_where_weights_alone_are_loaded(tmp_path):
    model = compiled(widths=(4,), ema=0.999)
    model.updates.assign(5000)
    set_random_weights(model.ema_network, seed=11)
    de.save_weights(model, tmp_path / "model.weights.h5")
    other = compiled(widths=(4,), ema=0.999)
    de.load_weights(other, tmp_path / "model.weights.h5")
    old = other.ema_network.get_weights()
    train_losses(other, [make_pixels(2)])
    kept = 5002 / 5011  # (1 + t) / (10 + t) of the 5001st update, and not of the first one
    for average, before, weight in zip(
        other.ema_network.weights, old, other.network.weights, strict=True
    ):
        expected = kept * before + (1 - kept) * weight.numpy()
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)  # float32


def test_a_machine_that_loads_a_model_chooses_xla_itself(monkeypatch):
    model = make_diffusion(widths=(4,))
    for given in (None, True, False):
        model.compile("adam", jit_compile=given)
        assert model.get_compile_config()["jit_compile"] is given
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    model.compile("adam")
    assert model.jit_compile
    model.compile("adam", run_eagerly=True)
    assert not model.jit_compile


@pytest.mark.parametrize(
    "policy, optimizer",
    [
        ("mixed_float16", {}),
        ("mixed_float16", {"loss_scale_factor": 64.0}),
        ("float32", {"loss_scale_factor": 64.0}),
    ],
)
def test_a_scaled_loss_gives_the_same_step(policy, optimizer):
    """Plain descent: a loss that is divided by 32768 and never multiplied hardly moves a weight."""
    moved, losses = [], []
    for one, options in (("float32", {}), (policy, optimizer)):
        model = make_diffusion(widths=(4,), dtype=one)
        model.compile(keras.optimizers.SGD(0.1, **options))
        before = model.network.trainable_variables[0].numpy()
        losses += train_losses(model, [make_pixels(4)])
        moved.append(model.network.trainable_variables[0].numpy() - before)
    assert losses[1] == pytest.approx(losses[0], rel=0.01)  # 11 bits
    assert_close(moved[1], moved[0], 0.03)


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64"])
def test_weights_of_another_type_are_refused(policy):
    model = de.DiffusionModel(de.UNet(1, widths=(4,), block_depth=1, dtype=policy))
    with pytest.raises(ValueError, match=rf"must be float32.*mixed_float16.*of type {policy}"):
        model.compile("adam")


def test_its_loss_and_metrics_are_its_own():
    with pytest.raises(ValueError, match=r"own loss and metrics. Received: \['loss', 'metrics'\]"):
        make_diffusion(widths=(4,)).compile("adam", loss="mse", metrics=["mae"])


def test_accumulated_gradients_are_of_different_noise():
    model = make_diffusion(widths=(4,))
    model.compile(keras.optimizers.SGD(0.0, gradient_accumulation_steps=2))
    first, second = train_losses(model, [make_pixels(4)] * 2)
    assert first != pytest.approx(second, rel=1e-3)


def test_only_the_network_is_trained():
    model = compiled()
    statistics = [weight.numpy() for weight in model.normalizer.weights]
    train_losses(model, [make_pixels(4)] * 2)
    np.testing.assert_array_equal(
        statistics, [weight.numpy() for weight in model.normalizer.weights]
    )
    trained = {id(variable) for variable in model.trainable_variables}
    assert trained == {id(variable) for variable in model.network.trainable_variables}


def test_noise_depends_on_the_seed_and_the_step_alone():
    batches = [make_pixels(4, seed=i) for i in range(3)]
    losses = train_losses(compiled(seed=1), batches)
    tf.random.set_seed(99)  # a global seed changes nothing
    assert train_losses(compiled(seed=1), batches) == pytest.approx(losses, rel=1e-6)
    assert train_losses(compiled(seed=2), batches)[0] != pytest.approx(losses[0], rel=1e-3)
    still = train_losses(compiled(seed=1, learning_rate=0.0), [batches[0]] * 2)
    assert still[0] != pytest.approx(still[1], rel=1e-3)  # new noise at each step


def test_fit_and_evaluate():
    """A ragged last batch, and a history that is not zero (a custom step must update metrics)."""
    model = compiled()
    pixels = make_pixels(10)
    history = model.fit(pixels, batch_size=4, epochs=8, verbose=0, shuffle=False).history
    assert set(history) == {"loss", "image_loss"}
    assert all(0.05 < loss < 5 for loss in history["loss"])
    assert np.mean(history["loss"][-2:]) < history["loss"][0]
    first = model.evaluate(pixels, batch_size=4, verbose=0, return_dict=True)
    assert model.evaluate(pixels, batch_size=4, verbose=0, return_dict=True) == pytest.approx(first)
    assert first["loss"] > 0.05


def test_the_mean_loss_counts_images_and_not_batches():
    model = make_diffusion()
    pixels = make_pixels(5)
    large = {k: float(v) for k, v in model.test_step(tf.constant(pixels[:4])).items()}
    model.reset_metrics()
    small = {k: float(v) for k, v in model.test_step(tf.constant(pixels[4:])).items()}
    model.test_step(tf.constant(pixels[:4]))
    for metric in model.metrics:
        expected = (4 * large[metric.name] + small[metric.name]) / 5
        assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_validation_uses_the_average_and_changes_nothing():
    model = compiled(seed=4)
    set_random_weights(model.ema_network, seed=11)
    before = model.get_weights()
    pixels = make_pixels(3)
    logs = model.test_step(tf.constant(pixels))
    noises, times = drawn(4, -1, 3)
    times = (times + np.arange(3).reshape(3, 1, 1, 1)) / 3  # evenly: they are every batch's
    expected = expected_losses(model, model.ema_network, pixels, noises, times, training=False)
    assert float(logs["loss"]) == pytest.approx(expected[0], rel=1e-4)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_calling_it_asks_the_average():
    model = make_diffusion()
    set_random_weights(model.ema_network, seed=11)
    batch = [make_pixels(2), np.full((2, 1, 1, 1), 0.5, np.float32)]
    np.testing.assert_array_equal(model(batch), model.ema_network(batch))


def test_the_units_are_in_the_weights_file(tmp_path):
    model = make_diffusion()
    de.save_weights(model, tmp_path / "model.weights.h5")
    other = de.DiffusionModel(de.UNet(1, widths=(4, 8), block_depth=1))
    de.load_weights(other, tmp_path / "model.weights.h5")
    assert other.normalizer.mean.numpy() == model.normalizer.mean.numpy() != 0
    assert other.normalizer.variance.numpy() == model.normalizer.variance.numpy() != 1
    for old, new in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_trains_in_bfloat16():
    network = de.UNet(1, widths=(4, 8), block_depth=1, dtype="mixed_bfloat16")
    network.set_weights(make_diffusion().network.get_weights())
    model = de.DiffusionModel(network)
    model.normalizer.adapt(make_pixels(16))
    model.compile(keras.optimizers.Adam(1e-2))
    losses = train_losses(model, [make_pixels(4)] * 3)
    np.testing.assert_allclose(losses, GOLDEN_LOSSES, rtol=0.01)  # 8 bits
    assert all(weight.dtype == "float32" for weight in model.weights)


def test_wrong_values_are_named():
    network = de.UNet(1, widths=(4,), block_depth=1)
    for ema in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"ema.*Received: {ema}"):
            de.DiffusionModel(network, ema=ema)
    with pytest.raises(ValueError, match=r"schedule.*Received: 'steep'"):
        de.DiffusionModel(network, schedule="steep")
