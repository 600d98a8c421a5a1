"""Random numbers that a seed determines, the same on every backend: Philox4x32-10.

Salmon et al. (2011). The numbers are those of `tf.random.stateless_uniform` and `stateless_normal`
(the default algorithm), so that TensorFlow, JAX and NumPy draw the same noise from the same seed.
"""

import math

import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
# The key under which TensorFlow scrambles a seed.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)
_ROUNDS = 10
_WORD = 0xFFFFFFFF
_BYTES_A_NUMBER = 24  # at the least, while NumPy draws Gaussian ones
_MANTISSA = 0x7FFFFF


def seed_words(seed, stream):
    """A seed as `uniform`, `normal` and `split` take it.

    Args:
        seed, stream: integers of 64 bits with a sign, or integer tensors; any two of them give
            their own numbers.

    Returns:
        Tuple of four 32-bit words: integers, or uint32 tensors.

    Raises:
        ValueError: for anything else.
    """
    words = []
    for name, value in (("seed", seed), ("stream", stream)):
        if not ops.is_tensor(value):
            value = arguments.integer(name, value, -(2**63), 2**63 - 1)
            words += [value & _WORD, value >> 32 & _WORD]
        else:  # 64 bits in two's complement; tensors hold 31 bits and a sign
            words += [ops.cast(value, "uint32"), ops.cast(value < 0, "uint32") * _word(_WORD, ops)]
    return tuple(words)


def split(seed):
    """Two independent seeds from one, as `tf.random.split(seed, 2)`."""
    words = _words(2, seed, ops)
    return tuple(tuple(words[row, column] for column in range(4)) for row in range(2))


def uniform(shape, seed, numpy=False):
    """float32 of the given shape, uniform in [0, 1).

    Args:
        shape: tuple of integers (the first may be a tensor).
        seed: of `seed_words` or `split`.
        numpy: whether to draw with NumPy, whatever the backend.
    """
    module = np if numpy else ops
    count = math.prod(shape)
    words = _words(-(-count // 4), seed, module)
    return module.reshape(module.reshape(_unit(words, module), (-1,))[:count], shape)


def normal(shape, seed, numpy=False):
    """float32 of the given shape, standard Gaussian (Box and Muller, 1958).

    Arguments as for `uniform`.
    """
    module = np if numpy else ops
    count = math.prod(shape)
    if numpy:
        require_memory(_BYTES_A_NUMBER * count, f"{count:,} random numbers")
    units = module.reshape(_unit(_words(-(-count // 4), seed, module), module), (-1, 2))
    if numpy:  # NumPy's functions of float32 are not exact to the last digit
        angles = (2 * math.pi * units[:, 1:].astype(np.float64)).astype(np.float32)
        angles = angles.astype(np.float64)
        radii = np.sqrt(-2 * np.log(np.maximum(units[:, :1], 1e-7).astype(np.float64)))
    else:
        angles = 2 * math.pi * units[:, 1:]
        radii = ops.sqrt(-2.0 * ops.log(ops.maximum(units[:, :1], 1e-7)))
    pairs = radii * module.concatenate([module.sin(angles), module.cos(angles)], axis=1)
    pairs = pairs.astype(np.float32) if numpy else pairs
    return module.reshape(module.reshape(pairs, (-1,))[:count], shape)


def _words(groups, seed, module):
    """uint32 `(groups, 4)`: the first words of the stream of a seed."""
    counter = [module.reshape(_word(value, module), (1,)) for value in seed]
    key = _philox(counter, [_word(value, module) for value in _SCRAMBLE], module)
    numbers = module.arange(groups, dtype="uint32" if module is np else "int32")
    numbers = numbers if module is np else ops.cast(numbers, "uint32")
    fixed = [value + module.zeros_like(numbers) for value in (_word(0, module), key[2], key[3])]
    return module.stack(_philox([numbers, *fixed], key[:2], module), axis=-1)


def _philox(counter, key, module):
    multipliers = [_halves(value, module) for value in _MULTIPLIERS]
    weyl = [_word(value, module) for value in _WEYL]
    xor = module.bitwise_xor

    def turn(_, state):
        c0, c1, c2, c3, key0, key1 = state
        high0, low0 = _multiply(c0, *multipliers[0], module)
        high1, low1 = _multiply(c2, *multipliers[1], module)
        c0, c2 = xor(xor(high1, c1), key0), xor(xor(high0, c3), key1)
        return c0, low1, c2, low0, key0 + weyl[0], key1 + weyl[1]

    state = (*counter, *key)
    if module is ops:  # a loop: small to trace
        return ops.fori_loop(0, _ROUNDS, turn, state)[:4]
    with np.errstate(over="ignore"):  # words wrap around
        for number in range(_ROUNDS):
            state = turn(number, state)
    return state[:4]


def _multiply(words, high, low, module):
    """High and low 32 bits of a product, by halves: not every backend has 64-bit integers."""
    sixteen, mask = _word(16, module), _word(0xFFFF, module)
    words_high, words_low = module.right_shift(words, sixteen), module.bitwise_and(words, mask)
    first, second = words_high * low, words_low * high
    carry = module.right_shift(words_low * low, sixteen)
    carry = carry + module.bitwise_and(first, mask) + module.bitwise_and(second, mask)
    upper = words_high * high + module.right_shift(first, sixteen)
    upper = upper + module.right_shift(second, sixteen) + module.right_shift(carry, sixteen)
    return upper, words * (high * _word(1 << 16, module) + low)


def _halves(value, module):
    return _word(value >> 16, module), _word(value & 0xFFFF, module)


def _word(value, module):
    """An integer as a uint32 of the module; a tensor as it is."""
    if not isinstance(value, int):
        return value
    return np.uint32(value) if module is np else ops.convert_to_tensor(np.uint32(value))


def _unit(words, module):
    """The mantissas of the words as numbers in [0, 1)."""
    mantissas = module.bitwise_and(words, _word(_MANTISSA, module))
    if module is np:
        return mantissas.astype(np.float32) * np.float32(2**-23)
    return ops.cast(ops.cast(mantissas, "int32"), "float32") * 2**-23
