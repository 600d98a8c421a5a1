"""Products with the Jacobian, its singular vectors, and angles between subspaces."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator
from test_solvers import Linear

import ddim_embed as de
from ddim_embed.analysis import jacobian
from ddim_embed.analysis.jacobian import linearize


@pytest.fixture(scope="module")
def small():
    """A nonlinear generator, a point, and the Jacobian there, computed pixel by pixel."""
    generator = make_generator(image_shape=(8, 8, 1), widths=(4, 8), num_steps=1)
    point = generator.latents(1)
    points = tf.constant(np.repeat(point, 64, axis=0))
    with tf.GradientTape() as tape:
        tape.watch(points)
        decoded = generator.decode_tensor(points)
    rows = tape.gradient(decoded, points, output_gradients=tf.reshape(tf.eye(64), points.shape))
    return generator, point[0], rows.numpy().reshape(64, 64)


def test_products_of_a_known_function():
    matrix = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    point = tf.constant(np.random.default_rng(1).normal(size=(2, 5)), tf.float32)
    value, product, transposed = linearize(lambda x: tf.sin(x) @ matrix.T, point)
    vectors = tf.reshape(tf.range(10.0), (2, 5))
    assert_close(value, tf.sin(point) @ matrix.T, 1e-6)
    assert_close(product(vectors), (tf.cos(point) * vectors) @ matrix.T, 1e-6)
    assert_close(transposed(vectors[:, :3]), tf.cos(point) * (vectors[:, :3] @ matrix), 1e-6)


class TestSingularVectors:
    def test_linear_generator_has_its_factors(self):
        generator = Linear((1.0, 0.5, 0.2))
        factors = generator.decode(np.ones((1, 4, 4, 1))) - generator.decode(np.zeros((1, 4, 4, 1)))
        factors = np.ravel(factors)
        found = de.singular_vectors(generator, generator.latents(1)[0])
        np.testing.assert_allclose(found.values, np.sort(factors)[::-1], rtol=1e-5)
        # The strongest six are the pixels of the largest deviation.
        strongest = np.eye(16)[factors > 0.9 * factors.max()]
        assert len(strongest) == 6
        assert de.principal_angles(found.latents[:6], strongest.reshape(6, 4, 4, 1)).max() < 1e-3

    def test_all_of_them_factorise_the_jacobian(self, small):
        generator, point, jacobian = small
        found = de.singular_vectors(generator, point, batch_size=24)  # the last is of 16
        left, right = found.pixels.reshape(64, 64), found.latents.reshape(64, 64)
        assert_close((left.T * found.values) @ right, jacobian, 1e-5)  # float32
        np.testing.assert_allclose(left @ left.T, np.eye(64), atol=1e-10)
        np.testing.assert_allclose(right @ right.T, np.eye(64), atol=1e-10)
        assert (np.diff(found.values) <= 0).all()

    def test_a_few_of_a_map_that_is_not_symmetric(self):
        """Power iterations alternate J and J': J twice, or J' twice, finds other directions."""
        rng = np.random.default_rng(0)
        left, right = (np.linalg.qr(rng.normal(size=(16, 16)))[0] for _ in range(2))
        values = np.geomspace(1, 1e-3, 16)
        matrix = tf.constant(left * values @ right.T, tf.float32)

        class Matrix(Linear):
            def decode_tensor(self, latents, remat=False, precision=None):
                return tf.reshape(
                    tf.reshape(latents, (-1, 16)) @ tf.transpose(matrix), (-1, 4, 4, 1)
                )

        options = {"rank": 3, "oversampling": 3, "batch_size": 4}
        generator = Matrix()
        found = de.singular_vectors(generator, np.zeros((4, 4, 1)), **options)
        np.testing.assert_allclose(found.values, values[:3], rtol=1e-5)
        for vectors, expected in ((found.latents, right), (found.pixels, left)):
            cosines = np.abs(np.sum(vectors.reshape(3, 16).T * expected[:, :3], axis=0))
            np.testing.assert_allclose(cosines, 1, atol=1e-5)
        single = de.singular_vectors(generator, np.zeros((4, 4, 1)), iterations=0, **options)
        assert (single.values < found.values * (1 - 1e-4)).any()  # the iterations are made

    def test_a_few_are_the_first_of_all(self):
        generator = Linear(np.geomspace(1, 0.01, 16))
        factors = generator.decode(np.ones((1, 4, 4, 1))) - generator.decode(np.zeros((1, 4, 4, 1)))
        options = {"rank": 5, "oversampling": 4, "batch_size": 4}
        found = de.singular_vectors(generator, generator.latents(1)[0], **options)
        np.testing.assert_allclose(found.values, np.ravel(factors)[:5], rtol=1e-4)
        # Each latent moves its own pixel; neighbouring values mix a little.
        expected = np.eye(16)[:5]
        np.testing.assert_allclose(np.abs(found.latents.reshape(5, 16)), expected, atol=0.02)
        np.testing.assert_allclose(found.pixels, found.latents, atol=0.02)
        again = de.singular_vectors(generator, generator.latents(1)[0], **options)
        np.testing.assert_array_equal(again.latents, found.latents)
        other = de.singular_vectors(generator, generator.latents(1)[0], seed=1, **options)
        assert np.abs(other.latents - found.latents).max() > 0

    def test_bad_input(self, small):
        generator, point, _ = small
        with pytest.raises(ValueError, match=r"one point, of shape \(8, 8, 1\).*\(1, 8, 8, 1\)"):
            de.singular_vectors(generator, point[None])
        with pytest.raises(ValueError, match="finite"):
            de.singular_vectors(generator, point * np.nan)
        for name, value, words in (
            ("rank", 0, "from 1 to 64. Received: 0"),
            ("rank", 65, "Received: 65"),
            ("oversampling", -1, "at least 0. Received: -1"),
            ("iterations", -1, "at least 0"),
            ("batch_size", 0, "at least 1"),
        ):
            with pytest.raises(ValueError, match=f"`{name}` must be .*{words}"):
                de.singular_vectors(generator, point, **{name: value})


def test_fit_recovers_the_tolerance_of_a_forecast():
    values = np.geomspace(1e-4, 10, 200)
    variances = jacobian.forecast_variances(values, 0.05)
    assert variances[0] == pytest.approx(1, rel=1e-4)
    assert variances[-1] == pytest.approx((0.05 / 10) ** 2, rel=1e-3)
    noisy = variances * np.exp(0.3 * np.random.default_rng(0).normal(size=200))
    assert jacobian.fit_tolerance(values, noisy) == pytest.approx(0.05, rel=0.1)
    noisy[0], values[1] = 0, 0  # tell nothing
    assert jacobian.fit_tolerance(values, noisy) == pytest.approx(0.05, rel=0.1)


class TestPrincipalAngles:
    def test_of_the_same_span_are_zero(self):
        rng = np.random.default_rng(0)
        first = rng.normal(size=(3, 2, 4, 1))
        second = np.einsum("ij,jhwc->ihwc", rng.normal(size=(3, 3)), first)
        np.testing.assert_allclose(de.principal_angles(first, second), 0, atol=1e-5)
        inside = de.principal_angles(first[:2], second)
        assert inside.shape == (2,)
        np.testing.assert_allclose(inside, 0, atol=1e-5)

    def test_of_orthogonal_spans_are_90_degrees(self):
        basis = np.eye(8).reshape(8, 2, 4, 1)
        np.testing.assert_allclose(de.principal_angles(basis[:3], basis[3:5]), 90)
        np.testing.assert_allclose(de.principal_angles(basis[:2], basis[1:3]), [0, 90], atol=1e-5)

    def test_of_two_lines_is_the_angle_between_them(self):
        found = de.principal_angles([[1.0, 0, 0]], [[np.cos(0.3), np.sin(0.3), 0]])
        np.testing.assert_allclose(found, [np.rad2deg(0.3)])

    @pytest.mark.parametrize("second", [np.ones((0, 4)), np.ones((2, 3)), np.ones(4)])
    def test_bad_input(self, second):
        with pytest.raises(ValueError, match="at least one direction of the same shape"):
            de.principal_angles(np.eye(4)[:2], second)
