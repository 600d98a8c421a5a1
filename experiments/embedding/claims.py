"""The claims of the paper on image embedding, each beside what the verbs measured."""

from experiments.embedding.cloud_claims import cloud_claims
from experiments.toolkit.claims import Claim, Verdict, falls, not_measured
from experiments.toolkit.tables import interval, number, of

# Maximum relative difference, either way, of an error that is the same as the paper's.
_SAME = 0.1


def compare_errors(ours, margin, paper):
    """Returns the verdict on an error: below the paper's, within a tenth of it, or above."""
    if ours + (margin or 0) < (1 - _SAME) * paper:
        return Verdict.BETTER
    return Verdict.of(ours - (margin or 0) <= (1 + _SAME) * paper)


def table1_claims(experiment, report):
    """Table 1: the error of each network."""
    measured = {row["network"]: row for row in report["table1"]} if report else {}
    for network, paper in experiment.paper_mse.items():
        item, statement = f"Table 1, {network}", "mean squared error of the reconstruction"
        ours = measured.get(network)
        if ours is None:
            command = f"python -m experiments.{experiment.name} "
            words = "train-embedders " + network if report else "train, then train-embedders"
            why = f"no weights: {command}{words}"
            yield not_measured(item, statement, number(paper, 6), experiment.name, why)
            continue
        verdict = compare_errors(ours["mse"], ours["mse_interval"], paper)
        failed = verdict is Verdict.NOT_REPRODUCED
        yield Claim(
            item,
            statement,
            number(paper, 6),
            of(ours, "mse", 6),
            f"{experiment.name}, {report['images']:,} test images",
            verdict,
            f"{ours['mse'] / paper:.1f} times the paper's" if failed else "",
            f"{experiment.name}/fig15_networks.png",
        )


def table2_claims(experiment, report):
    """Table 2: real images and generated ones."""
    item, statement = "Table 2, Fig. 17", "generated images reconstruct better than real ones"
    theirs = experiment.paper_table2
    paper = f"{theirs[0]} real, {theirs[1]} generated" if theirs else "(CelebA) half the error"
    table = report["table2"] if report else {"generated": None}
    if table["generated"] is None:
        if theirs:
            why = f"no weights: python -m experiments.{experiment.name} train"
            yield not_measured(item, statement, paper, experiment.name, why)
        return
    real, generated = table["dataset"], table["generated"]
    margins = [table[f"{name}_interval"] or 0 for name in ("dataset", "generated")]
    gap = (margins[0] ** 2 + margins[1] ** 2) ** 0.5
    papers_ratio = f", the paper's {theirs[1] / theirs[0]:.2f}" if theirs else ""
    holds, where = real - generated > gap, ""
    if not holds and table.get("bands"):
        bands = table["bands"]
        pairs = zip(bands["generated"], bands["dataset"], strict=True)
        ratios = [of_generated / of_real for of_generated, of_real in pairs]
        where = f": {ratios[0]:.2f} of coarse structure, {ratios[-1]:.2f} of the finest texture"
    yield Claim(
        item,
        statement,
        paper,
        f"{of(table, 'dataset', 6)} real, {of(table, 'generated', 6)} generated",
        f"{experiment.name}, {report['images']:,} and up to 1,000 images",
        Verdict.of(holds),
        f"the ratio is {generated / real:.2f}{papers_ratio}{where}",
        f"{experiment.name}/fig17_generated.png",
    )


def parameter_claims(parameters):
    """Table 1's numbers of parameters, which identify the networks, from `report.parameters`."""
    for network, (paper, ours, words) in parameters.items():
        same = paper == ours
        yield Claim(
            f"Table 1, {network}",
            "number of parameters",
            f"{paper:,}",
            f"{ours:,}",
            words,
            Verdict.of(same),
            "" if same else "three 5x5 kernels from one channel to one have that many: a misprint",
        )


def no_embedding_claims(name, report):
    """Figs 1 and 2: what an image itself decodes to."""
    unet = next((r for r in report["table1"] if r["network"] == "unet"), None) if report else None
    for key, item, statement, figure in (
        ("x", "Fig. 1", "an image is no embedding of itself", "fig01_images_as_latents.png"),
        ("faint", "Fig. 2", "nor is 0.02 times it", "fig02_faint_images_as_latents.png"),
        ("noisy", "Fig. 2", "nor that with noise", "fig02_faint_images_as_latents.png"),
    ):
        if unet is None:
            command = f"python -m experiments.{name}"
            yield not_measured(item, statement, "other images", name, command)
            continue
        error = report["no_embeddings"][key]
        yield Claim(
            item,
            statement,
            "other images",
            f"error {number(error, 4)}, {error / unet['mse']:.0f} times that of the U-Net",
            f"{name}, 64 test images",
            Verdict.of(error > 10 * unet["mse"]),
            figure=f"{name}/{figure}",
        )


def edit_claims(name, contents):
    """Fig. 5: edited images are projected to images like the data."""
    statement = "a sketched edit is blended in"
    if "edit" not in (contents or {}):
        command = f"python -m experiments.{name} project"
        yield not_measured("Fig. 5", statement, "a figure", name, command)
        return
    best = min(contents["projections"], key=lambda row: row["free_mse"]["mean"])
    before, after = contents["edit"]["free_mse"], best["free_mse"]
    yield Claim(
        "Fig. 5",
        statement,
        "a figure, of faces",
        f"error under the edit {interval(before, 4)} before, {interval(after, 4)} after "
        f"({best['name']})",
        f"{name}, {contents['images']} test images with lines drawn on them",
        Verdict.of(falls(before, after)),
        "lines, not moustaches",
        f"{name}/fig05_projection.png",
    )


def portrait_claims(contents):
    """Fig. 4: how well a network that has learnt photographs embeds paintings."""
    item, statement = "Fig. 4", "a painted portrait becomes a photograph"
    errors = (contents or {}).get("network_mse")
    if not errors:
        why = "minutes, with weights of faces: python -m experiments.paper"
        yield not_measured(item, statement, "a figure", "celeba", why)
        return
    before, after = errors["edited"], errors["network"]
    yield Claim(
        item,
        statement,
        "a figure",
        f"U-Net's error {interval(before, 5)} on paintings, {interval(after, 5)} on what it makes "
        "of them",
        f"{contents['images']} paintings",
        Verdict.of(falls(before, after)),
        "judged by a network that has learnt photographs alone; it makes them smoother, too: see "
        "the figure",
        "celeba/fig04_projection.png",
    )


def invariance_verdict(comparison):
    """Returns the verdict on "two to three orders of magnitude", by the ratio's 95% interval."""
    return Verdict.of(comparison["interval"][0] >= 100)


def invariance_claims(name, contents):
    """Fig. 10: the same latents, other networks."""
    statement = "networks agree on the image of given latents"
    paper = "distances 100 to 1,000 times less than of random images"
    if contents is None:
        why = f"an hour: python -m experiments.{name} invariance"
        yield not_measured("Fig. 10", statement, paper, name, why)
        return
    low, high = contents["all"]["interval"]
    verdict = invariance_verdict(contents["all"])
    by_images = [
        f"{number(row['ratio'], 1)} after {row['images']:,}" for row in contents["training"]
    ]
    by_steps = [
        f"{number(row['ratio'], 1)} in {row['num_steps']}" for row in contents["sampler_steps"]
    ]
    curves = (
        f"the small networks {', '.join(by_images)} training images; all of them "
        f"{', '.join(by_steps)} sampler steps"
    )
    yield Claim(
        "Fig. 10",
        statement,
        paper,
        f"{contents['all']['ratio']:.1f} times ({low:.1f} to {high:.1f})",
        f"{name}, {len(contents['names'])} networks, {contents['latents']} latents",
        verdict,
        "" if verdict is Verdict.REPRODUCED else curves,
        f"{name}/invariance.png",
    )


def structure_claims(name, contents):
    """Secs 5.1 and 5.1.1, Figs 11 to 14: the cloud of latents of one image."""
    item = "Sec. 5.1, Figs 11-14"
    if contents is None:
        why = f"hours: python -m experiments.{name} structure"
        yield not_measured(item, "the cloud of latents of one image", "several", name, why)
        return
    data = f"{name}, {contents['found']['within_tolerance']:,} latents of one image"
    for claim in cloud_claims(contents):
        yield Claim(item, data=data, figure=f"{name}/fig14_components.png", **claim)


def interpolation_claims(name, contents):
    """Fig. 19: interpolation in latents and in pixels."""
    item = "Sec. 5.3, Fig. 19"
    statement = "ways in latents stay among images, a cross-fade does not"
    if contents is None or not contents["several"]:
        command = f"python -m experiments.{name} interpolate"
        yield not_measured(item, statement, "a figure", name, command)
        return
    errors = {kind: row["middle_network_mse"] for kind, row in contents["several"].items()}
    yield Claim(
        item,
        statement,
        "a figure, of faces",
        "U-Net's error on the middle frame: "
        + ", ".join(f"{kind} {interval(error, 5)}" for kind, error in errors.items()),
        f"{name}, {contents['ways']} pairs of test images",
        Verdict.of(falls(errors["pixels"], errors["linear"])),
        figure=f"{name}/fig19_interpolation.png",
    )
