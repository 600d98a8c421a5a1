"""Clouds of latents: closed forms of spread, spectrum and combinations."""

import numpy as np
import pytest
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_solvers import Linear

import ddim_embed as de
from ddim_embed.analysis import clouds

SHAPE = (2, 3, 1)
# Variances along six orthonormal directions, and a mean.
VARIANCES = np.array([4.0, 1.0, 0.25, 0.04, 1e-4, 1e-6])
BASIS = np.linalg.qr(np.random.default_rng(7).normal(size=(6, 6)))[0]
MEAN = np.arange(6.0) / 2


def gaussian_cloud(n, seed=0):
    """Latents of N(MEAN, BASIS' VARIANCES BASIS)."""
    drawn = np.random.default_rng(seed).normal(size=(n, 6)) * np.sqrt(VARIANCES)
    return (MEAN + drawn @ BASIS).reshape(n, *SHAPE)


@pytest.fixture(scope="module")
def members():
    return gaussian_cloud(20_000)


class TestSpread:
    @given(st.integers(2, 40), st.integers(1, 7), st.integers(0, 99))
    @settings(max_examples=30, deadline=None)
    def test_is_that_of_all_pairs(self, n, block, seed):
        latents = gaussian_cloud(n, seed).astype(np.float32)
        rows = latents.reshape(n, 6).astype(np.float64)
        gaps = [rows[i] - rows[j] for i in range(n) for j in range(n) if i != j]
        found = clouds.spread(latents, block)
        assert found.distance == pytest.approx(np.mean(np.linalg.norm(gaps, axis=1)), rel=1e-6)
        assert found.mean_square == pytest.approx(np.mean(np.square(gaps)), rel=1e-9)
        assert found.rms == pytest.approx(np.sqrt(found.mean_square))

    def test_of_gaussian_latents_is_the_root_of_two(self):
        latents = np.random.default_rng(0).normal(size=(300, 16, 16, 1))
        found = clouds.spread(latents)
        assert found.rms == pytest.approx(np.sqrt(2), rel=0.01)
        assert found.distance == pytest.approx(np.sqrt(2 * 256), rel=0.01)

    def test_no_cancellation_far_from_zero(self):
        latents = gaussian_cloud(50)
        near, far = clouds.spread(latents), clouds.spread(latents + 1e6)
        assert far.distance == pytest.approx(near.distance, rel=1e-6)

    def test_of_the_same_latents_is_zero(self):
        found = clouds.spread(np.ones((5, *SHAPE)))
        assert found == clouds.Spread(0, 0, 0)


class TestCombinations:
    @given(
        st.integers(2, 30), st.integers(1, 5), st.integers(0, 99), st.data(),
        st.sampled_from(clouds.KINDS), st.floats(0.01, 3),
    )  # fmt: skip
    @settings(max_examples=60, deadline=None)
    def test_weights(self, members, n, seed, data, kind, reach):
        of = data.draw(st.one_of(st.none(), st.integers(2, members)))
        weights = clouds.combination_weights(members, n, kind, seed, of, reach)
        assert weights.shape == (n, members)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
        assert (np.count_nonzero(weights, axis=1) <= (of or members)).all()
        negative = -np.minimum(weights, 0).sum(axis=1)
        if kind == "convex":
            assert (weights >= 0).all() and (negative == 0).all()
        else:
            assert ((negative > 0) & (negative <= reach * (1 + 1e-12))).all()
            assert weights.max() <= 1 + reach * (1 + 1e-12)

    def test_convex_weights_are_uniform_on_the_simplex(self):
        weights = clouds.combination_weights(3, 4000, "convex")
        # Dirichlet(1, 1, 1): mean 1/3, variance 1/18.
        np.testing.assert_allclose(weights.mean(axis=0), 1 / 3, atol=0.015)
        np.testing.assert_allclose(weights.var(axis=0), 1 / 18, atol=0.004)

    @pytest.mark.parametrize("count, of", [(9, 5), (2, 2)])
    def test_combinations_are_weighted_sums(self, count, of):
        latents = gaussian_cloud(count)
        weights = clouds.combination_weights(count, 4, "affine", seed=3, of=of)
        found = clouds.combinations(latents, 4, "affine", seed=3, of=of)
        assert found.dtype == np.float32
        assert_close(found, np.einsum("nm,mhwc->nhwc", weights, latents), 1e-6)  # float32

    def test_invalid_combinations_raise(self):
        latents = gaussian_cloud(4)
        for bad, words in (
            ({"kind": "conic"}, "'convex', 'affine'"),
            ({"of": 1}, "from 2 to 4. Received: 1"),
            ({"of": 5}, "Received: 5"),
            ({"n": 0}, "`n` must be an integer of at least 1"),
            ({"reach": 0.0}, "`reach` must be a finite number above 0"),
        ):
            with pytest.raises(ValueError, match=words):
                clouds.combinations(latents, **{"n": 2, "kind": "affine"} | bad)


@pytest.mark.parametrize(
    ("n", "counts"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])]
)
def test_running_means(n, counts):
    latents = gaussian_cloud(n)
    found, means = clouds.running_means(latents)
    assert found == counts
    expected = [latents[:count].mean(axis=0) for count in counts]
    assert_close(means, np.array(expected, np.float32), 1e-6)


class TestBorder:
    def test_better_members_on_the_border(self):
        distances = np.random.default_rng(0).permutation(np.arange(1.0, 17))
        found = clouds.border_quartiles(distances, 1 / distances)
        np.testing.assert_allclose(found.distances, [2.5, 6.5, 10.5, 14.5])
        assert (np.diff(found.errors) < 0).all()
        assert found.correlation == pytest.approx(-1) and found.p_value < 1e-10
        small = clouds.border_quartiles(1e-3 * distances, 1e-3 / distances)
        assert small.correlation == pytest.approx(-1)

    def test_no_relation(self):
        rng = np.random.default_rng(0)
        found = clouds.border_quartiles(rng.normal(size=500), rng.normal(size=500))
        assert abs(found.correlation) < 0.1 < found.p_value
        same = clouds.border_quartiles(np.arange(9), np.ones(9))
        assert (same.correlation, same.p_value) == (0, 1)
        same = clouds.border_quartiles(np.ones(9), np.arange(9))
        assert (same.correlation, same.p_value) == (0, 1)

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"at least 8 members. Received shapes: \(7,\)"):
            clouds.border_quartiles(np.ones(7), np.ones(7))
        with pytest.raises(ValueError, match=r"\(8,\) and \(9,\)"):
            clouds.border_quartiles(np.ones(8), np.ones(9))
        with pytest.raises(ValueError, match="finite"):
            clouds.border_quartiles(np.ones(8), np.full(8, np.nan))


class TestCentrality:
    def test_the_mean_is_central_and_a_member_is_not(self):
        latents = gaussian_cloud(500)
        mean = latents.mean(axis=0)
        found = clouds.centrality(latents, mean)
        assert found.distance < 1e-9 and found.nearer == 0
        assert found.correlation == pytest.approx(1)
        assert clouds.centrality(1e-4 * latents, 1e-4 * mean).correlation == pytest.approx(1)
        assert found.correlation_of_members < 0.9
        # The mean of n members is off by sqrt(trace / n), and a member by sqrt(trace).
        assert found.error_of_mean == pytest.approx(np.sqrt(VARIANCES.sum() / 500), rel=0.1)
        distances = clouds.distances_to(latents, mean)
        assert found.members == pytest.approx(distances.mean())
        assert clouds.distances_to(mean[None], mean).tolist() == [0]
        farthest = clouds.centrality(latents, latents[np.argmax(distances)])
        assert farthest.nearer == pytest.approx(499 / 500)
        assert farthest.distance == pytest.approx(distances.max())

    @pytest.mark.parametrize("n", [2, 5])
    def test_by_hand(self, n):
        latents = gaussian_cloud(n)
        rows, point = latents.reshape(n, 6), np.linspace(-1, 2, 6)
        found = clouds.centrality(latents, point.reshape(SHAPE))
        mean = rows.mean(axis=0)
        distances = np.linalg.norm(rows - mean, axis=1)
        distance = np.linalg.norm(point - mean)
        assert found.distance == pytest.approx(distance)
        assert found.members == pytest.approx(distances.mean())
        assert found.nearer == np.mean(distances < distance)
        # The variances of the mean's coordinates, each that of a coordinate divided by n.
        expected = np.sqrt(rows.var(axis=0, ddof=1).sum() / n)
        assert found.error_of_mean == pytest.approx(expected)
        assert found.correlation == pytest.approx(np.corrcoef(point, mean)[0, 1])
        others = [np.delete(rows, i, axis=0).mean(axis=0) for i in range(n)]
        each = [np.corrcoef(row, other)[0, 1] for row, other in zip(rows, others, strict=True)]
        assert found.correlation_of_members == pytest.approx(np.mean(each))

    def test_a_constant_has_no_correlation(self):
        assert clouds.centrality(gaussian_cloud(5), np.zeros(SHAPE)).correlation == 0


@pytest.mark.parametrize(("members", "dimensions"), [(600, 300), (200, 300)])
def test_marchenko_pastur_is_the_range_of_chance(members, dimensions):
    latents = np.random.default_rng(0).normal(size=(members, dimensions, 1, 1))
    values = de.LatentCloud().fit(latents).explained_variance_
    values = values[: min(members - 1, dimensions)]
    least, largest = clouds.marchenko_pastur(members, dimensions)
    assert values[0] == pytest.approx(largest, rel=0.1)
    assert values[-1] == pytest.approx(least, rel=0.35)
    least, largest = clouds.marchenko_pastur(4000, 3072)  # the paper's cloud
    assert least == pytest.approx(0.0153, rel=0.01) and largest == pytest.approx(3.52, rel=0.01)


class TestLatentCloud:
    def test_recovers_a_known_covariance(self, members):
        cloud = de.LatentCloud().fit(members)
        # A sample variance of 20,000 is off by 1% (one standard deviation).
        np.testing.assert_allclose(cloud.explained_variance_, VARIANCES, rtol=0.05)
        np.testing.assert_allclose(
            cloud.explained_variance_ratio_, VARIANCES / VARIANCES.sum(), atol=0.01
        )
        np.testing.assert_allclose(cloud.mean_, MEAN.reshape(SHAPE), atol=0.05)
        cosines = np.abs(np.sum(cloud.components_.reshape(6, 6) * BASIS, axis=1))
        np.testing.assert_allclose(cosines, 1, atol=1e-3)
        assert cloud.n_members_ == 20_000 and cloud.components_.shape == (6, *SHAPE)

    def test_round_trip(self, members):
        cloud = de.LatentCloud()
        coordinates = cloud.fit_transform(members[:50])
        np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-12)
        assert_close(cloud.inverse_transform(coordinates), members[:50], 1e-6)  # float32
        np.testing.assert_allclose(cloud.transform(cloud.mean_[None]), 0, atol=1e-12)

    def test_fewer_members_than_dimensions_span_less(self, members):
        cloud = de.LatentCloud().fit(members[:4])
        assert len(cloud.components_) == 3
        assert_close(cloud.inverse_transform(cloud.transform(members[:4])), members[:4], 1e-6)
        # All are equally far, whatever they are.
        np.testing.assert_allclose(cloud.mahalanobis(members[:4]), 1.5, rtol=1e-6)
        kept = de.LatentCloud(n_components=2).fit(members[:100])
        assert kept.explained_variance_ratio_.sum() < 1
        assert kept.transform(members[:7]).shape == (7, 2)

    def test_samples_have_the_cloud_s_covariance(self, members):
        cloud = de.LatentCloud().fit(members)
        again = de.LatentCloud().fit(cloud.sample(20_000, seed=1))
        np.testing.assert_allclose(
            again.explained_variance_[:5], cloud.explained_variance_[:5], rtol=0.05
        )
        np.testing.assert_array_equal(cloud.sample(3, seed=2), cloud.sample(3, seed=2))
        assert np.abs(cloud.sample(3, seed=2) - cloud.sample(3, seed=3)).max() > 0.1

    def test_mahalanobis_distances_are_chi(self, members):
        cloud = de.LatentCloud().fit(members)
        squared = cloud.mahalanobis(members) ** 2
        assert squared.mean() == pytest.approx(6, rel=0.01)
        assert squared.var() == pytest.approx(12, rel=0.1)
        small = 1e-6 * members.astype(np.float64)
        again = de.LatentCloud().fit(small).mahalanobis(small) ** 2
        np.testing.assert_allclose(again, squared, rtol=1e-5)

    def test_a_walk_goes_through_the_mean(self, members):
        cloud = de.LatentCloud().fit(members)
        path = cloud.walk(1, [-2, 0, 2])
        assert path.shape == (3, *SHAPE) and path.dtype == np.float32
        assert_close(path[1], cloud.mean_.astype(np.float32), 1e-6)
        expected = np.zeros((3, 6))
        expected[:, 1] = np.array([-2, 0, 2]) * np.sqrt(cloud.explained_variance_[1])
        np.testing.assert_allclose(cloud.transform(path), expected, atol=1e-5)
        longer = cloud.transform(cloud.walk(-1, [1], length=3.0))
        np.testing.assert_allclose(longer[0], [0, 0, 0, 0, 0, 3], atol=1e-5)

    def test_follows_the_conventions_of_scikit_learn(self):
        cloud = clone(de.LatentCloud(n_components=3))
        assert cloud.get_params() == {"n_components": 3}
        assert cloud.set_params(n_components=2) is cloud and cloud.n_components == 2
        with pytest.raises(ValueError, match=r"\['n_components'\]. Received: 'rank'"):
            cloud.set_params(rank=2)
        assert cloud.fit(gaussian_cloud(5)) is cloud and len(cloud.components_) == 2

    def test_bad_input(self):
        latents = gaussian_cloud(5)
        for call in (
            lambda c: c.transform(latents), lambda c: c.inverse_transform(np.zeros((1, 4))),
            lambda c: c.sample(2), lambda c: c.mahalanobis(latents), lambda c: c.walk(0, [1]),
        ):  # fmt: skip
            with pytest.raises(NotFittedError, match="call `fit` first"):
                call(de.LatentCloud())
        with pytest.raises(ValueError, match=r"n at least 2. Received shape: \(1, 2, 3, 1\)"):
            de.LatentCloud().fit(latents[:1])
        with pytest.raises(ValueError, match=r"Received shape: \(2, 3, 1\)"):
            de.LatentCloud().fit(latents[0])
        with pytest.raises(ValueError, match="finite"):
            de.LatentCloud().fit(np.full((3, *SHAPE), np.nan))
        with pytest.raises(ValueError, match=r"must differ\. Received 3 times the same"):
            de.LatentCloud().fit(np.ones((3, *SHAPE)))
        for count in (0, 5):
            with pytest.raises(ValueError, match=f"from 1 to 4. Received: {count}"):
                de.LatentCloud(count).fit(latents)
        cloud = de.LatentCloud().fit(latents)
        with pytest.raises(ValueError, match=r"shape \(n, 2, 3, 1\). Received shape: \(1, 3, 2"):
            cloud.transform(np.zeros((1, 3, 2, 1)))
        with pytest.raises(ValueError, match=r"`component` must be .* from -4 to 3\. Received: 4"):
            cloud.walk(4, [1])


def test_decoded_changes_of_a_linear_generator_are_its_factors():
    generator = Linear((1.0, 0.2))
    factors = generator.decode(np.ones((1, 4, 4, 1))) - generator.decode(np.zeros((1, 4, 4, 1)))
    directions = np.eye(16)[:4].reshape(4, 4, 4, 1)
    origin = generator.latents(1)[0]
    for length in (1.0, [0.1, 1, 2, 10]):
        found = clouds.decoded_changes(generator, origin, directions, length)
        # float32 differences over a tenth of a step.
        np.testing.assert_allclose(found, np.ravel(factors)[:4], rtol=1e-4)
    with pytest.raises(ValueError, match=r"`length` must be positive\. Received: 0"):
        clouds.decoded_changes(generator, origin, directions, 0)


def test_a_cloud_is_thin_where_decoding_is_sensitive():
    """Found by descent: latents that a linear generator ignores stay as they were drawn."""
    generator = Linear((1.0, 0.0))
    pixels = np.repeat(generator.reachable(1)[1], 40, axis=0)
    latents = de.embed(generator, pixels, de.LBFGS(num_steps=12, laplacian=0.0)).latents
    cloud = de.LatentCloud().fit(latents)
    ignored = np.resize([False, True], 16)
    np.testing.assert_allclose(latents.std(axis=0).ravel()[~ignored], 0, atol=0.02)
    starts = de.LBFGS().initial_latents(generator, 40, 0)
    np.testing.assert_allclose(
        latents.reshape(40, 16)[:, ignored], starts.reshape(40, 16)[:, ignored], atol=1e-4
    )
    assert cloud.explained_variance_[7] > 0.2 and cloud.explained_variance_[8] < 1e-3
