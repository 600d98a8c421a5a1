"""What the backends of Keras have no common word for: compiling, devices, eager evaluation."""

import contextlib
from pathlib import Path

import keras

# The first architecture of NVIDIA that multiplies bfloat16.
_AMPERE = (8, 0)
_CPUINFO = Path("/proc/cpuinfo")
_JAX_OPTIONS = ("donate_argnums", "static_argnums")


def is_tensorflow():
    """Whether Keras computes with TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def has_gpu():
    """Whether the backend sees a GPU."""
    if is_tensorflow():
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return keras.backend.backend() == "jax" and _jax().default_backend() == "gpu"


def prefers_xla():
    """Whether training is compiled by XLA: on a GPU, unless replicas share it, and on JAX always.

    On a CPU TensorFlow is faster without it.
    """
    return not is_tensorflow() or (has_gpu() and strategy_replicas() == 1)


def strategy_replicas():
    """How many replicas the `tf.distribute` strategy has in whose scope this is called."""
    if not is_tensorflow():
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def is_distributed(dataset):
    """Whether a data set is one whose batches `tf.distribute` has split over replicas."""
    if not is_tensorflow():
        return False
    import tensorflow as tf

    return isinstance(dataset, tf.distribute.DistributedDataset)


def replicas():
    """How many replicas of a `tf.distribute` strategy compute this step together."""
    if not is_tensorflow():
        return 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def rows_of_replica(count):
    """Which rows of a batch that is split over replicas are those of this one.

    Args:
        count: this replica's number of rows.

    Returns:
        The number of the first one, and the count of all; `count` itself if there is one replica.
    """
    if replicas() == 1:
        return 0, count
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    number = context.replica_id_in_sync_group
    own = count * tf.one_hot(number, context.num_replicas_in_sync, dtype="int32")
    counts = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return tf.reduce_sum(counts[:number]), tf.reduce_sum(counts)


def sum_over_replicas(tensors):
    """Tensors added up over the replicas of a step, which all have the sums then."""
    if replicas() == 1:
        return tensors
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def occupied(rows):
    """A batch as it is, or an error when a step of several replicas leaves this one without rows.

    Kernels of a CPU compute nonsense for none.
    """
    if replicas() == 1:
        return rows
    import tensorflow as tf

    message = (
        "The last batch leaves a replica without an image: take a batch size that divides the "
        "number of images, or `dataset.batch(size, drop_remainder=True)`."
    )
    with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(rows)[0], message)]):
        return tf.identity(rows)


def fast_precision():
    """The precision in which convolutions are fastest here, and a reason in words.

    bfloat16 where the hardware multiplies it: a processor with AMX, or on TensorFlow with AVX-512's
    instructions for it (AMD from Zen 4 on), where a step takes .55 of the time of float32; a TPU;
    an NVIDIA GPU from Ampere on. Elsewhere it is slower than float32, up to thirty times on
    processors.
    """
    if has_gpu():
        capability = _compute_capability()
        if capability >= _AMPERE:
            return "bfloat16", "the GPU is made for it"
        return "float32", "the GPU has no fast bfloat16"
    if is_tensorflow():
        import tensorflow as tf

        tpu = bool(tf.config.list_physical_devices("TPU"))
    else:
        tpu = _jax().default_backend() == "tpu"
    if tpu:
        return "bfloat16", "the TPU is made for it"
    try:
        flags = _CPUINFO.read_text().split()
    except OSError:  # not Linux
        flags = ()
    if "amx_bf16" in flags:
        return "bfloat16", "the processor is made for it (AMX)"
    if is_tensorflow() and {"avx512f", "avx512_bf16"} <= {*flags}:
        return "bfloat16", "the processor is made for it (AVX-512)"
    return "float32", "the processor has no fast bfloat16 (AMX, AVX-512)"


def _compute_capability():
    """Of the first GPU, (major, minor); (0, 0) where there is none, as on AMD's."""
    if is_tensorflow():
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(
            tf.config.list_physical_devices("GPU")[0]
        )
        return details.get("compute_capability", (0, 0))
    words = getattr(_jax().devices()[0], "compute_capability", "0.0")
    return tuple(int(word) for word in str(words).split("."))


def compiled(function, jit_compile=None, **options):
    """`function` as a compiled function of tensors.

    Args:
        function: a function of tensors, or nested structures of them.
        jit_compile: whether TensorFlow uses XLA; None for only on a GPU. JAX always does.
        **options: of `tf.function` or of `jax.jit`; those of the other one are ignored.

    Returns:
        A `tf.function`, or a function of `jax.jit`.
    """
    if not is_tensorflow():
        return _jax().jit(function, **{k: options[k] for k in _JAX_OPTIONS if k in options})
    import tensorflow as tf

    if jit_compile is None:
        jit_compile = has_gpu() or None
    options = {name: option for name, option in options.items() if name not in _JAX_OPTIONS}
    return tf.function(function, autograph=False, jit_compile=jit_compile, **options)


def fingerprint_of(variables):
    """A function without arguments whose results are equal while the variables keep their values.

    Args:
        variables: list of Keras variables.
    """
    if not is_tensorflow():  # arrays do not change: an assignment brings another one
        return lambda: [variable.value for variable in variables]
    import tensorflow as tf

    # A hash of the bytes, of which TensorFlow computes millions in less than a millisecond.
    hashes = tf.function(
        lambda: tf.concat([tf.fingerprint(tf.reshape(v.value, (1, -1))) for v in variables], 0),
        autograph=False,
    )
    return lambda: hashes().numpy().tobytes()


def has_values(tensor):
    """Whether a tensor has values now: not while a compiled function is traced."""
    if is_tensorflow():
        import tensorflow as tf

        return tf.executing_eagerly() and not tf.is_symbolic_tensor(tensor)
    return not isinstance(tensor, _jax().core.Tracer)


def outside_graphs():
    """A context in which tensors have values, even while a compiled function is traced."""
    if is_tensorflow():
        import tensorflow as tf

        return tf.init_scope()
    if keras.backend.backend() == "jax":
        return _jax().ensure_compile_time_eval()
    return contextlib.nullcontext()


def _jax():
    name = keras.backend.backend()
    if name != "jax":
        raise RuntimeError(
            "Keras' backend must be TensorFlow or JAX: set KERAS_BACKEND before Python starts. "
            f"Received: {name!r}"
        )
    import jax

    return jax
