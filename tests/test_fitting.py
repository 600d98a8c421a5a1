"""What `fit`, `evaluate` and `predict` take, and what they say of the rest, before they compile."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_diffusion, make_generator, make_pixels, set_random_weights

import ddim_embed as de

PIXELS = make_pixels(4)
LABELS = np.zeros(4)
BYTES = np.uint8(255 * PIXELS)


def dataset(values):
    return tf.data.Dataset.from_tensor_slices(values).batch(2)


class Batches(keras.utils.PyDataset):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.values


@pytest.fixture(scope="module")
def model():
    model = make_diffusion(widths=(4,))
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.fixture(scope="module")
def trainers():
    generator = make_generator(image_shape=(8, 8, 1), widths=(4,), num_steps=2)
    made = [
        trainer(set_random_weights(de.build_embedder("conv1")), generator)
        for trainer in (de.EmbedderTrainer, de.LatentRegression)
    ]
    for trainer in made:
        trainer.compile(keras.optimizers.SGD(0.0))
    return made


OTHER_DATA = {
    "pairs": (lambda: (PIXELS, LABELS), r"pixels alone.*float64 of shape \(4,\).*image, label:"),
    "autoencoder": (lambda: (PIXELS, PIXELS), r"pixels alone.*map\(lambda image, label: image\)"),
    "data set of pairs": (lambda: (dataset((PIXELS, LABELS)),), r"map\(lambda image, label:"),
    "dictionaries": (
        lambda: (dataset({"image": BYTES, "label": LABELS}),),
        r"a dictionary of 'image': uint8.*map\(lambda example: example\[\"image\"\]\)",
    ),
    "bytes": (lambda: (BYTES,), r'uint8 of shape \(4, 8, 8, 1\).*"float32"\) / 255'),
    "data set of bytes": (lambda: (dataset(BYTES),), r'uint8.*"float32"\) / 255'),
    "one image": (lambda: (PIXELS[0],), r"Received: float32 of shape \(8, 8, 1\)"),
    "no batches": (lambda: (tf.data.Dataset.from_tensor_slices(PIXELS),), r"of shape \(8, 8, 1\)"),
    "list": (lambda: ([*PIXELS],), r"Received: \(float32 of shape .*, \.\.\.\)"),
    "nothing": (lambda: (), "Received: None"),
    "none": (lambda: (PIXELS[:0],), r"at least one image. Received shape: \(0, 8, 8, 1\)"),
    "0 to 255": (lambda: (255 * PIXELS,), r"in \[0, 1\].*division by 255.*Received values from"),
    "-1 to 1": (lambda: (2 * PIXELS - 1,), r"in \[0, 1\].*Received values from -0\."),
    "data set, 0 to 255": (lambda: (dataset(255 * PIXELS),), r"in \[0, 1\]"),
    "batches, 0 to 255": (lambda: (Batches(255 * PIXELS),), r"in \[0, 1\]"),
    "batches of pairs": (lambda: (Batches((PIXELS, LABELS)),), r"image, label: image"),
    "generator": (lambda: ((255 * PIXELS for _ in range(2)),), r"in \[0, 1\]"),
    "not finite": (lambda: (np.where(PIXELS > 0.5, np.nan, PIXELS),), "from nan to nan"),
}


@pytest.mark.parametrize("name", OTHER_DATA)
def test_other_data_are_refused(model, name):
    make, words = OTHER_DATA[name]
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=words):
            method(*make(), verbose=0)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_single_batches_are_looked_at(model, method):
    for arguments in ((PIXELS, LABELS), (BYTES,), (255 * PIXELS,)):
        with pytest.raises(ValueError, match="pixels"):
            getattr(model, method)(*arguments)


@pytest.mark.parametrize("data", [BYTES, (PIXELS, LABELS), PIXELS[0]], ids=["bytes", "pair", "one"])
def test_a_step_says_so_too(model, data):
    """In loops of one's own, where only types and shapes are known."""
    data = tf.nest.map_structure(tf.constant, data)
    for step in (model.train_step, model.test_step):
        with pytest.raises(ValueError, match="takes pixels alone"):
            step(data)


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
def test_all_images_count_alike(model, name):
    with pytest.raises(ValueError, match=f"no `{name}`"):
        model.fit(PIXELS, **{name: {0: 1.0}})


@pytest.mark.parametrize("data", [(PIXELS, LABELS), 255 * PIXELS, dataset(BYTES)])
def test_validation_data_are_looked_at_before_an_epoch_is_lost(model, data):
    with pytest.raises(ValueError, match="pixels"):
        model.fit(PIXELS, validation_data=data, verbose=0)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("statistics", [None, 255])
def test_a_normaliser_that_is_not_adapted_is_refused(statistics):
    model = de.DiffusionModel(de.UNet(1, widths=(4,), block_depth=1))
    model.compile("adam")
    if statistics:  # as older versions took them
        model.normalizer.set_weights([np.array([100.0]), np.array([6000.0])])
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"not adapted.*normalizer\.adapt\(pixels\)"):
            method(PIXELS, verbose=0)


def test_every_way_to_hand_over_pixels_gives_the_same_loss(model):
    """A generator that was looked at still yields its first batch; other floats become float32."""
    ways = {
        "array": (PIXELS, {"batch_size": 2}),
        "doubles": (PIXELS.astype(np.float64), {"batch_size": 2}),
        "data set": (dataset(PIXELS), {}),
        "generator": ((PIXELS[i : i + 2] for i in (0, 2)), {}),
    }
    losses = {
        name: model.evaluate(x, verbose=0, return_dict=True, **options)["loss"]
        for name, (x, options) in ways.items()
    }
    assert losses == {name: pytest.approx(losses["array"], rel=1e-6) for name in ways}
    options = {"validation_data": (PIXELS,), "verbose": 0, "batch_size": 4}
    validation = model.fit(PIXELS, **options).history["val_loss"]
    assert validation == [pytest.approx(model.evaluate(PIXELS, verbose=0)[0], rel=1e-6)]


def test_trainers_of_embedders_take_pixels_of_their_generator(trainers, tmp_path):
    unrolled, regression = trainers
    with pytest.raises(ValueError, match=r"EmbedderTrainer takes pixels alone.*image, label:"):
        unrolled.fit(PIXELS, LABELS, verbose=0)
    with pytest.raises(ValueError, match=r"\(batch, 8, 8, 1\).*Received: float32 of shape \(2, 4,"):
        unrolled.fit(make_pixels(2, (4, 4, 1)), verbose=0)
    for arguments in ((PIXELS,), (PIXELS, LABELS), (PIXELS, PIXELS[:, :4])):
        with pytest.raises(ValueError, match=r"takes pairs \(pixels, latents\)"):
            regression.fit(*arguments, verbose=0)
    for trainer in trainers:
        assert trainer.predict(PIXELS, verbose=0).shape == PIXELS.shape
        for wrong, words in ((BYTES, "uint8"), (255 * PIXELS, r"in \[0, 1\]")):
            with pytest.raises(ValueError, match=words):
                trainer.predict(wrong, verbose=0)
        file = tmp_path / "trainer.keras"
        file.write_text("of before")
        with pytest.raises(NotImplementedError, match="Save its `embedder`"):
            trainer.save(file)
        assert file.read_text() == "of before"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_global_policy_does_not_round_the_pixels(trainers, policy):
    generator = trainers[0]._generator.value
    batch = (tf.constant(PIXELS), tf.constant(generator.latents(4)))
    keras.config.set_dtype_policy(policy)
    try:
        for own, data in zip(trainers, (batch[0], batch), strict=True):
            other = type(own)(own.embedder, generator)
            other.compile(keras.optimizers.SGD(0.0))
            assert type(other.optimizer) is keras.optimizers.SGD  # the embedder is float32
            np.testing.assert_array_equal(other(batch[0]), own(batch[0]))
            expected = float(own.test_step(data)["loss"])
            assert float(other.train_step(data)["loss"]) == pytest.approx(expected, rel=1e-5)
            own.reset_metrics()
    finally:
        keras.config.set_dtype_policy("float32")
