"""What everything that is trained has in common: a pure loss, and a step on each backend."""

import keras
from keras import ops

from ddim_embed import backend
from ddim_embed.process import noise
from ddim_embed.training.batches import check_pixels, look_at, parts_of
from ddim_embed.training.strategy import current_strategy


class TrainedModel(keras.Model):
    """A `keras.Model` whose loss is a pure function of its variables, a batch and a seed.

    The custom `train_step` of TensorFlow and of JAX both call `stateless_loss`. A subclass says
    what the loss is (`compute_losses`) and which network is trained (`trained`).

    `fit`, `evaluate` and the like look at arrays, or at the first batch of a data set, and raise a
    ValueError for what is not float pixels in [0, 1], or whatever `check_values` asks for. Under a
    strategy of `tf.distribute`, `fit` and `train` give the losses and weights of one device: each
    replica has its rows of the batch and of the noise, and statistics and clipped gradients are of
    the whole batch. A last batch that leaves a replica without an image is an error.

    Args:
        trained: the network that is trained. Its policy is the model's: under mixed_float16 the
            loss is scaled.

    Attributes:
        seed: integer; what a step draws depends on it and on the optimizer's step count alone, so
            that a run that is restored from a checkpoint draws what the uninterrupted run would
            have drawn.
        ema: weight of the old average in each update of `averaged`; after t updates (1 + t) /
            (10 + t) at most: the average of a short run is not of its random start.
        averaged: None, or the model that follows the weights of `trained`.
        updates: with `averaged`, t, a variable of the model: weights that are loaded without an
            optimizer have their count.
        batch_parts: what a batch consists of.
        strategy: the `Strategy` in whose scope the model was made.
        image_shape: (height, width, channels) of the batches, or (dims,) where they are vectors;
            None where any will do.
    """

    seed = 0
    ema = 0.0
    averaged = None
    updates = None
    batch_parts = ("pixels",)
    image_shape = (None, None, None)

    def __init__(self, trained, **kwargs):
        # Without autocast the pixels arrive unrounded.
        super().__init__(**kwargs | {"dtype": trained.dtype_policy, "autocast": False})
        self.strategy = current_strategy()

    @property
    def trained(self):
        """The network that is trained."""
        raise NotImplementedError

    @property
    def constants(self):
        """Nested structure of tensors that the loss uses and no variable holds.

        An argument of the compiled step on JAX, which would compile constants into it.
        """
        return ()

    def compute_losses(self, batch, seed, training, constants):
        """The loss of a batch, computed with the variables as they are.

        Args:
            batch: what the stream of batches yields.
            seed: of `noise.seed_words`.
            training: whether it is for a gradient, or for validation.
            constants: as the attribute.

        Returns:
            The loss, a scalar, and a dict of the values of the other metrics by name.
        """
        raise NotImplementedError

    def compile(self, optimizer, jit_compile=None, **kwargs):
        """Sets the optimizer. XLA is used on a GPU; on a CPU TensorFlow is faster without it.

        Args:
            optimizer: a Keras optimizer.
            jit_compile: None for the choice above, or a boolean.
            **kwargs: as for `keras.Model.compile`; its losses and metrics are the model's own.

        Raises:
            ValueError: for a loss or metrics, weights of another type than float32, or an optimizer
                that clips gradients and scales the loss where there are several replicas.
        """
        foreign = {"loss", "loss_weights", "metrics", "weighted_metrics"}
        given = sorted(name for name in foreign if kwargs.get(name) is not None)
        if given:
            raise ValueError(
                f"{type(self).__name__} has its own loss and metrics. Received: {given}"
            )
        for variable in self.trained.trainable_variables:
            if variable.dtype != "float32":
                raise ValueError(
                    "Weights that are trained must be float32: make the network under the policy "
                    '"float32", "mixed_bfloat16" or "mixed_float16". '
                    f"Received: `{variable.path}` of type {variable.dtype}"
                )
        optimizer = keras.optimizers.get(optimizer)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        clips = [
            name
            for name in ("clipnorm", "global_clipnorm", "clipvalue")
            if getattr(inner, name, None) is not None
        ]
        if clips and inner is not optimizer and backend.strategy_replicas() > 1:
            raise ValueError(
                "With several replicas a scaled loss has no clipped gradients: train in float32 or "
                f"mixed_bfloat16, or without clipping. Received: {clips}"
            )
        self._jit_choice = jit_compile
        if jit_compile is None:
            jit_compile = not kwargs.get("run_eagerly") and backend.prefers_xla()
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built now, so that a checkpoint of a model that has not trained yet is complete.
        self.optimizer.build(self.trained.trainable_variables)

    def get_compile_config(self):
        """What `compile_from_config` needs; the machine that loads it chooses XLA itself."""
        config = super().get_compile_config()
        return config and config | {"jit_compile": self._jit_choice}

    def compile_from_config(self, config):
        """Compiles the model as the saved one was, with its optimizer, whose state is loaded."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def save(self, *args, **kwargs):
        """As `keras.Model.save`, but a model that cannot be saved does not empty the file."""
        self.get_config()
        super().save(*args, **kwargs)

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`, after a look at the first batch; there are no sample weights."""
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{type(self).__name__} takes no `{name}`: all images count alike."
                )
        if kwargs.get("validation_data") is not None:
            given = kwargs["validation_data"]
            given = list(given) if isinstance(given, (list, tuple)) else [given]
            kwargs["validation_data"] = (self._checked(*given[:2]), *given[1:])
        return super().fit(self._checked(x, y), y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, after a look at the first batch."""
        if not kwargs.get("_use_cached_eval_dataset"):  # `fit` has looked at it
            x = self._checked(x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As `keras.Model.train_on_batch`, after a look at the batch."""
        return super().train_on_batch(self._checked(x, y), y, *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        """As `keras.Model.test_on_batch`, after a look at the batch."""
        return super().test_on_batch(self._checked(x, y), y, *args, **kwargs)

    def check_batch(self, data):
        """Raises ValueError for a batch that the model cannot learn from.

        Looks at values, which a compiled step cannot.

        Args:
            data: what a data set yields, of `compute_losses`' shapes.
        """
        parts = parts_of(data, self.batch_parts, type(self).__name__, self.image_shape)
        self.check_values(parts[0])

    def check_values(self, values):
        """Raises ValueError unless the first part of a batch has values to learn from: pixels."""
        check_pixels(values)

    def _checked(self, x, y=None):
        x, batch = look_at(x, y)
        if batch is not None:
            self.check_batch(batch)
        return x

    def _batch_of(self, data):
        """What `compute_losses` takes; types and shapes cost nothing in a compiled step."""
        parts = parts_of(data, self.batch_parts, type(self).__name__, self.image_shape)
        parts = [backend.occupied(ops.cast(part, "float32")) for part in parts]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def stateless_loss(self, trainable, others, batch, seed, constants=(), training=True):
        """The loss as a pure function of (variables, batch, seed).

        Args:
            trainable: values of `trained.trainable_variables`.
            others: values of `other_variables`.
            batch, seed, constants, training: as for `compute_losses`.

        Returns:
            The loss; and a pair of the metrics by name and the new values of `other_variables`.
        """
        variables = [*self.trained.trainable_variables, *self.other_variables]
        mapping = zip(variables, [*trainable, *others], strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)) as scope:
            loss, metrics = self.compute_losses(batch, seed, training, constants)
        found = [scope.get_current_value(variable) for variable in self.other_variables]
        return loss, (metrics, found)

    @property
    def other_variables(self):
        """The variables that are not trained: statistics, the normaliser."""
        averaged = {id(v) for v in self.averaged.variables} if self.averaged else set()
        return [
            variable
            for layer in self._flatten_layers(include_self=False, recursive=False)
            for variable in layer.non_trainable_variables
            if id(variable) not in averaged
        ]

    def train_step(self, *arguments):
        """One optimizer step: `train_step(batch)` on TensorFlow, `(state, batch)` on JAX."""
        if backend.is_tensorflow():
            return self._tensorflow_step(*arguments)
        return self._jax_step(*arguments)

    def test_step(self, *arguments):
        """Measures a batch without training: `test_step(batch)`, or `(state, batch)` on JAX."""
        if backend.is_tensorflow():
            return self._measure(self._batch_of(*arguments))
        (trainable, non_trainable, metrics), data = arguments
        batch = self._batch_of(data)
        variables = [self.trainable_variables, self.non_trainable_variables, self.metrics_variables]
        logs, values = self._stateless(
            variables, [trainable, non_trainable, metrics], lambda: self._measure(batch)
        )
        return logs, tuple(values)

    def pure_step(self, variables, values, batch, constants):
        """One optimizer step on JAX, as a pure function.

        Args:
            variables: lists of the variables of the model and of its optimizer.
            values: their values, likewise.
            batch: as a data set yields it.
            constants: as the attribute.

        Returns:
            The metrics by name, and the new values.
        """
        import jax

        batch = self._batch_of(batch)

        def step():
            trainable = [variable.value for variable in self.trained.trainable_variables]
            others = [variable.value for variable in self.other_variables]
            differentiate = jax.value_and_grad(self._scaled_loss, has_aux=True)
            (_, aux), gradients = differentiate(
                trainable, others, batch, self._seed_of_step(), constants
            )
            return self._update(gradients, aux, batch)

        return self._stateless(variables, values, step)

    def _jax_step(self, state, batch):
        variables = [
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        ]
        logs, values = self.pure_step(variables, state, batch, self.constants)
        return logs, tuple(values)

    def _tensorflow_step(self, data):
        import tensorflow as tf

        replicas = self.distribute_strategy.num_replicas_in_sync
        if backend.replicas() != replicas:
            raise ValueError(
                f"A model that was made for {replicas} replicas trains with `fit` or `train`. "
                "Make it outside `strategy.scope()` for another loop."
            )
        batch = self._batch_of(data)
        trainable = [tf.convert_to_tensor(v.value) for v in self.trained.trainable_variables]
        others = [tf.convert_to_tensor(v.value) for v in self.other_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            scaled, aux = self._scaled_loss(
                trainable, others, batch, self._seed_of_step(), self.constants
            )
        return self._update(tape.gradient(scaled, trainable), aux, batch)

    def _scaled_loss(self, trainable, others, batch, *arguments):
        """This replica's share of the loss, scaled as the optimizer of mixed_float16 wants it."""
        loss, aux = self.stateless_loss(trainable, others, batch, *arguments)
        count = _count(batch)
        _, total = backend.rows_of_replica(count)
        share = loss if total is count else loss * ops.cast(count / total, "float32")
        return self.optimizer.scale_loss(share), (loss, aux)

    def _update(self, gradients, aux, batch):
        loss, (metrics, others) = aux
        for variable, value in zip(self.other_variables, others, strict=True):
            if value is not None:
                variable.assign(value)
        self._apply(gradients)
        if self.averaged is not None:
            self.updates.assign_add(1)
            updates = ops.convert_to_tensor(self.updates)
            share = ops.minimum(self.ema, (1 + updates) / (10 + updates))
            pairs = zip(self.averaged.weights, self.trained.weights, strict=True)
            for average, weight in pairs:
                average.assign(share * average + (1 - share) * weight)
        return self._track({"loss": loss} | metrics, batch)

    def _apply(self, gradients):
        variables, own = self.trained.trainable_variables, self.optimizer.variables
        if backend.is_tensorflow():
            self.optimizer.apply(self._shares(gradients), variables)
            return
        # `apply` of a scaled loss has branches that assign, which JAX does not trace.
        values = [[variable.value for variable in group] for group in (own, variables)]
        trained, state = self.optimizer.stateless_apply(values[0], gradients, values[1])
        for variable, value in zip([*variables, *own], [*trained, *state], strict=True):
            variable.assign(value)

    def _shares(self, gradients):
        """What each replica gives the optimizer, which adds up what it is given.

        It would clip each share by itself. So the shares are equal parts of the clipped sum: what
        is below a bound is not changed by clipping it again.
        """
        count = backend.replicas()
        if count == 1:
            return gradients
        summed = backend.sum_over_replicas(gradients)
        if getattr(self.optimizer, "inner_optimizer", None) is None:
            summed = self.optimizer._clip_gradients(summed)
        return [gradient / count for gradient in summed]

    def _measure(self, batch):
        return self._track(self._validation_losses(batch), batch)

    def measure(self, data):
        """The losses of one batch by name, as `evaluate` finds them, by this worker alone."""
        losses = self._validation_losses(self._batch_of(data))
        return {name: float(value) for name, value in losses.items()}

    def _validation_losses(self, batch):
        seed = noise.seed_words(self.seed, _VALIDATION_STREAM)
        loss, metrics = self.compute_losses(batch, seed, False, self.constants)
        return {"loss": loss} | metrics

    def _seed_of_step(self):
        # `iterations` stands still while gradients are accumulated, and each batch has its noise.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return noise.seed_words(self.seed, ops.convert_to_tensor(optimizer._iterations))

    def _track(self, values, batch):
        for metric in self.metrics:
            metric.update_state(values[metric.name], sample_weight=_count(batch))
        return {metric.name: metric.result() for metric in self.metrics}

    @staticmethod
    def _stateless(variables, values, function):
        """`function()` with other values of the variables: its result, and their new values."""
        mapping = [
            pair
            for group, own in zip(variables, values, strict=True)
            for pair in zip(group, own, strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            result = function()
        return result, [[scope.get_current_value(v) for v in group] for group in variables]


class Untracked:
    """Holds what Keras shall not track as a part of a model."""

    def __init__(self, value):
        self.value = value


def _count(batch):
    return ops.shape(keras.tree.flatten(batch)[0])[0]


# Training draws fresh noise at every step, validation the same noise every time.
_VALIDATION_STREAM = -1
