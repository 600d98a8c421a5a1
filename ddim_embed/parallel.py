"""One operation per core, in place of all cores on each operation; and each worker's rows.

The convolutions of these networks are small: shared among cores, each waits for the slowest core,
hundreds of times per decode. One core per part of the batch never waits.
"""

import contextvars
import os

from ddim_embed import arguments
from ddim_embed.backend import has_gpu, is_tensorflow

# Set while a part is worked on, so that a split of a split does not happen.
_splitting = contextvars.ContextVar("splitting", default=False)


def use_one_core_per_operation() -> None:
    """Has TensorFlow run each operation on one core, and as many operations at a time as cores.

    Decoding, its gradient and the training of embedding networks through the sampler then split
    their batches over the cores, which makes them about 1.4 times as fast; a single image has but
    one core. Without a call of this function all cores share each operation, TensorFlow's default.
    With a GPU, and on JAX, it does nothing.

    The setting holds for the whole process, so it is the program's to choose, not a library's.

    Raises:
        RuntimeError: if TensorFlow has computed something already, and it is another setting.

    Example:
        >>> try:
        ...     de.use_one_core_per_operation()
        ... except RuntimeError:
        ...     print("call it first of all")
        call it first of all
    """
    if has_gpu() or not is_tensorflow():
        return
    import tensorflow as tf

    wanted = {"intra_op": 1, "inter_op": _cores()}
    try:
        tf.config.threading.set_intra_op_parallelism_threads(wanted["intra_op"])
        tf.config.threading.set_inter_op_parallelism_threads(wanted["inter_op"])
    except RuntimeError as error:
        raise RuntimeError(
            "TensorFlow's threads cannot be set once it has computed anything: call "
            "`use_one_core_per_operation` first of all."
        ) from error


def over_cores(function, *batches):
    """`function(*batches)`, the batches split over the cores if each operation has but one.

    For use in a `tf.function`, whose graph then has a branch for each core. Within `function`
    nothing is split again.

    Args:
        function: takes tensors `(n, ...)` and returns one `(n, ...)`, or a nested structure of
            them; treats each of the n alone.
        *batches: tensors of one n, nested structures of them, or None.

    Returns:
        What `function` does.
    """
    if not is_tensorflow():
        return function(*batches)
    import tensorflow as tf

    count = 1 if _splitting.get() else _parts()
    n = batches[0].shape[0]
    if n is not None:
        return _split(function, batches, n, min(count, n))
    if count == 1:
        return function(*batches)
    # No part may be empty, not every kernel bears it: a batch of fewer images than cores has its
    # first one again. A branch would do, but not all that is in it has a gradient there.
    n = tf.shape(batches[0])[0]
    missing = tf.maximum(count - n, 0)

    def filled(leaf):
        if leaf is None:
            return None
        return tf.concat([leaf, tf.repeat(leaf[:1], missing, axis=0)], axis=0)

    batches = tf.nest.map_structure(filled, batches)
    done = _split(function, batches, n + missing, count)
    return tf.nest.map_structure(lambda leaf: leaf[:n], done)


def share(size: int, number: int, count: int) -> slice:
    """The rows of part `number` of a batch of `size` that `count` parts share."""
    return slice(number * size // count, (number + 1) * size // count)


def check_shard(shard: tuple[int, int], batch_size: int) -> tuple[int, int]:
    """(worker, number of workers), of which each has a row of a batch, as a tuple of integers.

    Raises:
        ValueError: for anything else, or a batch of fewer rows than workers.
    """
    number, count = found = arguments.integers("shard", shard, count=2, least=0)
    if number >= count:
        raise ValueError(
            "`shard` must be (worker, number of workers), of which the first is number 0. "
            f"Received: {found}"
        )
    if batch_size < count:
        raise ValueError(
            f"`batch_size` must be at least the number of workers, {count}. Received: {batch_size}"
        )
    return found


def _split(function, batches, n, count):
    if count == 1:
        return function(*batches)
    import tensorflow as tf

    rows = [share(n, i, count) for i in range(count)]
    sizes = [part.stop - part.start for part in rows]
    leaves = [
        [None] * count if leaf is None else tf.split(leaf, sizes, num=count)
        for leaf in tf.nest.flatten(batches)
    ]
    token = _splitting.set(True)
    try:
        done = [
            function(*tf.nest.pack_sequence_as(batches, [leaf[i] for leaf in leaves]))
            for i in range(count)
        ]
    finally:
        _splitting.reset(token)
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *done)


def _parts():
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != 1 or has_gpu():
        return 1
    return tf.config.threading.get_inter_op_parallelism_threads() or _cores()


def _cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
