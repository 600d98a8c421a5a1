"""What the paper says of clouds (Secs. 5.1, 5.1.1 and 5), beside what was measured."""

import math
import textwrap

# By how much a number may differ from the paper's to be the same.
_NEAR = 0.2
_STILL = 1e-3
# Of the largest eigenvalue over the least: orders of magnitude, as the paper's 0.0001 to 4.
_ORDERS = 1e3


def verdicts(contents):
    """The paper's statements, one by one.

    Args:
        contents: as `structure.json`.

    Returns:
        List of dicts of words: `statement`, `paper`, `ours`, `verdict`.
    """
    found = [
        _distance(contents["spread"]),
        _combinations(contents),
        _mean(contents),
        _border(contents["border"]),
        _eigenvalues(contents["spectrum"]),
        _components(contents["components"], contents["spectrum"]),
    ]
    if contents["canonical"]:
        found.append(_canonical(contents["canonical"]))
    found.append(_jacobian(contents["jacobian"], contents["spectrum"]))
    columns = ("statement", "paper", "ours", "verdict")
    return [dict(zip(columns, row, strict=True)) for row in found]


def show(contents):
    """Prints the verdicts, and how many members there are of what error."""
    found, mse = contents["found"], contents["mse"]
    print(
        f"\nImage {contents['image']} of {contents['dataset']}: {found['within_tolerance']:,} of "
        f"{found['members']:,} latents by {contents['method']}\nmean squared error "
        f"{mse['mean']:.6f} (median {mse['median']:.6f}; unrelated images {mse['control']:.4f}), "
        f"{found['converged']:.0%} above 30 dB, {found['seconds']:,.0f} s, deviation of latents "
        f"{contents['latents_std']:.3f}\n"
    )
    for row in contents["verdicts"]:
        print(row["statement"])
        for word in ("paper", "ours", "verdict"):
            lines = textwrap.fill(row[word], 90, subsequent_indent=" " * 10)
            print(f"  {word:8}{lines}")
    print()


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
        f"holds as {' and as '.join(near)}" if near else "far apart, by another number",
    )


def _combinations(contents):
    measured = {name: row for name, row in contents["combinations"].items() if " of " in name}
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
        "holds"
        if len(good) == len(measured)
        else f"holds only for {', '.join(good)}"
        if good
        else "does not hold",
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
        f"{'settles' if settles else 'does not settle yet'}, {'' if blurred else 'not '}blurred",
    )


def _border(border):
    words, signs = [], []
    for name, found in border.items():
        words.append(
            f"by {name} distance {_numbers(found['errors'], '.5f')} from the inner quarter to the "
            f"outer, rank correlation {found['correlation']:+.2f} (p = {found['p_value']:.2g})"
        )
        signs.append(math.copysign(1, found["correlation"]) if found["p_value"] < 0.05 else 0)
    return (
        "Latents on the border reconstruct slightly better than inner ones",
        "slightly better",
        "; ".join(words),
        "holds"
        if min(signs) == max(signs) == -1
        else "the reverse holds"
        if min(signs) == max(signs) == 1
        else "not seen",
    )


def _eigenvalues(spectrum):
    values, gaussian = spectrum["eigenvalues"], spectrum["gaussian"]
    least, largest = spectrum["marchenko_pastur"]
    spans = "holds" if values[0] > _ORDERS * values[-1] > 0 else "does not hold"
    wide = "the largest are chance" if values[0] < 1.1 * gaussian[0] else "the largest are shape"
    few = len(values) < spectrum["dimensions"]
    if few:
        thin = "too few members to know the least"
    else:
        thin = "the least are " + ("shape" if values[-1] < gaussian[-1] / 2 else "chance")
    return (
        "Eigenvalues of the cloud span orders of magnitude",
        "0.0001 to 4 (CIFAR-10: 4,000 members, 3,072 dimensions)",
        f"{values[-1]:.2g} to {values[0]:.3g}; of as many members of N(0, I) {gaussian[-1]:.2g} to "
        f"{gaussian[0]:.3g} (Marchenko-Pastur: {least:.2g} to {largest:.3g}; with the paper's "
        "numbers 0.015 to 3.5)",
        f"{wide}, {thin}" if few else f"{spans}; {wide}, {thin}",
    )


def _components(components, spectrum):
    changes = components["change_per_unit"]
    tenth = max(1, len(changes) // 10)
    major, minor = _mean_of(changes[:tenth]), _mean_of(changes[-tenth:])
    verdict = "holds" if minor > 2 * major else "does not hold"
    if len(spectrum["eigenvalues"]) < spectrum["dimensions"]:
        verdict = "too few members to know the minor ones"
    return (
        "Minor components change the image, major ones leave it alone",
        "significant modifications only along the minor components",
        f"change of the image per unit step: {major:.3g} along the major tenth, {minor:.3g} along "
        "the minor tenth",
        verdict,
    )


def _canonical(canonical):
    nearer = 1 - canonical["nearer"]
    if canonical["distance"] < canonical["members"] / 2:
        verdict = "holds"
    elif nearer > 0.5 and canonical["correlation"] > canonical["correlation_of_members"]:
        verdict = f"nearer than {nearer:.0%} of members, but not close"
    else:
        verdict = "does not hold"
    return (
        "The U-Net's latents are close to the mean of the cloud",
        "very close to the average",
        f"{canonical['distance']:.3g} from the mean, where members are {canonical['members']:.3g} "
        f"and the mean itself is off by {canonical['error_of_mean']:.2g}; "
        f"{canonical['nearer']:.0%} of members are nearer; correlation with the mean "
        f"{canonical['correlation']:.2f}, of members {canonical['correlation_of_members']:.2f}",
        verdict,
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
    if len(spectrum["eigenvalues"]) < spectrum["dimensions"]:
        words = ["; too few members to compare with the minor components"]
    return (
        "The cloud is thin where the image is sensitive",
        'elongated orthogonally to the data ("gravitational" intuition)',
        f"variance along the {few} most sensitive singular directions at {jacobian['at']} "
        f"{top:.3g}, along the {few} least {bottom:.3g}, rank correlation of singular value and "
        f"variance {jacobian['correlation']:.2f}{''.join(words)}",
        "holds" if top < bottom / 2 else "does not hold",
    )


def _mean_of(values):
    return sum(values) / len(values)


def _numbers(values, form):
    return ", ".join(format(value, form) for value in values)
