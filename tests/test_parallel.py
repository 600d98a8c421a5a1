import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed import backend, parallel


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "_parts", lambda: 3)


def sizes_of_parts(n, monkeypatch, cores):
    monkeypatch.setattr(parallel, "_parts", lambda: cores)
    seen = []

    def double(x):
        seen.append(len(x))
        return 2 * x

    values = tf.reshape(tf.range(2.0 * n), (n, 2))
    np.testing.assert_array_equal(parallel.over_cores(double, values), 2 * values)
    return seen


@pytest.mark.parametrize(
    ("n", "cores", "sizes"), [(7, 3, [2, 2, 3]), (6, 1, [6]), (2, 4, [1, 1]), (1, 2, [1])]
)
def test_each_core_has_a_part_and_none_is_empty(n, cores, sizes, monkeypatch):
    assert sizes_of_parts(n, monkeypatch, cores) == sizes


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_batches_of_any_size_have_a_part_for_each_core(cores, monkeypatch):
    monkeypatch.setattr(parallel, "_parts", lambda: cores)
    traced = []

    @tf.function(input_signature=[tf.TensorSpec((None, 2))], autograph=False)
    def run(x):
        return parallel.over_cores(lambda part: traced.append(1) or 2 * part, x)

    for n in (1, 4):
        np.testing.assert_array_equal(run(tf.ones((n, 2))), np.full((n, 2), 2))
    assert len(traced) == cores


def test_a_batch_of_fewer_images_than_cores_is_filled_up_to_one_each(three_cores):
    @tf.function(input_signature=[tf.TensorSpec((None,))], autograph=False)
    def sizes(x):
        return parallel.over_cores(lambda part: tf.fill(tf.shape(part), tf.size(part)), x)

    for n, expected in ((1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (4, [1, 1, 2, 2])):
        np.testing.assert_array_equal(sizes(tf.zeros(n)), expected)


@pytest.mark.parametrize(("intra", "inter", "parts"), [(1, 4, 4), (1, 0, 6), (0, 4, 1), (2, 4, 1)])
def test_the_parts_follow_from_the_threads(intra, inter, parts, monkeypatch):
    threading = tf.config.threading
    monkeypatch.setattr(threading, "get_intra_op_parallelism_threads", lambda: intra)
    monkeypatch.setattr(threading, "get_inter_op_parallelism_threads", lambda: inter)
    monkeypatch.setattr(parallel, "_cores", lambda: 6)
    assert parallel._parts() == parts


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    allowed = {0: {1, 2, 5}}  # 0 is this process
    monkeypatch.setattr(parallel.os, "sched_getaffinity", allowed.__getitem__, raising=False)
    assert parallel._cores() == 3
    monkeypatch.delattr(parallel.os, "sched_getaffinity")
    for count, expected in ((5, 5), (None, 1)):
        monkeypatch.setattr(parallel.os, "cpu_count", lambda count=count: count)
        assert parallel._cores() == expected


def test_several_batches_are_split_alike(three_cores):
    first, second = tf.range(5.0), tf.range(5.0, 10.0)
    sums = parallel.over_cores(lambda a, b: a + b * len(a), first, second)
    np.testing.assert_array_equal(sums, [0 + 5 * 1, 1 + 6 * 2, 2 + 7 * 2, 3 + 8 * 2, 4 + 9 * 2])


@pytest.mark.parametrize("known", [True, False])
def test_nested_structures_come_back_whole(three_cores, known):
    shape = (4,) if known else (None,)

    @tf.function(input_signature=[tf.TensorSpec(shape)], autograph=False)
    def run(x):
        return parallel.over_cores(lambda part: (part, [2 * part, {"a": 3 * part}]), x)

    values = tf.range(4.0)
    first, (second, third) = run(values)
    for found, factor in ((first, 1), (second, 2), (third["a"], 3)):
        np.testing.assert_array_equal(found, factor * values)


def test_a_part_is_not_split_again(three_cores):
    seen = []

    def inner(x):
        seen.append(len(x))
        return x

    parallel.over_cores(lambda part: parallel.over_cores(inner, part), tf.zeros((9, 1)))
    assert seen == [3, 3, 3]
    parallel.over_cores(inner, tf.zeros((9, 1)))
    assert seen == [3] * 6  # the mark is gone again


def test_the_mark_goes_with_an_error(three_cores):
    def fail(part):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        parallel.over_cores(fail, tf.zeros((3, 1)))
    seen = []
    parallel.over_cores(lambda part: seen.append(1) or part, tf.zeros((3, 1)))
    assert len(seen) == 3


def test_decoding_and_its_gradient_are_the_same(three_cores, monkeypatch, tiny_generator):
    split = make_generator()
    latents = tf.constant(tiny_generator.latents(4))

    @tf.function(autograph=False)
    def gradient(generator_decode, latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            loss = tf.reduce_sum(generator_decode(latents, remat=True) ** 3)
        return tape.gradient(loss, latents)

    found = split.decode(latents), gradient(split.decode_tensor, latents)
    monkeypatch.setattr(parallel, "_parts", lambda: 1)
    assert_close(found[0], make_generator().decode(latents), 1e-6)
    assert_close(found[1], gradient(make_generator().decode_tensor, latents), 1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_a_gradient_at_any_batch_size_is_the_same(remat, three_cores, monkeypatch):
    """As `fit` needs it, whose batches are of unknown size; one of them has fewer than cores."""
    generator = make_generator(image_shape=(8, 8, 1), widths=(4,), num_steps=2)

    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            value = tf.reduce_sum(generator.decode_tensor(latents, remat=remat) ** 3)
        return tape.gradient(value, latents)

    signature = [tf.TensorSpec((None, 8, 8, 1))]
    compiled = tf.function(gradient, input_signature=signature, autograph=False)
    latents = tf.constant(generator.latents(5))
    found = [compiled(latents[:n]) for n in (1, 2, 3, 5)]
    monkeypatch.setattr(parallel, "_parts", lambda: 1)
    expected = gradient(latents)
    for part in found:
        assert_close(part, expected[: len(part)], 1e-5)  # float32


def test_one_evaluation_is_the_same_for_fewer_images_than_cores(three_cores):
    generator = make_generator()
    denoise, rates = generator.denoiser(), generator.grid[1]
    for n in (1, 2, 5):
        images = tf.constant(generator.latents(n))
        assert_close(denoise.compiled(images, rates), denoise(images, rates), 1e-6)


@pytest.mark.parametrize(("network", "adapt_statistics"), [("conv3_16", True), ("unet", False)])
def test_training_an_embedder_is_the_same(network, adapt_statistics, monkeypatch, tiny_pixels):
    def losses(cores):
        monkeypatch.setattr(parallel, "_parts", lambda: cores)
        keras.utils.clear_session()
        embedder = set_random_weights(de.build_embedder(network, 1, (4, 8), 1))
        trainer = de.EmbedderTrainer(embedder, make_generator(), adapt_statistics=adapt_statistics)
        trainer.compile(keras.optimizers.SGD(1e-3))
        step = tf.function(trainer.train_step, autograph=False)
        return [float(step(tf.constant(tiny_pixels))["loss"]) for _ in range(3)]

    alone = losses(1)
    assert alone[0] != alone[2]
    assert losses(2) == pytest.approx(alone, rel=1e-5)


def test_the_setting_is_of_the_whole_process_and_must_come_first():
    program = """
import tensorflow as tf
import ddim_embed as de
from ddim_embed import backend, parallel
assert parallel._parts() == 1
de.use_one_core_per_operation()
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
assert parallel._parts() == tf.config.threading.get_inter_op_parallelism_threads() >= 1
tf.zeros(1)
de.use_one_core_per_operation()  # the same again: no error
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    tf.zeros(1)
    if parallel._parts() == 1 and not parallel.has_gpu():
        with pytest.raises(RuntimeError, match="call `use_one_core_per_operation` first of all"):
            de.use_one_core_per_operation()


@pytest.mark.parametrize(("gpu", "tensorflow"), [(True, True), (False, False)])
def test_without_cores_to_split_over_the_threads_stay(gpu, tensorflow, monkeypatch):
    monkeypatch.setattr(parallel, "has_gpu", lambda: gpu)
    monkeypatch.setattr(parallel, "is_tensorflow", lambda: tensorflow)
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", pytest.fail)
    de.use_one_core_per_operation()


def test_a_gpu_is_not_split(monkeypatch):
    monkeypatch.setattr(parallel, "has_gpu", lambda: True)
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 1)
    assert parallel._parts() == 1


def test_products_with_the_jacobian_are_the_same(three_cores, monkeypatch):
    """Gradients of gradients, in a loop whose shapes must not change: Gauss-Newton's."""
    pixels = make_pixels(4, (16, 16, 1))
    method = de.GaussNewton(num_steps=2)
    split = de.embed(make_generator(num_steps=2), pixels, method)
    monkeypatch.setattr(parallel, "_parts", lambda: 1)
    alone = de.embed(make_generator(num_steps=2), pixels, method)
    np.testing.assert_allclose(split.mse, alone.mse, rtol=1e-3)


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match=r"must be TensorFlow or JAX.*Received: 'torch'"):
        backend.compiled(lambda x: x)
