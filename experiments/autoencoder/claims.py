"""The claims of the paper on diffusion autoencoders, each beside what the verbs measured."""

from experiments.autoencoder import published
from experiments.toolkit.claims import Claim, Verdict, falls, not_measured
from experiments.toolkit.tables import interval, number

# Before the items, which other papers have, too.
_PAPER = "Diffusion autoencoders, "
# The paper's error at T = 100 with inferred latents, and at T = 10.
_EXACT, _ROUGH = 6.07e-5, 1e-3
# Shares of what is compared with: of the error of random latents, and of the mean image's.
_OF_RANDOM, _OF_MEAN = 0.6, 0.6
# The deviation of Gaussian latents, and how far off it is still theirs.
_DEVIATION = 0.1


def autoencode_claims(name, contents):
    """Tables 1 and 2, Figs 3, 6, 11 and 12; `contents` of `autoencode.json`, or None."""
    for item, statement, paper, figure, measure in _CLAIMS:
        item, found = _PAPER + item, contents and measure(contents)
        if not found:
            left_out = "--baseline-steps 0" if measure is _blurry else "not among --steps"
            why = f"{left_out if contents else 'needs weights'}: python -m experiments.{name} "
            why += "autoencode"
            yield not_measured(item, statement, paper, name, why)
            continue
        ours, verdict, *why = found
        data = f"{name}, {contents['images']} test images"
        figure = figure and f"{name}/{figure}"
        yield Claim(item, statement, paper, ours, data, verdict, *why, figure=figure)


def comparison_claims(name, contents):
    """Table 2 b to e; `contents` of `compare-autoencoders.json`, or None."""
    item, statement = f"{_PAPER}Table 2 b-e", "the longer the vector, the less its error"
    paper = "; ".join(f"{dims}: {row[-1]:.3g}" for dims, row in published.TABLE2_DIMS.items())
    rows = [row for row in contents["rows"] if row["less"]] if contents else []
    if not rows:
        why = f"trains four autoencoders: python -m experiments.{name} compare-autoencoders"
        yield not_measured(item, statement, paper, name, why)
        return
    of_dims = [row for row in contents["rows"] if row["decoder"] == rows[0]["decoder"]]
    ours = "; ".join(
        f"{row['semantic_dims']}: {interval(row['random'][0]['mse'], 5)}"
        + (f", less by {interval(row['less'], 5)}" if row["less"] else "")
        for row in of_dims
    )
    seconds = sum(row["seconds"] for row in of_dims) / len(of_dims)
    yield Claim(
        item,
        statement,
        paper,
        ours,
        f"{name}, {contents['images']} test images",
        Verdict.of(all(_positive(row["less"]) for row in rows)),
        f"random latents, T = {of_dims[0]['random'][0]['num_steps']}; each trained for "
        f"{number(seconds, 0)} seconds on average",
        figure=f"{name}/compare-autoencoders.png",
    )


def _row(contents, model, latents=None):
    for row in contents["table1"]:
        if (row["model"], row["latents"]) == (model, latents):
            return row
    return None


def _by_steps(contents, model):
    """Dict from number of steps to row of Table 2."""
    rows = sorted(contents["table2"], key=lambda row: row["num_steps"])
    return {row["num_steps"]: row for row in rows if row["model"] == model}


def _against(first, second, name, digits=6):
    """Two estimates of rows as words, and whether the first is below beyond their intervals."""
    words = f"{interval(first[name], digits)} against {interval(second[name], digits)}"
    return words, falls(second[name], first[name])


def _exact(contents):
    ours, ddim = (_row(contents, model, contents["best"]) for model in ("ours", "DDIM"))
    mse, deviation = ours["mse"], ours["latents_std"]
    margin = mse["interval"] or 0
    gaussian = abs(deviation["mean"] - 1) <= _DEVIATION
    verdict = Verdict.of(gaussian and mse["mean"] - margin <= _ROUGH)
    if gaussian and mse["mean"] + margin < _EXACT:
        verdict = Verdict.BETTER
    words = f"{interval(mse, 6)} at T = {contents['num_steps']}, deviation of latents "
    why = f"{contents['best']}; DDIM in the same way: {interval(ddim['mse'], 6)}"
    return words + interval(deviation, 3), verdict, why


def _blurry(contents):
    ours, plain = _row(contents, "ours", "random"), _row(contents, "plain autoencoder")
    if plain is None:
        return None
    words, below = _against(ours, plain, "lpips", 4)
    errors, _ = _against(ours, plain, "mse")
    return f"LPIPS {words}", Verdict.of(below), f"mean squared error {errors}"


def _positive(gain):
    """Whether a difference between the errors of the same images is above 0 beyond its interval."""
    return gain["mean"] > (gain["interval"] or 0)


def _below_ddim(contents):
    ddim, ours = (_by_steps(contents, model) for model in ("DDIM", "ours"))
    words = "; ".join(
        f"T = {T}: {interval(row['mse'], 6)} against {interval(ddim[T]['mse'], 6)}, less by "
        f"{interval(row['gain'], 6)}"
        for T, row in ours.items()
    )
    return words, Verdict.of(all(_positive(row["gain"]) for row in ours.values()))


def _falling(contents):
    errors = [
        [row["mse"]["mean"] for row in _by_steps(contents, model).values()]
        for model in ("DDIM", "ours")
    ]
    if len(errors[0]) < 2:
        return None
    words = "; ".join(", ".join(number(error, 6) for error in each) for each in errors)
    return words, Verdict.of(all(each == sorted(each, reverse=True) for each in errors))


def _fewer_steps(contents):
    ours, ddim = _by_steps(contents, "ours").get(20), _by_steps(contents, "DDIM").get(100)
    if ours is None or ddim is None:
        return None
    words, below = _against(ours, ddim, "mse")
    return words, Verdict.of(below)


def _implicit(contents):
    rows = _by_steps(contents, "ours")
    steps, most = next(reversed(rows.items()))
    if steps <= contents["num_steps"]:
        return None
    words, below = _against(_row(contents, "ours", "implicit"), most, "mse")
    words = f"T = {contents['num_steps']} against T = {steps}: {words}"
    return words, Verdict.BETTER if below else Verdict.NOT_REPRODUCED


def _vector_alone(contents):
    words, below = _against(
        _row(contents, "ours", "random"), _row(contents, "DDIM", "naive"), "lpips", 4
    )
    return f"LPIPS {words}", Verdict.of(below)


def _one_step(contents):
    one = _row(contents, "ours", "one step")["mse"]
    random = _by_steps(contents, "ours, random latents")
    words = f"{interval(one, 5)} against " + ", ".join(
        f"{interval(row['mse'], 5)} (T = {steps})" for steps, row in random.items()
    )
    shares = [one["mean"] / row["mse"]["mean"] for row in random.values()]
    why = (
        "in theory a half: random latents vary about the mean as much as the image does; few steps "
        f"make them vary less: {', '.join(number(share, 2) for share in shares)}"
    )
    return words, Verdict.BETTER if shares[-1] <= _OF_RANDOM else Verdict.NOT_REPRODUCED, why


def _own_vector(contents):
    gains = [level["gain"] for level in contents["collapse"]["levels"]]
    words = ", ".join(interval(gain, 4) for gain in gains)
    words = f"from t = 1 on, less by {words} of the variance"
    return words, Verdict.of(all(_positive(gain) for gain in gains))


def _at_t1(contents):
    own, mean_image = contents["collapse"]["levels"][0]["own"], contents["collapse"]["mean_image"]
    ratio = (own["mean"] + (own["interval"] or 0)) / mean_image
    words = f"{interval(own, 4)} against {number(mean_image, 4)}"
    return words, Verdict.of(ratio < _OF_MEAN)


def _details(contents):
    found = contents["variations"]
    words = (
        f"deviation {interval(found['of_latents'], 4)} against {interval(found['of_vectors'], 4)}"
    )
    return words, Verdict.of(falls(found["of_vectors"], found["of_latents"]))


def _predicted(contents):
    levels = contents["predictions"]
    below = [_positive(level["gain"]) for level in levels]
    words = f"at t = 1: {interval(levels[0]['ours'], 5)} against {interval(levels[0]['DDIM'], 5)}"
    ours = f"{words}; less at {sum(below)} of {len(below)} steps"
    return ours, Verdict.of(all(below)), "" if all(below) else _known_by_latents(contents, below)


def _known_by_latents(contents, below):
    """What the vector brings if latents know nothing of the image: the same with fresh noise."""
    step, path = next(pair for pair in enumerate(contents["predictions"]) if not below[pair[0]])
    fresh = contents["collapse"]["levels"]
    helped = sum(level["own"]["mean"] < level["unconditional"]["mean"] for level in fresh)
    ratios = [
        level["mean"] / other["mean"]
        for level, other in (
            (fresh[step]["own"], fresh[step]["unconditional"]), (path["ours"], path["DDIM"]),
        )
    ]  # fmt: skip
    return (
        f"inferred latents hold the image, too, DDIM's more: with fresh noise the error is less at "
        f"{helped} of {len(fresh)} steps, at step {step + 1} {ratios[0]:.2f} of DDIM's, here "
        f"{ratios[1]:.2f}"
    )


def _unlike(words):
    def measure(contents):
        rows = {row["images"]: row["correlation"] for row in contents["noise_maps"]}
        name = [each for each in rows if each.startswith(words)][-1]
        own, other = rows["own"], rows[name]
        text = f"correlation of neighbours {interval(other, 3)} ({name}) against {interval(own, 3)}"
        return text, Verdict.of(falls(other, own))

    return measure


_TABLE2 = {
    model: {T: row[-1] for T, row in rows.items()} for model, rows in published.TABLE2.items()
}
# Item, statement, the paper's number or words, a figure, and a function from the contents to what
# was measured: our number, a verdict, and perhaps why; or None.
_CLAIMS = (
    (
        "Table 1",
        "vector and latents give the image back",
        f"{_EXACT:.3g} at T = 100, {_ROUGH:.3g} at T = 10",
        "reconstructions.png",
        _exact,
    ),
    (
        "Sec. 5.4",
        "an autoencoder of the same code, trained on the squared error, is blurrier",
        "traditional autoencoders produce blurry results",
        "reconstructions.png",
        _blurry,
    ),
    (
        "Table 2",
        "the error is below that of DDIM for every T",
        "; ".join(
            f"T = {T}: {error:.3g} against {_TABLE2['DDIM'][T]:.3g}"
            for T, error in _TABLE2["ours"].items()
        ),
        "autoencode.png",
        _below_ddim,
    ),
    (
        "Table 2",
        "the error falls with T, of DDIM and of ours",
        "; ".join(
            ", ".join(f"{error:.3g}" for error in _TABLE2[model].values())
            for model in ("DDIM", "ours")
        ),
        "autoencode.png",
        _falling,
    ),
    (
        "Sec. 5.4",
        "T = 20 surpasses DDIM with T = 100",
        f"{_TABLE2['ours'][20]:.3g} against {_TABLE2['DDIM'][100]:.3g}",
        "autoencode.png",
        _fewer_steps,
    ),
    (
        "Table 2",
        "implicit inversion with few steps surpasses naive inversion with the most",
        "naive inversion only",
        "autoencode.png",
        _implicit,
    ),
    (
        "Table 2 a",
        "the vector alone is perceptually closer than DDIM with its latents",
        f"LPIPS {published.TABLE2['ours, random latents'][10][1]} against "
        f"{published.TABLE2['DDIM'][10][1]} at T = 10",
        "reconstructions.png",
        _vector_alone,
    ),
    (
        "Table 2 a",
        "one step from the vector alone has at most .6 of the error of random latents, decoded "
        "with the most steps",
        "random latents only",
        "reconstructions.png",
        _one_step,
    ),
    (
        "Sec. 3",
        "an image's own vector beats another image's at every noise level",
        "meant, not measured",
        "autoencode.png",
        _own_vector,
    ),
    (
        "Sec. 3",
        "at t = 1 the error is below .6 of the mean image's",
        "meant, not measured",
        "autoencode.png",
        _at_t1,
    ),
    (
        "Fig. 3",
        "latents vary details: less than the vector does",
        "shown by images",
        "fig03_variations.png",
        _details,
    ),
    (
        "Fig. 6",
        "the image is predicted better than by DDIM at every step",
        "shown by images",
        "fig06_predicted.png",
        _predicted,
    ),
    (
        "Fig. 11",
        "latents of shifted images keep residual details",
        "shown by images",
        "fig11_shifted.png",
        _unlike("shifted"),
    ),
    (
        "Fig. 12",
        "latents of images of other data keep details",
        "shown by images",
        "fig12_other_data.png",
        _unlike("other"),
    ),
)


def throughput_claims(name, contents):
    """Table 7; `contents` of `throughput.json`, or None."""
    item, statement = f"{_PAPER}Table 7", "training is about a fifth slower than DDIM's"
    shares = {data: ours / ddim for data, (ddim, ours) in published.TABLE7.items()}
    paper = "; ".join(f"{data}: {share:.2f} of DDIM's" for data, share in shares.items())
    if not contents:
        yield not_measured(item, statement, paper, name, f"python -m experiments.{name} throughput")
        return
    found = contents["throughput"]["training"]
    margin = found["ratio"]["interval"] or 0
    words = f"{interval(found['ours'], 2)} images a second, DDIM {interval(found['DDIM'], 2)}: "
    yield Claim(
        item,
        statement,
        paper,
        words + f"{interval(found['ratio'], 2)} of them",
        f"{name}, batches of {contents['batch_size']}, {contents['precision']}",
        Verdict.of(found["ratio"]["mean"] + margin >= min(shares.values())),
    )


CLAIMS = {
    "autoencode": autoencode_claims,
    "compare-autoencoders": comparison_claims,
    "throughput": throughput_claims,
}
