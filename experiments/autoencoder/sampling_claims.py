"""The paper's claims on the prior and on samples, each beside what the verbs measured."""

from experiments.autoencoder import published
from experiments.toolkit.claims import Claim, Verdict, falls, not_measured
from experiments.toolkit.tables import interval, number

# Before the items, which other papers have, too.
_PAPER = "Diffusion autoencoders, "
# Of vectors that are known by heart the distance from the nearest one is 0, of new ones 1.
_NEW = 0.8
# Images of a commoner class are nearly all images: their samples need no classifier, and the
# paper's, too, are closer without one (of Non-Blond, .96).
_COMMON = 0.7


def prior_claims(name, contents):
    """Sec. 4, App. A.1 and C; `contents` of `priors.json`, or None."""
    yield from _measured(name, contents, "priors", "", _PRIOR, "priors.png")
    found = contents if contents and contents["ablation"] else None
    yield from _measured(name, found, "priors", " --ablation", _ABLATION, "priors.png")


def sample_claims(name, contents):
    """Table 4; `contents` of `sample-semantic.json`, or None."""
    yield from _measured(name, contents, "sample-semantic", "", _SAMPLES, "sample-semantic.png")


def class_claims(name, contents):
    """Table 3; `contents` of `sample-classes.json`, or None."""
    yield from _measured(name, contents, "sample-classes", "", _CLASSES, "fig18_19_classes.png")


def _measured(name, contents, verb, flags, claims, figure):
    for item, statement, paper, measure in claims:
        item, found = _PAPER + item, contents and measure(contents)
        if not found:
            why = f"python -m experiments.{name} {verb}{flags}"
            yield not_measured(item, statement, paper, name, why)
            continue
        ours, verdict, *why = found
        data = f"{name}, {contents.get('test_images') or contents['images']} images"
        yield Claim(item, statement, paper, ours, data, verdict, *why, figure=f"{name}/{figure}")


def _against(first, second):
    return f"{interval(first, 3)} against {interval(second, 3)}"


# The prior


def _gaussian(contents):
    found = contents["distances"]
    closer = falls(found["gaussian"], found["prior"])
    verdict = Verdict.BETTER if closer else Verdict.NOT_REPRODUCED
    why = f"training vectors: {interval(found['training'], 3)}"
    if not closer:
        why += "; means and covariances alone are compared, in which a fitted Gaussian is exact"
    return _against(found["prior"], found["gaussian"]), verdict, why


def _by_heart(contents):
    ratio = contents["distances"]["nearest"].get("prior")
    if ratio is None:
        return None
    words = f"distance from the nearest training vector {number(ratio, 3)} of a test image's"
    return words, Verdict.of(ratio >= _NEW)


def _rows(contents):
    return {row["name"]: row["frechet"] for row in contents["ablation"]}


def _pair(better, worse):
    def measure(contents):
        first, second = (_rows(contents)[name] for name in (better, worse))
        return _against(first, second), Verdict.of(falls(second, first))

    return measure


def _larger(contents):
    base = _rows(contents)["constant, L1"]
    others = {name: each for name, each in _rows(contents).items() if name.count(",") == 2}
    words = "; ".join(f"{name}: {interval(each, 3)}" for name, each in others.items())
    verdict = Verdict.of(all(falls(base, each) for each in others.values()))
    return f"{interval(base, 3)}; {words}", verdict


_linear1, _linear2, _best, _squared, *_sizes = published.ABLATION
_PRIOR = (
    (
        "Sec. 4",
        "the latent DDIM is closer to test images' vectors than a fitted Gaussian",
        "no baseline",
        _gaussian,
    ),
    ("App. C", "it does not know its vectors by heart", "shown by images", _by_heart),
)
_ABLATION = (
    (
        "App. A.1",
        "L1 surpasses L2, linear schedule",
        f"FID {_linear1} against {_linear2}",
        _pair("linear, L1", "linear, L2"),
    ),
    (
        "App. A.1",
        "the constant schedule surpasses the linear one, L2",
        f"FID {_squared:.2f} against {_linear2}",
        _pair("constant, L2", "linear, L2"),
    ),
    (
        "App. A.1",
        "more layers, and wider ones, are better",
        f"FID {_best}; {', '.join(map(str, _sizes))}",
        _larger,
    ),
)


# Samples


def _by_steps(contents, model):
    return {row["num_steps"]: row["frechet"] for row in contents["rows"] if row["model"] == model}


def _closer(first, second, least=0, most=10**9):
    """Whether one model is closer than another for each number of steps in a range."""

    def measure(contents):
        ours, others = (_by_steps(contents, model) for model in (first, second))
        steps = [each for each in ours if least <= each <= most]
        if not steps:
            return None
        words = "; ".join(f"T = {each}: {_against(ours[each], others[each])}" for each in steps)
        closer = all(falls(others[each], ours[each]) for each in steps)
        return words, Verdict.of(closer), f"held-out images: {interval(contents['floor'], 3)}"

    return measure


def _published(first, second, *steps):
    ours, others = published.TABLE4[first], published.TABLE4[second]
    words = (f"T = {each}: {ours[each]:.2f} against {others[each]:.2f}" for each in steps)
    return "FID; " + "; ".join(words)


def _falling(contents):
    distances = [_by_steps(contents, model) for model in ("DDIM", "ours")]
    if len(distances[0]) < 2:
        return None
    ends = [(each[min(each)], each[max(each)]) for each in distances]
    words = "; ".join(f"{interval(few, 3)} to {interval(many, 3)}" for few, many in ends)
    lower = all(many["mean"] < few["mean"] for few, many in ends)
    why = "lower, within the intervals of so few images" if lower else ""
    falling = all(falls(*each) for each in ends)
    return words, Verdict.of(falling), "" if falling else why


def _gaussian_images(contents):
    ((steps, gaussian),) = _by_steps(contents, "ours, Gaussian prior").items()
    ours = _by_steps(contents, "ours")[steps]
    words = f"T = {steps}: {_against(ours, gaussian)}"
    if falls(gaussian, ours):
        return words, Verdict.BETTER
    return words, Verdict.NOT_REPRODUCED, "few steps of the latent DDIM shrink its vectors"


_SAMPLES = (
    (
        "Table 4",
        "samples are closer to the data than DDIM's with few steps",
        _published("ours", "DDIM", 10, 20),
        _closer("ours", "DDIM", 10, 20),
    ),
    (
        "Table 4",
        "and with many",
        _published("ours", "DDIM", 50, 100),
        _closer("ours", "DDIM", 50),
    ),
    (
        "Table 4",
        "vectors of held-out images give closer samples than the prior's",
        _published("+ autoencoding", "ours", 10, 100),
        _closer("+ autoencoding", "ours"),
    ),
    (
        "Table 4",
        "more steps, closer samples: DDIM, ours",
        "FID; 16.38 to 5.83; 12.92 to 5.30",
        _falling,
    ),
    (
        "Table 4",
        "the prior's vectors give closer samples than a Gaussian's",
        "no baseline",
        _gaussian_images,
    ),
)


# Classes


def _of_scenario(scenario):
    def measure(contents):
        rows = [
            row
            for row in contents["rows"]
            if row["scenario"] == scenario and row["share"] <= _COMMON
        ]
        if not rows:
            return None
        words = "; ".join(
            f"{row['class']}: {_against(row['frechet'], row['naive'])}" for row in rows
        )
        others = [row for row in rows if not falls(row["naive"], row["frechet"])]
        why = "; ".join(f"{row['share']:.0%} of all images are {row['class']}" for row in others)
        why = why and f"not beyond the intervals of {contents['images']} samples: {why}"
        return words, Verdict.of(not others), why

    return measure


def _paper_of(scenario):
    rows = {name: row for (each, name), row in published.TABLE3.items() if each == scenario}
    words = (f"{name}: {ours:.2f} against {naive:.2f}" for name, (ours, _, naive) in rows.items())
    return "FID; " + "; ".join(words)


_CLASSES = (
    (
        "Table 3, binary",
        "50 labels of each side give samples closer to a class than all samples are",
        _paper_of("binary"),
        _of_scenario("binary"),
    ),
    (
        "Table 3, positive-unlabelled",
        "100 labels give samples closer to a class than all samples are",
        _paper_of("positive-unlabelled"),
        _of_scenario("positive-unlabelled"),
    ),
)

CLAIMS = {
    "priors": prior_claims,
    "sample-semantic": sample_claims,
    "sample-classes": class_claims,
}
