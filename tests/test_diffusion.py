"""Training the denoiser: the loss, its noise and the average, each derived a second time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_diffusion, make_pixels, set_random_weights

import ddim_embed as de

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
    model.optimizer.iterations.assign(10_000)
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
