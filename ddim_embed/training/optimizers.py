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
        slow: which variables learn more slowly: their numbers in `trainable_variables`.
        factor: their learning rate in proportion to that of the others, above 0.
        **kwargs: as for `keras.optimizers.Adam`.

    Raises:
        ValueError: when it is built, for numbers of no variable.

    Example:
        >>> optimizer = de.PartwiseAdam(1e-3, slow=[0, 1], factor=0.2)
        >>> optimizer.get_config()["slow"]
        [0, 1]
    """

    def __init__(self, learning_rate=0.001, slow: Iterable[int] = (), factor=0.1, **kwargs):
        super().__init__(learning_rate, **kwargs)
        # By number: Keras counts the layers made so far into their names.
        self.slow = frozenset(int(number) for number in slow)
        self.factor = arguments.number("factor", factor, at_least=0)

    def build(self, variables):
        if self.slow and max(self.slow) >= len(variables):
            raise ValueError(
                f"`slow` must be numbers below {len(variables)}, the number of variables. "
                f"Received: {max(self.slow)}"
            )
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        slow = self._get_variable_index(variable) in self.slow
        super().update_step(
            gradient, variable, learning_rate * self.factor if slow else learning_rate
        )

    def get_config(self):
        return super().get_config() | {"slow": sorted(self.slow), "factor": self.factor}
