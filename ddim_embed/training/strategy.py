"""Training on several devices and machines: who computes what of a step, on each backend.

A batch is split over replicas, the gradient is that of the whole batch, and all replicas hold the
same weights. With TensorFlow that is `tf.distribute`, with JAX an array that is sharded over a mesh
of devices, of which the compiler makes the rest.
"""

import contextlib
import functools
import os
from collections.abc import Iterator

import keras
import numpy as np

from ddim_embed import arguments, backend
from ddim_embed.parallel import share

STRATEGIES = ("one", "mirrored", "multi-worker")


class WorkerError(RuntimeError):
    """Another worker of a training run is gone.

    Example:
        >>> issubclass(de.WorkerError, RuntimeError)
        True
    """


class Strategy:
    """What trains a model: one device, unless it is a subclass. See `training_strategy`.

    Attributes:
        worker, num_workers: the number of this process among those that train together, and their
            number.
        num_replicas: devices that share a batch, of all workers.

    Example:
        >>> de.Strategy().shard
        (0, 1)
    """

    worker, num_workers, num_replicas = 0, 1, 1

    @property
    def is_chief(self):
        """Whether this process writes the files of the run."""
        return self.worker == 0

    @property
    def shard(self):
        """(worker, num_workers), for `stream_images`."""
        return self.worker, self.num_workers

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """A context: models that are made in it, and compiled, train by this strategy."""
        yield

    def of_replicas(self, step):
        """A step of TensorFlow on a replica's rows, as one on what `place` returns."""
        return step

    def place(self, batch):
        """This worker's rows of a batch, arrays or tensors, on its devices."""
        return batch

    def replicate(self, values):
        """Arrays that all devices hold."""
        return values

    def from_chief(self, values):
        """The chief's arrays, a list; all workers call it, each with arrays of these shapes."""
        return values

    def text_from_chief(self, text):
        """The chief's text; all workers call it."""
        if self.num_workers == 1:
            return text
        codes = np.array([*text.encode()], np.int32)
        length = int(self.from_chief([np.int32(len(codes))])[0])
        (codes,) = self.from_chief([codes if self.is_chief else np.zeros(length, np.int32)])
        return bytes(codes.tolist()).decode()

    @contextlib.contextmanager
    def watching(self, folder):
        """A context in which a worker that is gone is a `WorkerError`; `folder` is of the run."""
        yield


class TensorFlowStrategy(Strategy):
    """A `tf.distribute` strategy of several replicas."""

    def __init__(self, strategy):
        self._strategy = strategy
        self.num_replicas = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        if resolver is not None and resolver.task_type is not None:
            cluster = resolver.cluster_spec().as_dict()
            others = sorted(set(cluster) - {"worker", "chief"})
            if others:
                raise ValueError(
                    'TF_CONFIG must have tasks of the type "worker" alone, or "chief" and '
                    f'"worker": all of them train. Received: {", ".join(others)}'
                )
            chiefs = len(cluster.get("chief", ()))
            self.num_workers = chiefs + len(cluster.get("worker", ()))
            first = chiefs if resolver.task_type == "worker" else 0
            self.worker = first + resolver.task_id

    @contextlib.contextmanager
    def scope(self):
        with self._strategy.scope():
            yield

    def of_replicas(self, step):
        return lambda batch: self._strategy.run(step, (batch,))

    def place(self, batch):
        local = self.num_replicas // self.num_workers

        def rows(context):
            own = context.replica_id_in_sync_group % local
            return keras.tree.map_structure(lambda part: part[share(len(part), own, local)], batch)

        return self._strategy.experimental_distribute_values_from_function(rows)

    def from_chief(self, values):
        import tensorflow as tf

        if self.num_workers == 1:
            return values

        def broadcast(value):
            value = np.asarray(value)
            first = self.is_chief  # of its replicas, one alone

            def own(context):
                counts = first and context.replica_id_in_sync_group == 0
                return tf.constant(value if counts else np.zeros_like(value))

            shared = self._strategy.experimental_distribute_values_from_function(own)
            return self._strategy.reduce(tf.distribute.ReduceOp.SUM, shared, axis=None).numpy()

        return [broadcast(value) for value in values]

    @contextlib.contextmanager
    def watching(self, folder):
        import tensorflow as tf

        lost = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
        try:
            yield
        except lost as error:
            if self.num_workers == 1:
                raise
            raise _worker_lost(folder) from error


class JaxStrategy(Strategy):
    """A `keras.distribution.DataParallel` of several devices."""

    def __init__(self, distribution):
        import jax

        self._distribution = distribution
        mesh = distribution.device_mesh
        self.num_replicas = int(np.prod(mesh.shape))
        self.worker, self.num_workers = jax.process_index(), jax.process_count()
        sharding, spec = jax.sharding.NamedSharding, jax.sharding.PartitionSpec
        self._of_rows = sharding(mesh.backend_mesh, spec(distribution.batch_dim_name))
        self._of_all = sharding(mesh.backend_mesh, spec())

    @contextlib.contextmanager
    def scope(self):
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self._distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def place(self, batch):
        local = self.num_replicas // self.num_workers
        return keras.tree.map_structure(lambda part: self._placed(part, local), batch)

    def _placed(self, part, local):
        import jax

        if len(part) % local:
            raise ValueError(
                f"A batch is shared by {self.num_replicas} devices: the number of its images must "
                f"be a multiple of that. Received: {len(part) * self.num_workers}"
            )
        return jax.make_array_from_process_local_data(self._of_rows, np.asarray(part))

    def replicate(self, values):
        import jax

        return jax.tree.map(
            lambda value: jax.make_array_from_process_local_data(self._of_all, np.asarray(value)),
            values,
        )

    def from_chief(self, values):
        if self.num_workers == 1:
            return values
        from jax.experimental import multihost_utils

        return [np.asarray(each) for each in multihost_utils.broadcast_one_to_all(values)]

    @contextlib.contextmanager
    def watching(self, folder):
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self.num_workers == 1:
                raise
            raise _worker_lost(folder) from error


def training_strategy(name: str = "one") -> Strategy:
    """A strategy of training by its name.

    `with strategy.scope():` make and compile a model; `train` then splits each batch over the
    strategy's devices, and finds the weights that one device finds with the same batches, but for
    the order in which float32 numbers are added. A strategy of `tf.distribute` or of
    `keras.distribution` that you have made does the same.

    Args:
        name: "one", a single device; "mirrored", all GPUs of this machine (on JAX all devices of
            the kind that it computes with); or "multi-worker", all devices of several processes,
            which run the same program. TensorFlow's find each other by the variable `TF_CONFIG`,
            those of JAX by `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES`
            and `KERAS_DISTRIBUTION_PROCESS_ID`. The first process, the chief, writes checkpoints
            and weights; those of the others come from it when a run is resumed.

    Returns:
        A `Strategy`, the same one each time. TensorFlow wants that of several workers to be made
        before anything is computed.

    Raises:
        ValueError: for another name, or a "multi-worker" that does not know of its others.
        RuntimeError: if TensorFlow has computed something already.

    Example:
        >>> strategy = de.training_strategy("one")
        >>> with strategy.scope():
        ...     model = de.DiffusionModel(de.UNet(channels=1, widths=(4, 8), block_depth=1))
        >>> strategy.num_replicas, strategy.is_chief
        (1, True)
    """
    return _made(arguments.choice("name", name, STRATEGIES))


@functools.lru_cache(maxsize=len(STRATEGIES))
def _made(name):
    if name == "one":
        return Strategy()
    if backend.is_tensorflow():
        return _of_tensorflow(name)
    if name == "multi-worker":
        _require_variable("KERAS_DISTRIBUTION_JOB_ADDRESSES", '"10.0.0.1:1234"')
        keras.distribution.initialize()
    return JaxStrategy(keras.distribution.DataParallel(auto_shard_dataset=False))


def _of_tensorflow(name):
    import tensorflow as tf

    if name == "mirrored":
        gpus = len(tf.config.list_logical_devices("GPU"))
        devices = None if gpus else [each.name for each in tf.config.list_logical_devices("CPU")]
        return TensorFlowStrategy(tf.distribute.MirroredStrategy(devices))
    example = '{"cluster": {"worker": ["10.0.0.1:1234", ...]}, "task": {"type": "worker", ...}}'
    _require_variable("TF_CONFIG", f"'{example}'")
    return TensorFlowStrategy(tf.distribute.MultiWorkerMirroredStrategy())


def _require_variable(name, example):
    if not os.environ.get(name):
        raise ValueError(
            f"Several workers find each other by the environment variable {name}, such as "
            f"{example}. It is not set."
        )


def current_strategy() -> Strategy:
    """The strategy in whose scope this is called, of this library or the backend's own."""
    if backend.is_tensorflow():
        import tensorflow as tf

        strategy = tf.distribute.get_strategy()
        return TensorFlowStrategy(strategy) if strategy.num_replicas_in_sync > 1 else Strategy()
    distribution = keras.distribution.distribution()
    return Strategy() if distribution is None else JaxStrategy(distribution)


def _worker_lost(folder):
    return WorkerError(
        "A worker of this run is gone. Start all of them again with the same command: training "
        f"goes on from the chief's checkpoint in {folder}."
    )
