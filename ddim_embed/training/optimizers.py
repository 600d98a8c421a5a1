"""Optimizers whose learning rate differs between parts of a network."""

from collections.abc import Iterable

import keras

from ddim_embed import arguments
from ddim_embed.networks.blocks import register


@register
class PartwiseAdam(keras.optimizers.Adam):
    """Adam with a lower learning rate for some variables, such as those that were trained before.

    Args:
        learning_rate: a number or a schedule, as for `keras.optimizers.Adam`.
        slow: paths of the variables (`variable.path`) that learn more slowly.
        factor: their learning rate in proportion to that of the others, above 0.
        **kwargs: as for `keras.optimizers.Adam`.

    Raises:
        ValueError: when it is built, if a path is not that of a variable which is trained.
    """

    def __init__(self, learning_rate=0.001, slow: Iterable[str] = (), factor=0.1, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.slow = tuple(slow)
        self.factor = arguments.number("factor", factor, at_least=0)

    def build(self, variables):
        missing = {*self.slow} - {variable.path for variable in variables}
        if missing:
            raise ValueError(f"`slow` has paths of no variable: {sorted(missing)[:3]}")
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        # TensorFlow hands over its own variable, without Keras' path.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        rate = learning_rate * self.factor if path in self.slow else learning_rate
        super().update_step(gradient, variable, rate)

    def get_config(self):
        return super().get_config() | {"slow": list(self.slow), "factor": self.factor}
