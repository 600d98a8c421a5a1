"""The paper's claims about the cloud of latents of one image (Secs. 5, 5.1 and 5.1.1)."""

import math

from experiments.toolkit.claims import Verdict

# Maximum difference from the paper's number.
_NEAR = 0.2
# Maximum change of a mean that has settled, a mean squared error.
_STILL = 1e-3
# Largest over least eigenvalue; the paper's are 4 and 0.0001.
_ORDERS = 1e3


def cloud_claims(contents):
    """Compares the paper's claims with the numbers of `structure.json`; returns a list of dicts."""
    rows = [
        _distance(contents["spread"]),
        _combinations(contents),
        _mean(contents),
        _border(contents["border"]),
        _eigenvalues(contents["spectrum"]),
        _components(contents["components"], contents["spectrum"]),
    ]
    if contents["canonical"]:
        rows.append(_canonical(contents["canonical"]))
    rows.append(_jacobian(contents["jacobian"], contents["spectrum"]))
    columns = ("statement", "paper", "ours", "verdict", "why")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _distance(spread):
    measures = {
        "Euclidean": spread["distance"],
        "root mean square of a coordinate": spread["rms"],
        "mean square of a coordinate": spread["mean_square"],
    }
    near = [words for words, value in measures.items() if abs(value - 0.9) <= _NEAR]
    return (
        "Members are far from each other",
        'an average Euclidean distance "around 0.9"',
        "; ".join(f"{words} {value:.3g}" for words, value in measures.items())
        + ". Two N(0, 1) coordinates differ by 1.41 (root mean square)",
        Verdict.of(near),
        f"as {' and as '.join(near)}" if near else "far apart, by another number",
    )


def _combinations(contents):
    measured = {name: row for name, row in contents["combinations"].items() if name != "gaussian"}
    good = [name for name, row in measured.items() if row["same"] >= 0.9]
    words = [
        f"{name} {row['mse']:.4f} ({row['same']:.0%}; {row['latents_std']:.2f})"
        for name, row in measured.items()
    ]
    return (
        "100 random combinations decode to about the image",
        "very similar reconstructions: the cloud seems convex",
        f"mean squared error (share above 20 dB; deviation of latents): {', '.join(words)}; "
        f"members {contents['mse']['mean']:.4f}, unrelated images "
        f"{contents['mse']['control']:.4f}",
        Verdict.of(len(good) == len(measured)),
        f"only for {', '.join(good)}" if 0 < len(good) < len(measured) else "",
    )


def _mean(contents):
    means = contents["running_means"]
    settles, blurred = means["change"][-1] <= _STILL, means["sharpness"][-1] < 1
    return (
        "The decoded mean of more and more members settles, slightly blurred",
        "stabilises soon, slightly more blurry than a single one",
        f"the last doubling changes it by {means['change'][-1]:.5f}; error {means['mse'][-1]:.4f}, "
        f"total variation {means['sharpness'][-1]:.2f} of the image's (one member: "
        f"{means['sharpness'][0]:.2f})",
        Verdict.of(settles and blurred),
        f"{'settles' if settles else 'does not settle yet'}, {'' if blurred else 'not '}blurred",
    )


def _border(border):
    words, signs = [], []
    for name, row in border.items():
        errors = ", ".join(f"{error:.5f}" for error in row["errors"])
        words.append(
            f"by {name} distance {errors} from the inner quarter to the outer, rank correlation "
            f"{row['correlation']:+.2f} (p = {row['p_value']:.2g})"
        )
        signs.append(math.copysign(1, row["correlation"]) if row["p_value"] < 0.05 else 0)
    better, worse = (all(sign == each for each in signs) for sign in (-1, 1))
    return (
        "Latents on the border reconstruct slightly better than inner ones",
        "slightly better",
        "; ".join(words),
        Verdict.of(better),
        "" if better else "the reverse holds" if worse else "not seen",
    )


def _too_few(spectrum):
    """Whether the cloud has fewer members than dimensions: its least eigenvalues are unknown."""
    return len(spectrum["eigenvalues"]) < spectrum["dimensions"]


def _eigenvalues(spectrum):
    values, gaussian = spectrum["eigenvalues"], spectrum["gaussian"]
    least, largest = spectrum["marchenko_pastur"]
    largest_are = "chance" if values[0] < 1.1 * gaussian[0] else "shape"
    if _too_few(spectrum):
        verdict, words = Verdict.NOT_MEASURED, "too few members to know the least"
    else:
        verdict = Verdict.of(values[0] > _ORDERS * values[-1] > 0)
        words = "the least are " + ("shape" if values[-1] < gaussian[-1] / 2 else "chance")
    return (
        "Eigenvalues of the cloud span orders of magnitude",
        "0.0001 to 4 (CIFAR-10: 4,000 members, 3,072 dimensions)",
        f"{values[-1]:.2g} to {values[0]:.3g}; of as many members of N(0, I) {gaussian[-1]:.2g} to "
        f"{gaussian[0]:.3g} (Marchenko-Pastur: {least:.2g} to {largest:.3g}; with the paper's "
        "numbers 0.015 to 3.5)",
        verdict,
        f"the largest are {largest_are}, {words}",
    )


def _components(components, spectrum):
    changes = components["change_per_unit"]
    tenth = max(1, len(changes) // 10)
    major, minor = _mean_of(changes[:tenth]), _mean_of(changes[-tenth:])
    few = _too_few(spectrum)
    return (
        "Minor components change the image, major ones leave it alone",
        "significant modifications only along the minor components",
        f"change of the image per unit step: {major:.3g} along the major tenth, {minor:.3g} along "
        "the minor tenth",
        Verdict.NOT_MEASURED if few else Verdict.of(minor > 2 * major),
        "too few members to know the minor ones" if few else "",
    )


def _canonical(canonical):
    nearer = 1 - canonical["nearer"]
    close = canonical["distance"] < canonical["members"] / 2
    nearly = nearer > 0.5 and canonical["correlation"] > canonical["correlation_of_members"]
    return (
        "The U-Net's latents are close to the mean of the cloud",
        "very close to the average",
        f"{canonical['distance']:.3g} from the mean, where members are {canonical['members']:.3g} "
        f"and the mean itself is off by {canonical['error_of_mean']:.2g}; "
        f"{canonical['nearer']:.0%} of members are nearer; correlation with the mean "
        f"{canonical['correlation']:.2f}, of members {canonical['correlation_of_members']:.2f}",
        Verdict.of(close),
        f"nearer than {nearer:.0%} of members, but not close" if nearly and not close else "",
    )


def _jacobian(jacobian, spectrum):
    variances = jacobian["variances"]
    few = max(1, len(variances) // 16)
    top, bottom = _mean_of(variances[:few]), _mean_of(variances[-few:])
    words = [
        f"; {name} directions overlap {row['overlap']:.2f} (by chance "
        f"{row['overlap_by_chance']:.2f})"
        for name, row in jacobian["angles"].items()
    ]
    if _too_few(spectrum):
        words = ["; too few members to compare with the minor components"]
    return (
        "The cloud is thin where the image is sensitive",
        'elongated orthogonally to the data ("gravitational" intuition)',
        f"variance along the {few} most sensitive singular directions at {jacobian['at']} "
        f"{top:.3g}, along the {few} least {bottom:.3g}, rank correlation of singular value and "
        f"variance {jacobian['correlation']:.2f}{''.join(words)}",
        Verdict.of(top < bottom / 2),
        "",
    )


def _mean_of(values):
    return sum(values) / len(values)
