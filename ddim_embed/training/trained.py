"""What everything that is trained has in common: a pure loss, and a step on each backend."""

import keras
from keras import ops

from ddim_embed import backend
from ddim_embed.process import noise


class TrainedModel(keras.Model):
    """A `keras.Model` whose loss is a pure function of its variables, a batch and a seed.

    The custom `train_step` of TensorFlow and of JAX both call `stateless_loss`. A subclass says
    what the loss is (`compute_losses`) and which network is trained (`trained`).

    Attributes:
        seed: integer; what a step draws depends on it and on the optimizer's step count alone, so
            that a run that is restored from a checkpoint draws what the uninterrupted run would
            have drawn.
        ema: weight of the old average in each update of `averaged`; after t updates (1 + t) /
            (10 + t) at most: the average of a short run is not of its random start.
        averaged: None, or the model that follows the weights of `trained`.
    """

    seed = 0
    ema = 0.0
    averaged = None

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
            **kwargs: as for `keras.Model.compile`.
        """
        if jit_compile is None:
            jit_compile = backend.has_gpu() or not backend.is_tensorflow()
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built now, so that a checkpoint of a model that has not trained yet is complete.
        self.optimizer.build(self.trained.trainable_variables)

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
            (batch,) = arguments
            return self._measure(batch)
        (trainable, non_trainable, metrics), batch = arguments
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
            batch: as for `compute_losses`.
            constants: as the attribute.

        Returns:
            The metrics by name, and the new values.
        """
        import jax

        def step():
            trainable = [variable.value for variable in self.trained.trainable_variables]
            others = [variable.value for variable in self.other_variables]
            differentiate = jax.value_and_grad(self.stateless_loss, has_aux=True)
            (loss, aux), gradients = differentiate(
                trainable, others, batch, self._seed_of_step(), constants
            )
            return self._update(gradients, loss, aux, batch)

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

    def _tensorflow_step(self, batch):
        import tensorflow as tf

        trainable = [tf.convert_to_tensor(v.value) for v in self.trained.trainable_variables]
        others = [tf.convert_to_tensor(v.value) for v in self.other_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            loss, aux = self.stateless_loss(
                trainable, others, batch, self._seed_of_step(), self.constants
            )
        return self._update(tape.gradient(loss, trainable), loss, aux, batch)

    def _update(self, gradients, loss, aux, batch):
        metrics, others = aux
        for variable, value in zip(self.other_variables, others, strict=True):
            if value is not None:
                variable.assign(value)
        self.optimizer.apply(gradients, self.trained.trainable_variables)
        if self.averaged is not None:
            updates = ops.cast(self.optimizer.iterations, "float32")
            share = ops.minimum(self.ema, (1 + updates) / (10 + updates))
            pairs = zip(self.averaged.weights, self.trained.weights, strict=True)
            for average, weight in pairs:
                average.assign(share * average + (1 - share) * weight)
        return self._track({"loss": loss} | metrics, batch)

    def _measure(self, batch):
        seed = noise.seed_words(self.seed, _VALIDATION_STREAM)
        loss, metrics = self.compute_losses(batch, seed, False, self.constants)
        return self._track({"loss": loss} | metrics, batch)

    def _seed_of_step(self):
        return noise.seed_words(self.seed, ops.convert_to_tensor(self.optimizer.iterations))

    def _track(self, values, batch):
        count = ops.shape(keras.tree.flatten(batch)[0])[0]
        for metric in self.metrics:
            metric.update_state(values[metric.name], sample_weight=count)
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


# Training draws fresh noise at every step, validation the same noise every time.
_VALIDATION_STREAM = -1
