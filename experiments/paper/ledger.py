"""Rows of the ledger: pure functions of the results of other commands."""

import dataclasses

from experiments.toolkit.markup import interval, number

REPRODUCED, BETTER, FAILED, UNKNOWN = (
    "reproduced", "better", "not reproduced", "not measured",
)  # fmt: skip
# How far an error may be from the paper's, either way, to be the same.
_SAME = 0.1


@dataclasses.dataclass(frozen=True)
class Row:
    """One statement of the paper, and what was found of it.

    Attributes:
        item: table, figure or section of the paper.
        statement: what the paper says, in a few words.
        paper: its number, or words.
        ours: the same measured here, with a 95% interval where it is a mean.
        data: what it was measured on.
        verdict: one of the four words above.
        why: what the verdict needs to be understood; the command that would measure it.
        figure: path of a figure, relative to the folder of results, or "".
        source: the result that it is concluded from, "<experiment or study>/<name>", or "".
    """

    item: str
    statement: str
    paper: str
    ours: str
    data: str
    verdict: str
    why: str = ""
    figure: str = ""
    source: str = ""


def rows(experiments, found, studies, parameters, earlier=()):
    """All rows, in the order of the paper.

    Args:
        experiments: list of `Experiment`.
        found: name of an experiment -> dict from the name of a result ("report", "compare",
            "structure", "invariance", "interpolate", "project", "project_files") to its contents,
            where there is one.
        studies: "toy" and "schedules" -> contents, where there are any.
        parameters: network -> number of parameters, as `parameter_rows`.
        earlier: `Row`s of an earlier ledger, which stand for results that are not here now.

    Returns:
        List of `Row`.
    """
    named = {experiment.name: found.get(experiment.name, {}) for experiment in experiments}
    known = {row.source.partition("/")[0] for row in earlier}
    known |= {name for name, results in named.items() if results}
    grey = next((name for name in ("fashion_mnist", "mnist") if name in known), "fashion_mnist")
    found_of_grey = named.get(grey, {})
    faces, edited = named.get("celeba", {}), _edited(named, earlier)

    def taken(source, items, new):
        """What is concluded now, or was earlier, of some items from a source."""
        old = [row for row in earlier if row.source == source and row.item.startswith(items)]
        return old or [dataclasses.replace(row, source=source) for row in new]

    def tables(item, table):
        return [
            row
            for one in experiments
            for row in taken(f"{one.name}/report", item, table(one, named[one.name].get("report")))
        ]

    def of_grey(result, new):
        return taken(f"{grey}/{result}", "", new)

    project = named.get(edited, {}).get("project")
    return [
        *taken(f"{grey}/report", ("Fig. 1", "Fig. 2"), no_embedding_rows(grey, found_of_grey)),
        *taken("celeba/project_files", "", [portrait_row(faces.get("project_files"))]),
        *taken(f"{edited}/project", "", [edit_row(edited, project)]),
        *taken("schedules/schedules", "", schedule_rows(studies.get("schedules"))),
        *taken("toy/toy", "", toy_rows(studies.get("toy"))),
        *of_grey("invariance", invariance_rows(grey, found_of_grey)),
        *of_grey("structure", structure_rows(grey, found_of_grey)),
        *parameter_rows(parameters),
        *tables("Table 1", table1_rows),
        *tables("Table 2", table2_rows),
        *of_grey("compare", refinement_rows(grey, found_of_grey.get("compare"))),
        *of_grey("interpolate", interpolation_rows(grey, found_of_grey.get("interpolate"))),
    ]


def compare_errors(ours, margin, paper):
    """The verdict on an error: at most the paper's, or within a tenth of it, or more."""
    if ours + (margin or 0) < (1 - _SAME) * paper:
        return BETTER
    return REPRODUCED if ours - (margin or 0) <= (1 + _SAME) * paper else FAILED


def table1_rows(experiment, report):
    """Table 1: the error of each network."""
    measured = {row["network"]: row for row in report["table1"]} if report else {}
    for network, paper in experiment.paper_mse.items():
        item, statement = f"Table 1, {network}", "mean squared error of the reconstruction"
        ours = measured.get(network)
        if ours is None:
            command = f"python -m experiments.{experiment.name} "
            words = "train-embedders " + network if report else "train, then train-embedders"
            why = f"no weights: {command}{words}"
            yield _unknown(item, statement, number(paper, 6), experiment.name, why)
            continue
        verdict = compare_errors(ours["mse"], ours["mse_interval"], paper)
        yield Row(
            item,
            statement,
            number(paper, 6),
            f"{number(ours['mse'], 6)} \u00b1 {number(ours['mse_interval'], 6)}",
            f"{experiment.name}, {report['images']:,} test images",
            verdict,
            f"{ours['mse'] / paper:.1f} times the paper's" if verdict == FAILED else "",
            f"{experiment.name}/fig15_networks.png",
        )


def table2_rows(experiment, report):
    """Table 2: real images and generated ones."""
    item, statement = "Table 2, Fig. 17", "generated images reconstruct better than real ones"
    theirs = experiment.paper_table2
    paper = f"{theirs[0]} real, {theirs[1]} generated" if theirs else "(CelebA) half the error"
    table = report["table2"] if report else {"generated": None}
    if table["generated"] is None:
        if theirs:
            why = f"no weights: python -m experiments.{experiment.name} train"
            yield _unknown(item, statement, paper, experiment.name, why)
        return
    real, made = table["dataset"], table["generated"]
    margins = [table[f"{name}_interval"] or 0 for name in ("dataset", "generated")]
    gap = (margins[0] ** 2 + margins[1] ** 2) ** 0.5
    yield Row(
        item,
        statement,
        paper,
        f"{number(real, 6)} \u00b1 {number(table['dataset_interval'], 6)} real, "
        f"{number(made, 6)} \u00b1 {number(table['generated_interval'], 6)} generated",
        f"{experiment.name}, {report['images']:,} and up to 1,000 images",
        REPRODUCED if real - made > gap else FAILED,
        f"the ratio is {made / real:.2f}" + (f", the paper's {theirs[1] / theirs[0]:.2f}" if theirs
                                            else ""),
        f"{experiment.name}/fig17_generated.png",
    )  # fmt: skip


def parameter_rows(parameters):
    """Table 1's numbers of parameters, which say what the networks are.

    Args:
        parameters: dict from network to (the paper's number, ours, on what).
    """
    for network, (paper, ours, words) in parameters.items():
        same = paper == ours
        yield Row(
            f"Table 1, {network}",
            "number of parameters",
            f"{paper:,}",
            f"{ours:,}",
            words,
            REPRODUCED if same else FAILED,
            "" if same else "three 5x5 kernels from one channel to one have that many: a misprint",
        )


def no_embedding_rows(name, found):
    """Figs 1 and 2: what an image itself decodes to."""
    report = found.get("report")
    unet = next((r for r in report["table1"] if r["network"] == "unet"), None) if report else None
    for key, item, statement, figure in (
        ("x", "Fig. 1", "an image is no embedding of itself", "fig01_images_as_latents.png"),
        ("faint", "Fig. 2", "nor is 0.02 times it", "fig02_faint_images_as_latents.png"),
        ("noisy", "Fig. 2", "nor that with noise", "fig02_faint_images_as_latents.png"),
    ):
        if unet is None:
            yield _unknown(item, statement, "other images", name, f"python -m experiments.{name}")
            continue
        error = report["no_embeddings"][key]
        yield Row(
            item,
            statement,
            "other images",
            f"error {number(error, 4)}, {error / unet['mse']:.0f} times that of the U-Net",
            f"{name}, 64 test images",
            REPRODUCED if error > 10 * unet["mse"] else FAILED,
            figure=f"{name}/{figure}",
        )


def _edited(named, earlier):
    """The experiment whose edits are shown: faces if there are any, as the paper's."""
    shown = {name for name, results in named.items() if "edit" in results.get("project", {})}
    shown |= {row.source.partition("/")[0] for row in earlier
              if row.item == "Fig. 5" and row.verdict != UNKNOWN}  # fmt: skip
    names = sorted(named, key=lambda name: name != "celeba")
    return next((name for name in names if name in shown), "fashion_mnist")


def edit_row(name, contents):
    """Fig. 5: edited images are taken to what is of the data."""
    statement = "a sketched edit is blended in"
    if "edit" not in (contents or {}):
        command = f"python -m experiments.{name} project"
        return _unknown("Fig. 5", statement, "a figure", name, command)
    best = min(contents["projections"], key=lambda row: row["free_mse"]["mean"])
    before, after = contents["edit"]["free_mse"], best["free_mse"]
    return Row(
        "Fig. 5",
        statement,
        "a figure, of faces",
        f"error under the edit {interval(before, 4)} before, {interval(after, 4)} after "
        f"({best['name']})",
        f"{name}, {contents['images']} test images with lines drawn on them",
        REPRODUCED if _upper(after) < _lower(before) else FAILED,
        "lines, not moustaches",
        f"{name}/fig05_projection.png",
    )


def portrait_row(contents):
    """Fig. 4, by what a network that has learnt photographs makes of paintings."""
    item, statement = "Fig. 4", "a painted portrait becomes a photograph"
    errors = (contents or {}).get("network_mse")
    if not errors:
        return _unknown(item, statement, "a figure", "celeba",
                        "minutes, with weights of faces: python -m experiments.paper")  # fmt: skip
    before, after = errors["edited"], errors["network"]
    return Row(
        item,
        statement,
        "a figure",
        f"U-Net's error {interval(before, 5)} on paintings, {interval(after, 5)} on what it makes "
        "of them",
        f"{contents['images']} paintings",
        REPRODUCED if _upper(after) < _lower(before) else FAILED,
        "judged by a network that has learnt photographs alone; it makes them smoother, too: see "
        "the figure",
        "celeba/fig04_projection.png",
    )


def schedule_rows(contents):
    """Figs 6 and 7."""
    statement = "the cosine schedules add noise more evenly than the linear one"
    if contents is None:
        yield _unknown("Figs 6, 7", statement, "figures", "-", "python -m experiments.schedules")
        return
    shares = {name: row["share_in_between"] for name, row in contents["schedules"].items()}
    cosine = [share for name, share in shares.items() if "cosine" in name]
    yield Row(
        "Figs 6, 7",
        statement,
        "figures",
        "share of the time with both signal and noise: "
        + ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in shares.items()),
        "closed form",
        REPRODUCED if min(cosine) > shares["linear"] else FAILED,
        figure="schedules/fig06_schedules.png",
    )


def toy_rows(contents):
    """Figs 8 and 9: the verdicts of the study of toy data."""
    if contents is None:
        words = "trajectories are straight, and orthogonal to the data"
        yield _unknown("Figs 8, 9", words, "figures", "toy", "python -m experiments.toy")
        return
    for row in contents["verdicts"]:
        verdict = REPRODUCED if row["verdict"] == "holds" else FAILED
        why = "" if row["verdict"] != "partly" else "partly"
        yield Row("Figs 8, 9", row["claim"], "words", row["measured"], row["dataset"], verdict, why)


def invariance_rows(name, found):
    """Fig. 10: the same latents, other networks."""
    statement = "networks agree on the image of given latents"
    paper = "distances 100 to 1,000 times less than of random images"
    contents = found.get("invariance")
    if contents is None:
        yield _unknown("Fig. 10", statement, paper, name,
                       f"an hour: python -m experiments.{name} invariance")  # fmt: skip
        return
    low, high = contents["all"]["interval"]
    yield Row(
        "Fig. 10",
        statement,
        paper,
        f"{contents['all']['ratio']:.1f} times ({low:.1f} to {high:.1f})",
        f"{name}, {len(contents['names'])} networks, {contents['latents']} latents",
        contents["verdict"] if contents["verdict"] == REPRODUCED else FAILED,
        "small networks, trained for minutes",
        f"{name}/invariance.png",
    )


# What the study of a cloud says of a statement, where it is not "holds".
_MEASURED_NOTHING = "too few members"


def structure_rows(name, found):
    """Secs 5.1 and 5.1.1, Figs 11 to 14: the verdicts of the study of one image's cloud."""
    contents = found.get("structure")
    item = "Sec. 5.1, Figs 11-14"
    if contents is None:
        why = f"hours: python -m experiments.{name} structure"
        yield _unknown(item, "the cloud of latents of one image", "several", name, why)
        return
    for row in contents["verdicts"]:
        words = row["verdict"]
        good = words == "holds" or words.startswith(("holds as", "holds;", "settles, blurred"))
        verdict = (
            UNKNOWN if _MEASURED_NOTHING in words else REPRODUCED if good else FAILED
        )  # fmt: skip
        data = f"{name}, {contents['found']['within_tolerance']:,} latents of one image"
        yield Row(item, row["statement"], row["paper"], row["ours"], data, verdict,
                  "" if words == "holds" else words, f"{name}/fig14_components.png")  # fmt: skip


def refinement_rows(name, compare):
    """Sec. 5.2, Fig. 18: the U-Net's latents refined by gradient descent."""
    item, statement = "Sec. 5.2, Fig. 18", "descent refines the U-Net's latents"
    paper = "0.00147 to 0.00058, 2.5 times less (CelebA)"
    errors = {row["name"]: row for row in compare["methods"]} if compare else {}
    if not {"unet", "unet, descent"} <= errors.keys():
        why = f"hours: python -m experiments.{name} compare"
        yield _unknown(item, statement, paper, name, why)
        return
    statements = {
        "unet, descent": statement,
        "unet, correction": "the same without a gradient, by defect correction",
        "unet, lbfgs": "the same by L-BFGS",
    }
    for hybrid, words in statements.items():
        if hybrid not in errors:
            continue
        before, after = errors["unet"], errors[hybrid]
        factor = before["mse"] / after["mse"]
        yield Row(
            item,
            words,
            paper,
            " to ".join(
                f"{number(row['mse'], 6)} \u00b1 {number(row['mse_interval'], 6)}"
                for row in (before, after)
            )
            + f", {factor:.1f} times less",
            f"{name}, {compare['images']} test images",
            BETTER if factor > (1 + _SAME) * 2.53 else REPRODUCED if factor > 2 else FAILED,
            figure=f"{name}/fig18_refined.png",
        )


def interpolation_rows(name, contents):
    """Fig. 19: interpolation in latents and in pixels."""
    statement = "ways in latents stay among images, a cross-fade does not"
    if contents is None or not contents["several"]:
        command = f"python -m experiments.{name} interpolate"
        yield _unknown("Sec. 5.3, Fig. 19", statement, "a figure", name, command)
        return
    errors = {kind: row["middle_network_mse"] for kind, row in contents["several"].items()}
    yield Row(
        "Sec. 5.3, Fig. 19",
        statement,
        "a figure, of faces",
        "U-Net's error on the middle frame: "
        + ", ".join(f"{kind} {interval(error, 5)}" for kind, error in errors.items()),
        f"{name}, {contents['ways']} pairs of test images",
        REPRODUCED if _upper(errors["linear"]) < _lower(errors["pixels"]) else FAILED,
        figure=f"{name}/fig19_interpolation.png",
    )


def _unknown(item, statement, paper, data, why):
    return Row(item, statement, paper, "-", data, UNKNOWN, why)


def _upper(estimate):
    return estimate["mean"] + (estimate["interval"] or 0)


def _lower(estimate):
    return estimate["mean"] - (estimate["interval"] or 0)
