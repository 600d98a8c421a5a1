"""An embedding that is computed in another process: what is sent to it, and what it does.

A worker makes generator and method once and keeps them. Weights of `load_generator` are sent by
their name, those of a user's own generator as arrays. Nothing is imported before a worker's
TensorFlow has its settings: this module imports none.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable

import cloudpickle

from ddim_embed import workers
from ddim_embed.quiet import no_stderr

# Variables of the environment that decide how a worker computes.
_VARIABLES = ("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL")
# Dask gives a process of several threads several chunks: the cores are for one after the other.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Sent:
    """Generator and method as bytes, and how to compute with them.

    Attributes:
        generator: pickle of the `Generator`, without a condition, or of a function that loads it.
        method: pickle of the `Method`, and of another one, or None, that is run first on images of
            each shape.
        backend: of Keras.
        variables: of the environment, a tuple of names and values.
        tensor_float: whether products are rounded to TensorFloat-32.
    """

    generator: bytes
    method: bytes
    backend: str
    variables: tuple
    tensor_float: bool


def sender(generator, method, warm_up=None) -> Callable:
    """Packs a generator and a method once, for `embed_sent` of any number of chunks.

    Args:
        generator: a `Generator`; its condition is sent with each chunk.
        method: a `Method`.
        warm_up: a method that a worker runs first on images of each shape, or None.

    Returns:
        Function from `(generator, pixels, seed, latents)` of a chunk to the arguments of
        `embed_sent`.
    """
    import keras

    from ddim_embed.backend import is_tensorflow

    tensor_float = False
    if is_tensorflow():
        import tensorflow as tf

        tensor_float = tf.config.experimental.tensor_float_32_execution_enabled()
    sent = Sent(
        _contents(generator),
        _pickled((method, warm_up)),
        keras.backend.backend(),
        tuple((name, os.environ[name]) for name in _VARIABLES if name in os.environ),
        tensor_float,
    )

    def pack(own, pixels, seed, latents=None):
        condition = own.condition
        if condition is not None:
            condition = keras.tree.map_structure(keras.ops.convert_to_numpy, condition)
        return sent, pixels, seed, latents, condition

    return pack


def embed_sent(sent, pixels, seed, latents=None, condition=None):
    """`embed` in a worker; returns an `Embedding`.

    Args:
        sent: a `Sent`.
        pixels, seed, latents: as for `embed`.
        condition: arrays, or None; as for `Generator.given`.
    """
    with _one_at_a_time:
        _settle(sent)
        generator, (method, warm_up) = _restored(sent.generator), _restored(sent.method)
        if condition is not None:
            generator = generator.given(condition)
        options = {"seed": seed, "latents": latents}
        if warm_up is not None and _is_new((sent, pixels.shape)):
            warm_up(generator, pixels, **options)
        return method(generator, pixels, **options)


def _contents(generator):
    """The bytes of a generator without its condition, or of a function that loads it."""
    try:
        load = None if generator.files is None else _loader(generator)
        # A user may have changed the weights since.
        if load is not None and load().fingerprint() == generator.fingerprint():
            return _pickled(load)
    except FileNotFoundError:
        pass
    return _pickled(generator.given(None))


def _loader(generator):
    files = generator.files
    options = {
        "root": None if files.root is None else os.path.abspath(files.root),
        "num_steps": generator.num_steps,
        "precision": generator.precision,
        "last_step": generator.last_step,
    }
    return functools.partial(_load, files.dataset, files.checksum("generator"), options)


def _pickled(value):
    """A pickle of a value, with the classes by whose names Keras finds the layers in it."""
    import keras

    classes = {}

    def look_into(part):
        if isinstance(part, keras.layers.Layer):
            for layer in part._flatten_layers():
                if not type(layer).__module__.startswith("keras."):
                    classes[keras.saving.get_registered_name(type(layer))] = type(layer)
        elif isinstance(part, tuple):
            for each in part:
                look_into(each)
        elif dataclasses.is_dataclass(part):
            for field in dataclasses.fields(part):
                look_into(getattr(part, field.name))

    look_into(value)
    return pickle.dumps((cloudpickle.dumps(classes), cloudpickle.dumps(value)))


def _load(name, checksum, options):
    from ddim_embed.generator.pretrained import load_generator

    generator = load_generator(name, **options)
    found = generator.files.checksum("generator")
    if found != checksum:
        raise ValueError(
            f"The generator `{name}` of this worker has other weights, {found[:12]}, than that of "
            f"the program, {checksum[:12]}: give both the same version and folder of weights."
        )
    return generator


@functools.lru_cache(maxsize=4)
def _restored(contents):
    import keras

    classes, value = pickle.loads(contents)
    with keras.saving.custom_object_scope(pickle.loads(classes)):
        value = pickle.loads(value)
    return value() if isinstance(value, functools.partial) else value


@functools.lru_cache(maxsize=64)
def _seen(what):
    return []


def _is_new(what):
    found = _seen(what)
    found.append(what)
    return len(found) == 1


@functools.lru_cache(maxsize=1)
def _settle(sent):
    """Gives a worker the settings of the program, once for each program."""
    if "tensorflow" not in sys.modules and "keras" not in sys.modules:
        os.environ.update(sent.variables)
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0")
    with no_stderr() if level >= "2" else contextlib.nullcontext():
        import keras

        if sent.backend == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()
    # It warns where functions are traced often: there is one for each shape, as in the program.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if keras.backend.backend() != sent.backend:
        raise RuntimeError(
            f"This worker has begun with Keras' backend {keras.backend.backend()!r}, the program "
            f"has {sent.backend!r}: start the workers with KERAS_BACKEND={sent.backend}."
        )
    if sent.backend != "tensorflow":
        return
    tf.config.experimental.enable_tensor_float_32_execution(sent.tensor_float)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(workers.threads() or 1)
    except RuntimeError:
        pass  # it has computed before, and keeps its threads: slower, the same numbers
