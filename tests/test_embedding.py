"""What the driver makes of a solution that is a pair, and of one that is not."""

import dataclasses

import numpy as np

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.coupled import PairSolution


@dataclasses.dataclass(frozen=True)
class Pair(de.Method):
    """Both of the pair are zeros; together they decode to the given image."""

    def solve(self, generator, pixels, latents, tick, held=None):
        def decode(generator, latents, partner):
            return partner

        return PairSolution(0 * pixels, evaluations=1, partner=pixels, decode=decode)


def test_error_of_the_pair_and_of_its_latents_alone(tiny_generator, tiny_pixels):
    result = Pair(batch_size=2)(tiny_generator, tiny_pixels)
    np.testing.assert_array_equal(result.reconstruction, tiny_pixels)
    np.testing.assert_array_equal(result.partner, tiny_pixels)
    np.testing.assert_array_equal(result.mse, np.zeros(5))
    assert result.converged.all()
    alone = tiny_generator.decode(np.zeros_like(tiny_pixels))
    np.testing.assert_allclose(result.single_mse, metrics.mse(tiny_pixels, alone), rtol=1e-6)
    assert result.single_mse.min() > 1e-3


def test_without_a_partner_there_is_one_error(tiny_generator, tiny_pixels):
    result = de.Solution(tiny_generator.latents(5), 1).certify(tiny_generator, tiny_pixels)
    assert result.single_mse is None and result.partner is None
    assert not hasattr(de.Method, "decode")


def test_found_is_the_earlier_name_of_solution():
    assert de.Found is de.Solution
