"""What the frame makes of a method whose answer is a pair."""

import dataclasses

import numpy as np
import pytest

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.protocol import Found, Method, certify


@dataclasses.dataclass(frozen=True)
class Pair(Method):
    """Both of the pair are zeros; together they decode to the image that was asked for."""

    def solve(self, generator, pixels, latents, tick):
        return Found(0 * pixels, evaluations=1, partner=pixels)

    def decode(self, generator, latents, partner):
        return partner


def test_the_pair_s_error_and_that_of_one_alone(tiny_generator, tiny_pixels):
    result = Pair(batch_size=2)(tiny_generator, tiny_pixels)
    np.testing.assert_array_equal(result.reconstruction, tiny_pixels)
    np.testing.assert_array_equal(result.partner, tiny_pixels)
    np.testing.assert_array_equal(result.mse, np.zeros(5))
    assert result.converged.all()
    alone = tiny_generator.decode(np.zeros_like(tiny_pixels))
    np.testing.assert_allclose(result.single_mse, metrics.mse(tiny_pixels, alone), rtol=1e-6)
    assert result.single_mse.min() > 1e-3


def test_without_a_partner_there_is_one_error(tiny_generator, tiny_pixels):
    found = Found(tiny_generator.latents(5), 1)
    result = certify(tiny_generator, tiny_pixels, found, 0)
    assert result.single_mse is None and result.partner is None
    with pytest.raises(NotImplementedError, match="DDIMInversion is not a coupled method"):
        de.DDIMInversion().decode(tiny_generator, found.latents, found.latents)
