"""Attributes of semantic vectors: the optimum of a convex loss, counts of pairs, exact steps."""

import json
import math

import numpy as np
import pytest
from scipy import integrate, special, stats
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

import ddim_embed as de
from ddim_embed.autoencoder import attributes
from ddim_embed.autoencoder.attributes import move, move_to_median, rejection
from ddim_embed.metrics import ranking
from ddim_embed.store.weights import WeightsError, find_weights

NAMES = ("Smiling", "Male", "Young")
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(300, 6))
TRUE = RNG.normal(size=(3, 6))
LABELS = RNG.uniform(size=(300, 3)) < special.expit(VECTORS @ TRUE.T + [0, -1, 2])


@pytest.fixture(scope="module")
def classifier():
    return de.fit_attribute_classifier(VECTORS, LABELS, NAMES)


def class_weights(column, balanced):
    """What a sample counts: n / 2 for each side in sum, if balanced."""
    count = len(column)
    sides = np.where(column, column.sum(), count - column.sum())
    return count / (2 * sides) if balanced else np.ones(count)


class TestFit:
    @pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
    @pytest.mark.parametrize("balanced", [False, True])
    def test_the_gradient_of_the_loss_is_0(self, penalty, balanced):
        found = de.fit_attribute_classifier(VECTORS, LABELS, NAMES, penalty, balanced)
        for row, column in enumerate(LABELS.T):
            logits = VECTORS @ found.weights[row] + found.biases[row]
            slopes = class_weights(column, balanced) * (special.expit(logits) - column)
            gradient = VECTORS.T @ slopes + penalty * found.weights[row]
            np.testing.assert_allclose([*gradient, slopes.sum()], 0, atol=1e-8)
            assert np.linalg.norm(found.weights[row]) > 0.1

    def test_another_solver_agrees(self):
        found = de.fit_attribute_classifier(VECTORS, LABELS, NAMES, penalty=4)
        for row, column in enumerate(LABELS.T):
            other = LogisticRegression(C=0.25, tol=1e-8, max_iter=1000).fit(VECTORS, column)
            np.testing.assert_allclose(found.weights[row], other.coef_[0], atol=1e-4)
            np.testing.assert_allclose(found.biases[row], other.intercept_[0], atol=1e-4)

    def test_separable_in_two_dimensions(self):
        """Mirror images left and right: the weights satisfy 2 s(-w) = penalty w, by symmetry."""
        vectors = np.array([[-1.0, 3.0], [-1.0, -3.0], [1.0, 3.0], [1.0, -3.0]])
        labels = vectors[:, :1] > 0
        found = de.fit_attribute_classifier(vectors, labels, ["right"], penalty=0.01)
        np.testing.assert_allclose(found.direction("right"), [1, 0], atol=1e-9)
        assert found.biases[0] == pytest.approx(0, abs=1e-9)
        weight = found.weights[0, 0]
        assert 4 * special.expit(-weight) == pytest.approx(0.01 * weight, rel=1e-8)
        assert (found.logits(vectors) > 0).tolist() == labels.tolist()

    def test_medians_of_the_training_logits(self, classifier):
        logits = classifier.logits(VECTORS)
        for row, column in enumerate(LABELS.T):
            assert classifier.positive_medians[row] == np.median(logits[column, row])
            assert classifier.negative_medians[row] == np.median(logits[~column, row])
        assert (classifier.positive_medians > classifier.negative_medians).all()

    def test_labels_of_any_kind_of_0_and_1(self, classifier):
        for labels in (LABELS.astype(np.int8), LABELS.astype(float), LABELS.tolist()):
            found = de.fit_attribute_classifier(VECTORS, labels, [*NAMES])
            np.testing.assert_array_equal(found.weights, classifier.weights)

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"vectors": VECTORS[0]}, r"`vectors` must have shape \(n, d\).*\(6,\)"),
            ({"vectors": VECTORS * math.nan}, "`vectors` must be finite"),
            ({"vectors": VECTORS[:0], "labels": LABELS[:0]}, r"n at least 1.*\(0, 6\)"),
            ({"labels": LABELS[:-1]}, r"`labels` must be .*\(300, 3\).*bool of shape \(299, 3\)"),
            ({"labels": LABELS[:, 0]}, r"of shape \(300, 3\).*shape \(300,\)"),
            ({"labels": 2.0 * LABELS}, "`labels` must be 0 and 1"),
            ({"labels": np.where(LABELS, math.nan, 0)}, "`labels` must be 0 and 1"),
            ({"labels": np.where(LABELS, 1, -1)}, "`labels` must be 0 and 1"),
            ({"labels": LABELS & [True, True, False]}, "must have positives .*none of: Young$"),
            ({"labels": LABELS | [True, False, True]}, "negatives .*none of: Smiling, Young$"),
            ({"names": NAMES[:2]}, r"of shape \(300, 2\)"),
            ({"names": ("Male", "Male", "Young")}, "`names` must be different strings"),
            ({"names": "abc"}, "`names` must be different strings.*'abc'"),
            ({"names": (1, 2, 3)}, "`names` must be different strings"),
            ({"names": ()}, "`names` must be different strings"),
            ({"penalty": 0}, "`penalty` must be a finite number above 0. Received: 0"),
            ({"balanced": 1}, "`balanced` must be True or False"),
            ({"autoencoder": "abc"}, "`autoencoder` must be a sha256.*'abc'"),
        ],
    )
    def test_errors(self, options, words):
        good = {"vectors": VECTORS, "labels": LABELS, "names": NAMES}
        with pytest.raises(ValueError, match=words):
            de.fit_attribute_classifier(**good | options)

    def test_a_penalty_that_is_too_small(self):
        labels = VECTORS[:, :1] > 0  # separable: without a penalty there is no minimum
        with pytest.raises(ValueError, match=r"`penalty` must be larger to fit 'right'.*1e-300"):
            de.fit_attribute_classifier(VECTORS, labels, ["right"], penalty=1e-300)


class TestUse:
    def test_logits_and_probabilities(self, classifier):
        expected = VECTORS @ classifier.weights.T + classifier.biases
        np.testing.assert_allclose(classifier.logits(VECTORS), expected, atol=1e-12)
        found = classifier.probabilities(VECTORS)
        np.testing.assert_allclose(found, special.expit(expected), atol=1e-12)
        far = 1e6 * classifier.direction("Male")
        with np.errstate(all="raise"):
            assert classifier.probabilities([far, -far])[:, 1].tolist() == [1, 0]

    def test_direction_is_a_unit_vector_and_raises_the_logit_most(self, classifier):
        for row, name in enumerate(NAMES):
            direction = classifier.direction(name)
            assert np.linalg.norm(direction) == pytest.approx(1)
            assert type(direction.sum()) is np.float64  # a scalar, as of every array
            rise = classifier.logits(VECTORS + direction) - classifier.logits(VECTORS)
            np.testing.assert_allclose(rise[:, row], np.linalg.norm(classifier.weights[row]))

    def test_a_name_that_there_is_not(self, classifier):
        with pytest.raises(ValueError, match=r"`name` must be one of.*Did you mean 'Smiling'\?"):
            classifier.direction("smilling")
        with pytest.raises(ValueError, match=r"Did you mean 'Male'\?"):
            classifier.index("Mal")

    def test_vectors_of_other_dims(self, classifier):
        with pytest.raises(ValueError, match=r"must have shape \(n, 6\).*\(300, 5\)"):
            classifier.logits(VECTORS[:, 1:])
        with pytest.raises(ValueError, match="`vectors` must be finite"):
            classifier.auroc(VECTORS * math.inf, LABELS)
        with pytest.raises(ValueError, match=r"`labels` must be .*\(300, 3\)"):
            classifier.auroc(VECTORS, LABELS[:, :2])


MEASURES = {
    ranking.auroc: sklearn_metrics.roc_auc_score,
    ranking.average_precision: sklearn_metrics.average_precision_score,
    ranking.balanced_accuracy: lambda labels, scores, sample_weight=None: (
        sklearn_metrics.balanced_accuracy_score(labels, scores > 0, sample_weight=sample_weight)
    ),
}


class TestRanking:
    scores = np.round(RNG.normal(size=200), 1)  # with many ties
    labels = RNG.uniform(size=200) < special.expit(2 * scores)

    def test_auroc_counts_pairs(self):
        pairs = self.scores[self.labels][:, None] - self.scores[~self.labels]
        expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
        assert (pairs == 0).sum() > 50
        assert ranking.auroc(self.scores, self.labels) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
    def test_as_scikit_learn_has_it(self, measure):
        published = MEASURES[measure]
        expected = published(self.labels, self.scores)
        assert measure(self.scores, self.labels) == pytest.approx(expected, abs=1e-12)
        weights = RNG.integers(0, 4, (3, 200))
        found = measure(self.scores, self.labels, weights)
        for row, each in zip(found, weights, strict=True):
            expected = published(self.labels, self.scores, sample_weight=each)
            assert row == pytest.approx(expected, abs=1e-12)
            repeated = measure(np.repeat(self.scores, each), np.repeat(self.labels, each))
            assert row == pytest.approx(repeated, abs=1e-12)

    @pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
    def test_without_a_positive_or_a_negative(self, measure):
        for labels in (np.zeros(200, bool), np.ones(200, bool)):
            assert np.isnan(measure(self.scores, labels))
        found = measure(self.scores, self.labels, np.stack([self.labels, np.ones(200)]))
        assert np.isnan(found).tolist() == [True, False]

    def test_average_precision_by_hand(self):
        scores, labels = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
        found = ranking.average_precision(scores, labels)
        assert found == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)

    def test_draws_without_the_only_positive(self):
        """They say nothing of its attribute; all others do."""
        labels = np.stack([np.arange(30) < count for count in (1, 15)], axis=1)
        scores = -np.arange(30.0)[:, None] * [1, 1]  # each attribute is ranked perfectly
        found = ranking.rank(ranking.auroc, scores, labels, "ab", least=1, resamples=50)
        assert found.intervals.tolist() == [[1, 1]] * 2
        assert (found.macro, found.macro_interval) == (1, (1, 1))
        low, high = ranking.rank(ranking.auroc, scores, labels, "ab", resamples=1).intervals[1]
        assert low == high == 1

    def test_intervals_are_those_of_two_proportions(self):
        """Accuracy .8 on 100 positives and .6 on 300 negatives: the deviation is known."""
        scores = np.concatenate([np.repeat([1, -1], [80, 20]), np.repeat([-1, 1], [180, 120])])
        labels = np.arange(400) < 100
        found = ranking.rank(
            ranking.balanced_accuracy, scores[:, None], labels[:, None], ["one"], resamples=4000
        )
        assert found.values.tolist() == [0.7] and found.macro == 0.7
        deviation = math.sqrt(0.8 * 0.2 / 100 + 0.6 * 0.4 / 300) / 2
        expected = 0.7 + 1.96 * deviation * np.array([-1, 1])
        np.testing.assert_allclose(found.intervals[0], expected, atol=0.004)  # 4000 resamples
        assert found.macro_interval == tuple(found.intervals[0])

    def test_macro_average_of_attributes_with_enough_of_both(self):
        labels = np.stack([np.arange(200) < count for count in (19, 20, 180, 181, 0)], axis=1)
        scores = RNG.normal(size=(200, 5))
        found = ranking.rank(ranking.auroc, scores, labels, "abcde", least=20, resamples=50)
        assert found.positives.tolist() == [19, 20, 180, 181, 0]
        assert found.counted.tolist() == [False, True, True, False, False]
        assert found.macro == pytest.approx(found.values[1:3].mean())
        assert np.isnan([found.values[4], *found.intervals[4]]).all()
        assert np.isfinite(found.values[:4]).all()
        none = ranking.rank(ranking.auroc, scores, labels, "abcde", least=101, resamples=2)
        assert np.isnan([none.macro, *none.macro_interval]).all()

    def test_images_are_drawn_for_all_attributes_at_once(self):
        """An attribute and its copy vary alike: the macro average is as uncertain as each."""
        scores = np.stack([self.scores] * 2, axis=1)
        labels = np.stack([self.labels] * 2, axis=1)
        found = ranking.rank(ranking.auroc, scores, labels, "ab", resamples=100)
        np.testing.assert_allclose(found.intervals, [found.macro_interval] * 2, atol=1e-12)

    def test_what_is_better_on_the_same_images(self):
        """Scores that are always a little better differ by more than their intervals suggest."""
        labels = np.arange(400)[:, None] % 2 == 0
        scores = RNG.normal(size=(400, 1)) + labels
        others = scores - 0.2 * labels  # a little worse, on the same images
        found, other = (
            ranking.rank(ranking.auroc, each, labels, "a", resamples=500)
            for each in (scores, others)
        )
        difference, (low, high) = found.macro_difference(other)
        assert difference == found.macro - other.macro
        assert 0 < low < difference < high < found.macro_interval[1] - found.macro_interval[0]
        assert found.macro_interval[0] < other.macro_interval[1]  # which overlap
        assert found.macro_difference(found) == (0, (0, 0))
        less = ranking.rank(ranking.auroc, scores, labels, "b", resamples=500)
        with pytest.raises(ValueError, match=r"the same attributes, \['a'\]"):
            found.macro_difference(less)
        less = ranking.rank(ranking.auroc, scores, labels, "a", resamples=5)
        with pytest.raises(ValueError, match=r"500\. Received: .* 5"):
            found.macro_difference(less)

    def test_blocks_of_resamples(self, monkeypatch):
        """The same draws, however many are made at a time."""
        arguments = ranking.auroc, self.scores[:, None], self.labels[:, None], ["a"]
        whole = ranking.rank(*arguments, resamples=7, seed=3)
        monkeypatch.setattr(ranking, "_BLOCK", 400)
        parts = ranking.rank(*arguments, resamples=7, seed=3)
        np.testing.assert_array_equal(parts.intervals, whole.intervals)
        other = ranking.rank(*arguments, resamples=7, seed=4)
        assert (other.intervals != whole.intervals).any()

    def test_of_a_classifier(self, classifier):
        logits = classifier.logits(VECTORS)
        for name, measure in (
            ("auroc", ranking.auroc),
            ("average_precision", ranking.average_precision),
            ("balanced_accuracy", ranking.balanced_accuracy),
        ):
            found = getattr(classifier, name)(VECTORS, LABELS.astype(int), resamples=9, least=99)
            expected = [measure(*each) for each in zip(logits.T, LABELS.T, strict=True)]
            np.testing.assert_allclose(found.values, expected, atol=1e-12)
            assert found.names == NAMES
            both = np.minimum(LABELS.sum(axis=0), (~LABELS).sum(axis=0))
            assert found.counted.tolist() == (both >= 99).tolist()
        for option in ("resamples", "least"):
            with pytest.raises(ValueError, match=f"`{option}` must be an integer"):
                classifier.auroc(VECTORS, LABELS, **{option: 0})


class TestMove:
    def test_a_strength_is_in_lengths_of_vectors(self, classifier):
        direction = classifier.direction("Smiling")
        for scale in (1, 7):
            step = move(VECTORS, scale * direction) - VECTORS
            np.testing.assert_allclose(step, np.tile(0.3 * math.sqrt(6) * direction, (300, 1)))
        back = move(move(VECTORS, direction, 0.4), direction, -0.4)
        np.testing.assert_allclose(back, VECTORS, atol=1e-12)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("positive", [True, False])
    def test_equation_11(self, classifier, positive, dtype):
        medians = classifier.positive_medians if positive else classifier.negative_medians
        for row, name in enumerate(NAMES):
            moved = move_to_median(VECTORS.astype(dtype), classifier, name, positive)
            np.testing.assert_allclose(classifier.logits(moved)[:, row], medians[row], atol=1e-5)
            direction = classifier.direction(name)
            step = moved - VECTORS.astype(dtype)
            along = (step @ direction)[:, None] * direction
            np.testing.assert_allclose(step, along, atol=1e-12)
            again = move_to_median(moved, classifier, name, positive)
            np.testing.assert_allclose(again, moved, atol=1e-12)

    @pytest.mark.parametrize("positive", [True, False])
    def test_equation_11_along_the_pattern(self, classifier, positive):
        medians = classifier.positive_medians if positive else classifier.negative_medians
        direction = classifier.direction("Male", "pattern")
        moved = move_to_median(VECTORS, classifier, "Male", positive, direction=-3 * direction)
        np.testing.assert_allclose(classifier.logits(moved)[:, 1], medians[1], atol=1e-10)
        np.testing.assert_allclose(np.cross((moved - VECTORS)[:, :3], direction[:3]), 0, atol=1e-10)

    def test_the_pattern_leads_to_the_most_likely_vector_of_a_logit(self):
        """That of the least Mahalanobis distance from the start, by Lagrange's conditions."""
        random = np.random.default_rng(0)
        spread = random.normal(size=(3, 3))
        vectors = random.normal(size=(500, 3)) @ spread
        classifier = de.fit_attribute_classifier(vectors, vectors[:, :1] > 0, ["right"])
        direction = classifier.direction("right", "pattern")
        moved = move_to_median(vectors, classifier, "right", direction=direction)
        precision = np.linalg.inv(np.cov(vectors.T))
        gradient = (moved - vectors)[0] @ precision
        np.testing.assert_allclose(
            gradient / np.linalg.norm(gradient),
            np.sign(gradient @ classifier.weights[0]) * classifier.direction("right"),
            atol=1e-9,
        )
        # The logit grows by 1 along it.
        assert classifier.weights[0] @ classifier.patterns[0] == pytest.approx(1)

    def test_another_median(self, classifier):
        moved = move_to_median(VECTORS, classifier, "Male", median=-3.5)
        np.testing.assert_allclose(classifier.logits(moved)[:, 1], -3.5, atol=1e-10)

    @pytest.mark.parametrize(
        "function, words",
        [
            (lambda c: move(VECTORS, np.zeros(6)), "`direction` must be 6 numbers, not all 0"),
            (lambda c: move(VECTORS, np.ones(5)), r"`direction` must be 6 .*\(5,\)"),
            (lambda c: move(VECTORS, np.full(6, math.nan)), "`direction` must be finite"),
            (lambda c: move(VECTORS, np.ones(6), math.inf), "`strength` must be a finite number"),
            (lambda c: move(VECTORS[0], np.ones(6)), r"`vectors` must have shape \(n, d\)"),
            (lambda c: move_to_median(VECTORS, c, "Yong"), "Did you mean 'Young'?"),
            (lambda c: move_to_median(VECTORS[:, 1:], c, "Male"), r"shape \(n, 6\)"),
            (lambda c: move_to_median(VECTORS, c, "Male", 1), "`positive` must be True or False"),
            (
                lambda c: move_to_median(VECTORS, c, "Male", direction=np.ones(5)),
                "`direction` must be 6 numbers, along which the logit changes",
            ),
            (
                lambda c: move_to_median(VECTORS, c, "Male", direction=np.zeros(6)),
                "`direction` must be 6 numbers, along which the logit changes",
            ),
            (lambda c: c.direction("Male", "patern"), "Did you mean 'pattern'"),
            (lambda c: move_to_median(VECTORS, c, "Male", median="x"), "`median` must be a finite"),
        ],
    )
    def test_errors(self, classifier, function, words):
        with pytest.raises(ValueError, match=words):
            function(classifier)


def gaussian(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 1))


def logistic(vectors):
    return special.expit(1.5 * vectors[:, 0] - 0.6)


class TestRejection:
    @pytest.mark.parametrize("threshold", [0, 0.5, 0.8])
    def test_rate_and_density(self, threshold):
        """Draws from N(0, 1), of a known logistic: the density that is accepted is known, too."""

        def density(z):
            chance = logistic(np.array([[z]]))[0]
            return stats.norm.pdf(z) * chance * (chance >= threshold)

        start = -9 if threshold == 0 else (special.logit(threshold) + 0.6) / 1.5
        rate = integrate.quad(density, start, 9)[0]
        found = rejection(gaussian, logistic, 4000, threshold, seed=1)
        assert found.vectors.shape == (4000, 1) and found.accepted >= 4000
        deviation = math.sqrt(rate * (1 - rate) / found.drawn)
        assert found.accepted / found.drawn == pytest.approx(rate, abs=4 * deviation)
        assert found.vectors.min() >= start
        grid = np.linspace(start, 9, 2001)
        mass = integrate.cumulative_simpson([density(z) for z in grid + 1e-12], x=grid, initial=0)
        test = stats.kstest(found.vectors[:, 0], lambda z: np.interp(z, grid, mass / rate))
        assert test.pvalue > 0.01

    def test_the_seed_decides(self):
        one, same, other = (rejection(gaussian, logistic, 9, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(one.vectors, same.vectors)
        assert not np.isin(other.vectors, one.vectors).any()

    def test_each_batch_has_a_seed_of_its_own(self):
        found = rejection(gaussian, lambda z: np.ones(len(z)), 700).vectors
        assert len(np.unique(found)) == 700

    def test_a_probability_at_the_threshold_is_enough(self):
        found = rejection(gaussian, lambda z: np.full(len(z), 0.5), 1000)
        assert found.accepted / found.drawn == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2000))

    def test_no_more_is_drawn_than_is_wanted(self):
        assert rejection(gaussian, lambda z: np.ones(len(z)), 256).drawn == 256

    def test_nothing_is_accepted(self):
        drawn = []

        def draw(count, seed):
            drawn.append(count)
            return gaussian(count, seed)

        with pytest.raises(ValueError, match=r"accepted, 0 of 300: .*`threshold` \(0.5\)"):
            rejection(draw, lambda z: np.full(len(z), 0.49), 5, most=300)
        assert sum(drawn) == 300
        with pytest.raises(ValueError, match=r"0 of 10000: "):
            rejection(gaussian, lambda z: np.zeros(len(z)), 5, threshold=0)
        with pytest.raises(ValueError, match=r"0 of 20000: "):
            rejection(gaussian, lambda z: np.zeros(len(z)), 200)

    def test_less_is_accepted_than_wanted(self):
        with pytest.raises(ValueError, match=r"`n` must be at most .* 40 of 40: .*Received: 41"):
            rejection(gaussian, lambda z: np.ones(len(z)), 41, most=40)

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"draw": 3}, "`draw` must be a function"),
            ({"draw": lambda count, seed: np.zeros(count)}, r"`draw` must return 256 vectors"),
            ({"draw": lambda count, seed: np.zeros((3, 2))}, r"`draw` must return .*\(3, 2\)"),
            ({"probability": None}, "`probability` must be a function"),
            ({"probability": lambda z: z}, r"`probability` must return 256 .*\(256, 1\)"),
            ({"probability": lambda z: z[:, 0]}, "numbers from 0 to 1"),
            ({"probability": lambda z: z[:, 0] * math.nan}, "numbers from 0 to 1"),
            ({"n": 0}, "`n` must be an integer of at least 1"),
            ({"threshold": 1.1}, "`threshold` must be a finite number"),
            ({"most": 0}, "`most` must be an integer of at least 1"),
            ({"seed": -1}, "`seed` must be an integer"),
        ],
    )
    def test_errors(self, options, words):
        with pytest.raises(ValueError, match=words):
            rejection(**{"draw": gaussian, "probability": logistic, "n": 3} | options)


class TestFewShots:
    labels = np.arange(1000) < 300
    vectors = np.arange(1000.0)[:, None]  # each says which it is

    def chosen(self, monkeypatch, **options):
        seen = []
        monkeypatch.setattr(
            attributes, "fit_attribute_classifier", lambda *args, **kw: seen.append((args, kw))
        )
        de.fit_few_shot_classifier(self.vectors, self.labels, "Male", **options)
        (((rows, taken, names, penalty), weighting),) = seen
        assert names == ("Male",) and weighting == {"balanced": True}
        assert penalty == options.get("penalty", 1.0)
        rows, taken = rows[:, 0].astype(int), taken[:, 0]
        assert len({*rows}) == len(rows)
        return rows[taken], rows[~taken]

    def test_both_labelled(self, monkeypatch):
        positives, others = self.chosen(monkeypatch, seed=5, penalty=3.0)
        assert len(positives) == len(others) == 50
        assert self.labels[positives].all() and not self.labels[others].any()
        again = self.chosen(monkeypatch, seed=5)
        other = self.chosen(monkeypatch, seed=6)
        assert {*again[0]} == {*positives} != {*other[0]}
        assert {*again[1]} == {*others} != {*other[1]}

    def test_positives_and_unlabelled(self, monkeypatch):
        positives, others = self.chosen(monkeypatch, positives=100, others=None, unlabelled=True)
        assert len(positives) == 100 and self.labels[positives].all()
        assert {*others} == {*range(1000)} - {*positives}  # the other 200 positives, too
        _, some = self.chosen(monkeypatch, positives=100, others=450, unlabelled=True)
        assert 50 < self.labels[some].sum() < 150  # of 450, 100 expected

    def test_the_odds_are_those_of_equally_many(self):
        """Of a vector that is 0 or 1, the logit is the log of the ratio of its shares."""
        vectors = np.array([0.0, 1.0])[[0] * 20 + [1] * 80 + [0] * 540 + [1] * 360]
        labels = np.arange(1000) < 100
        found = de.fit_few_shot_classifier(
            vectors[:, None], labels, "Male", 100, None, unlabelled=True, penalty=1e-6
        )
        expected = np.log([0.2 / 0.6, 0.8 / 0.4])
        np.testing.assert_allclose(found.logits([[0.0], [1.0]])[:, 0], expected, atol=1e-5)

    def test_errors(self):
        def fit(labels=self.labels, **options):
            return de.fit_few_shot_classifier(self.vectors, labels, "Male", **options)

        with pytest.raises(
            ValueError, match=r"`positives` must be .* from 1 to 300\. Received: 301"
        ):
            fit(positives=301)
        with pytest.raises(ValueError, match=r"`others` must be .* from 1 to 700\. Received: 701"):
            fit(others=701)
        with pytest.raises(ValueError, match=r"`others` must be .* from 1 to 950\. Received: 951"):
            fit(others=951, unlabelled=True)
        with pytest.raises(ValueError, match=r"`labels` must be .*\(1000,\)"):
            fit(labels=self.labels[:, None])
        with pytest.raises(ValueError, match="`unlabelled` must be True or False"):
            fit(unlabelled=1)


class TestRecord:
    about = {"data": "own", "budget": {"command": "x"}, "errors": {"auroc": 0.9}}  # noqa: RUF012

    def record(self, root, **options):
        found = de.fit_attribute_classifier(VECTORS, LABELS, NAMES, **options)
        path, entry = de.record_attribute_classifier(root, "faces", found, **self.about)
        return found, path, entry

    def test_what_is_loaded_is_what_was_recorded(self, tmp_path):
        key = "0123456789abcdef" * 4
        original, path, entry = self.record(tmp_path, penalty=2.5, autoencoder=key)
        assert (path, entry) == find_weights("faces", "classifier", tmp_path)
        assert entry["parameters"] == 3 * (2 * 6 + 3)
        assert {key: entry[key] for key in self.about} == self.about
        assert {*entry["versions"]} == {"numpy", "scikit-learn"}
        loaded = de.load_attribute_classifier("faces", tmp_path)
        assert loaded.names == NAMES and loaded.autoencoder == key
        assert (loaded.penalty, loaded.dims) == (2.5, 6)
        for name in ("weights", "biases", "patterns", "positive_medians", "negative_medians"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(original, name))

    @pytest.mark.parametrize("count", [1, 40])
    def test_of_one_attribute_and_of_many(self, tmp_path, count):
        names, vector = tuple(map(str, range(count))), np.arange(count, dtype=float)
        original = de.AttributeClassifier(
            names,
            np.outer(vector, [1, 2]),
            vector,
            np.outer(vector, [2, 1]),
            vector + 1,
            vector - 1,
            penalty=1.0,
        )
        de.record_attribute_classifier(tmp_path, "faces", original, **self.about)
        loaded = de.load_attribute_classifier("faces", tmp_path)
        assert loaded.names == names
        np.testing.assert_array_equal(loaded.weights, original.weights)

    def test_a_later_one_takes_its_place(self, tmp_path):
        self.record(tmp_path)
        later, _, _ = self.record(tmp_path, penalty=50)
        assert later.autoencoder is None
        loaded = de.load_attribute_classifier("faces", tmp_path)
        np.testing.assert_array_equal(loaded.weights, later.weights)

    def test_there_is_none(self, tmp_path):
        self.record(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"`faecs/classifier`.*Did you mean 'faces/"):
            de.load_attribute_classifier("faecs", tmp_path)

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"names": ["a", "b", "a"]}, "`names` must be a list of different names"),
            ({"names": []}, "`names` must be a list of different names"),
            ({"names": [1, 2, 3]}, "`names` must be a list of different names"),
            ({"names": ["a", "b"]}, "other arrays"),
            ({"dims": 5}, r"other arrays.*\(3, 5\).*\(3, 6\)"),
            ({"dims": 2**20}, "larger network"),
            ({"dims": 0}, "`dims` must be an integer"),
            ({"penalty": 0}, "`penalty` must be a positive number"),
            ({"penalty": True}, "`penalty` must be a positive number"),
            ({"autoencoder": "abc"}, "`autoencoder` must be 64 hexadecimal digits, or null"),
            ({"evil": 1}, "evil"),
        ],
    )
    def test_a_record_that_is_wrong(self, tmp_path, change, words):
        _, path, entry = self.record(tmp_path)
        entry["config"] |= change
        (path.parent / "classifier.json").write_text(json.dumps(entry))
        with pytest.raises(WeightsError, match=words):
            de.load_attribute_classifier("faces", tmp_path)

    def test_a_damaged_file(self, tmp_path):
        _, path, _ = self.record(tmp_path)
        contents = bytearray(path.read_bytes())
        contents[-1] ^= 1
        path.write_bytes(contents)
        with pytest.raises(WeightsError, match="checksum"):
            de.load_attribute_classifier("faces", tmp_path)

    def test_what_cannot_be_recorded(self, tmp_path):
        good = de.fit_attribute_classifier(VECTORS, LABELS, NAMES)
        broken = attributes.dataclasses.replace(good, biases=good.biases * math.nan)
        with pytest.raises(ValueError, match="`biases` has values that are not finite"):
            de.record_attribute_classifier(tmp_path, "faces", broken, **self.about)
        with pytest.raises(ValueError, match="must be a `AttributeClassifier`"):
            de.record_attribute_classifier(tmp_path, "faces", None, **self.about)
        with pytest.raises(ValueError, match="`dataset` must consist of letters"):
            de.record_attribute_classifier(tmp_path, "../x", good, **self.about)
        assert not [*tmp_path.iterdir()]
