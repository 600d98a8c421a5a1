"""Products with the Jacobian of a differentiable map, which is never formed."""

import tensorflow as tf


def linearize(function, point):
    """A function's value at a point, and products with its Jacobian J there.

    A product with J is a backward pass through the backward pass (both linear), which needs no
    activation but those of the one evaluation.

    Args:
        function: a differentiable function of a tensor.
        point: where; a tensor whose first axis holds points that do not depend on each other.

    Returns:
        `function(point)`; `product(vectors)`, J times vectors of the point's shape; and
        `transposed(vectors)`, J' times vectors of the value's shape.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as forward:
        forward.watch(point)
        value = function(point)
    seed = tf.zeros_like(value)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as backward:
        backward.watch(seed)
        pulled = forward.gradient(value, point, output_gradients=seed)

    def product(vectors):
        # Not every gradient of a gradient knows its shape while a graph is made.
        return tf.ensure_shape(
            backward.gradient(pulled, seed, output_gradients=vectors), value.shape
        )

    def transposed(vectors):
        return tf.ensure_shape(
            forward.gradient(value, point, output_gradients=vectors), point.shape
        )

    return value, product, transposed
