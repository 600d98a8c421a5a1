"""HTML pages of results: one file beside its figures, which needs no network."""

import html
import json
from pathlib import Path

from experiments import results

# File name -> (heading, caption), in the order of the page.
CAPTIONS = {
    "fig03_embedding.png": (
        "Figure 3: an embedding and what it decodes to",
        "Test images, the latents that the U-Net finds for them in one evaluation, and what the "
        "generator makes of these latents.",
    ),
    "fig15_networks.png": (
        "Figure 15: the embedding networks",
        "Test images, and below them the reconstruction from the latents of each network.",
    ),
    "fig16_examples.png": (
        "Figure 16: more examples",
        "Image, latents of the U-Net, reconstruction, and the absolute difference of the two.",
    ),
    "fig01_images_as_latents.png": (
        "Figure 1: an image is no latent of itself",
        "Test images, and what the generator makes of the images themselves as latents.",
    ),
    "fig02_faint_images_as_latents.png": (
        "Figure 2: neither is a faint or a noised one",
        "Test images x; decoded from x at the lowest signal rate; and from that with Gaussian "
        "noise added, as the forward diffusion ends.",
    ),
    "fig17_generated.png": (
        "Figure 17: generated images, embedded",
        "Images that the generator made, latents of the U-Net, reconstruction, and the absolute "
        "difference of the two.",
    ),
    "samples.png": ("Samples", "Generated from Gaussian latents; not selected."),
}
# The same of the verb `compare`.
COMPARE_CAPTIONS = {
    "fig18_refined.png": (
        "Figure 18: the U-Net's latents, refined",
        "Test images; what the U-Net's latents decode to; and what they decode to after 150 "
        "iterations of gradient descent, and of L-BFGS. Errors are means over all images.",
    ),
    "compare_residuals.png": (
        "Where implicit inversion gets to",
        "How far a step of the sampler, taken from the latents found so far, misses the state it "
        "should lead to: the best so far, in model space. A step that is not contractive stays "
        "above; under the paper's convention that of t = 0.1 asks for a least-squares solution, "
        "which a plain iteration need not find. Where an image is not reached, start L-BFGS from "
        "implicit inversion or from the U-Net.",
    ),
}
# The same of the verb `structure`.
CLOUD_CAPTIONS = {
    "fig11_cloud.png": (
        "Figure 11: latents of one image",
        "Members of the cloud, each found from Gaussian latents of its own, and what they decode "
        "to.",
    ),
    "fig12_combinations.png": (
        "Figure 12: random combinations of members",
        "Decoded from convex combinations of all members and of two; from affine ones, which go "
        "past the members; and from samples of the Gaussian with the cloud's mean and covariance.",
    ),
    "fig13_running_means.png": (
        "Figure 13: the mean of more and more members",
        "Means of the first members, each scaled to its own deviation, and what they decode to. "
        "Total variation is what a blur takes away.",
    ),
    "fig14_components.png": (
        "Figure 14: principal components",
        "The variance along each component, beside that of as many Gaussian latents, whose true "
        "variances are all 1, and that of half of the members along the components of the other "
        "half. How much the image changes by a step from the mean, along the component. Walks from "
        "the mean along the widest components, the middle one and the thinnest.",
    ),
    "cloud_jacobian.png": (
        "The shape of the cloud from one linearisation",
        "Singular values of decode's Jacobian at the U-Net's latents (without a U-Net at the best "
        "member); how much the members vary along each singular vector, beside what a linear "
        "decode forecasts, with one number fitted; and walks from there along some of them.",
    ),
}

# The same of the verb `invariance`.
INVARIANCE_CAPTIONS = {
    "fig10_networks.png": (
        "Figure 10: the same latents, other networks",
        "In each column what the networks make of the same latents. Last rows: a network that was "
        "trained on a few images only, the generator of this data set, and the exact denoiser of "
        "those few images.",
    ),
    "invariance.png": (
        "How much closer the same latents' images are than random ones",
        "Mean squared distances, as a ratio, with 95% intervals (a bootstrap over latents). Before "
        "they have learnt anything all networks make the same of latents, though no image: the "
        "ratio falls from there.",
    ),
}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #888; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto;
       padding: 1.5rem 1rem 4rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; } .faint, figcaption { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.how td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.words th, .words td { text-align: left; white-space: normal; vertical-align: top; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; padding: .7rem; }
"""


def write_page(folder):
    """Writes `index.html`, which shows `report.json` and every other result in a folder.

    Args:
        folder: holds the JSON file of at least one verb, and the figures.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    if not (folder / "report.json").exists():
        return _page_without_report(folder)
    report = json.loads((folder / "report.json").read_text())
    title = f"Embedding {report['dataset']}"
    body = [
        paragraph(
            f"Latents for {report['images']:,} test images, decoded in "
            f"{report['config']['num_steps']} steps. All errors are mean squared errors of pixels "
            "in [0, 1].",
            faint=True,
        ),
        *_table1(report),
        *_table2(report),
        *_frechet(report),
        *_comparison(folder),
        *_cloud(folder),
        *_invariance(folder),
        *_edits(folder),
        *_figures(folder),
        *_other_results(folder),
        how(report, report["command"]),
    ]
    return save(folder, title, body)


def save(folder, title, body):
    """Writes a page to `index.html` in a folder.

    Args:
        folder: where the figures are that the page shows.
        title: of the window and the first heading; escaped here.
        body: list of pieces of HTML, as the functions below make them.

    Returns:
        The path of the page.
    """
    path = Path(folder) / "index.html"
    with results.replacing(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            + "\n".join([f"<h1>{_text(title)}</h1>", *body])
            + "\n</body>\n</html>\n",
            encoding="utf-8",
        )
    return path


def heading(words):
    """A heading below that of the page."""
    return f"<h2>{_text(words)}</h2>"


def paragraph(words, faint=False):
    """A paragraph; `faint` for what stands in the background."""
    return f"<p{' class=faint' if faint else ''}>{_text(words)}</p>"


def table(header, rows, kind="numbers"):
    """A table.

    Args:
        header: words above the columns, or none.
        rows: lists of cells: numbers, or words.
        kind: "numbers"; "how", whose second column holds words; or "words", where all do.
    """

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [line("th", header)] if header else []
    lines += [line("td", row) for row in rows]
    return "\n".join([f'<div class=scroll><table class="{kind}">', *lines, "</table></div>"])


def figure(name, title, caption):
    """A heading, the figure of that file name in the page's folder, and its caption."""
    return (
        f'{heading(title)}\n<figure><img src="{_text(name)}" alt="{_text(title)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def how(contents, command=None, file="report.json"):
    """How results were made: command, seed, commit, versions, configuration.

    Args:
        contents: dict of results with `seed`, `commit`, `versions` and `config`, as in `file`.
        command: what made them.
        file: name of the JSON file of the results, beside the page.
    """
    rows = [
        ("command", command or "-"),
        ("seed", contents["seed"]),
        ("commit", contents["commit"] or "not a checkout"),
        *contents["versions"].items(),
    ]
    config = _text(json.dumps(contents["config"], indent=2))
    return "\n".join(
        [
            heading("How it was made"),
            table((), rows, kind="how"),
            f"<details><summary>Configuration</summary><pre>{config}</pre></details>",
            f'<p>The numbers are in <a href="{_text(file)}">{_text(file)}</a>.</p>',
        ]
    )


def number(value, digits):
    """A number with so many decimals; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def interval(estimate, digits):
    """A mean and half of its interval, as a dict of `mean` and `interval`; a dash for None."""
    if estimate is None or estimate["interval"] is None:
        return number(estimate and estimate["mean"], digits)
    return f"{number(estimate['mean'], digits)} \u00b1 {number(estimate['interval'], digits)}"


def _text(value):
    return html.escape(str(value))


def _ratio(ours, paper):
    return "-" if ours is None or paper is None else f"{ours / paper:.2f}"


def _table1(report):
    rows = [
        (
            row["network"],
            number(row["parameters"], 0),
            number(row["mse"], 5),
            number(row["paper_mse"], 5),
            _ratio(row["mse"], row["paper_mse"]),
            number(row["psnr"], 2),
            number(row["ssim"], 3),
            number(1000 * row["seconds_per_image"], 2),
        )
        for row in report["table1"]
    ]
    header = (
        "network", "parameters", "ours", "paper", "ours / paper", "PSNR, dB", "SSIM",
        "ms per image",
    )  # fmt: skip
    return [heading("Table 1: reconstruction error of each network"), table(header, rows)]


def _table2(report):
    paper = report["config"]["paper_table2"] or (None, None)
    names = ("images of the data set", "generated images")
    rows = [
        (
            name,
            number(report["table2"][key], 5),
            number(theirs, 5),
            _ratio(report["table2"][key], theirs),
        )
        for name, key, theirs in zip(names, ("dataset", "generated"), paper, strict=True)
    ]
    return [
        heading("Table 2: real images and generated ones, embedded by the U-Net"),
        table(("images", "ours", "paper", "ours / paper"), rows),
    ]


def _frechet(report):
    found = report.get("frechet")
    if not found:
        return []
    rows = [
        ("other images of the data set", number(found["data"], 3)),
        ("generated images", number(found["generated"], 3)),
        *(
            (f"reconstructed by {network}", number(distance, 3))
            for network, distance in found["reconstructed"].items()
        ),
    ]
    return [
        heading("Frechet distance from the images of the data set"),
        paragraph(
            "On the features of a small classifier of the same data: the formula of the FID, but "
            f"no FID. All sets have {found['images']:,} images; that of other real images is what "
            "a perfect generator would reach.",
            faint=True,
        ),
        table(("images", "distance"), rows),
    ]


def _page_without_report(folder):
    from experiments import editing_page  # which builds on this module

    files = ("compare.json", "structure.json", "invariance.json", *editing_page.FILES)
    file = next(name for name in files if (folder / name).exists())
    contents = json.loads((folder / file).read_text())
    body = [
        *_comparison(folder),
        *_cloud(folder),
        *_invariance(folder),
        *_edits(folder),
        how(contents, contents["command"], file),
    ]
    return save(folder, f"Embedding {contents['dataset']}", body)


def _edits(folder):
    """What the verbs have found that edit images, those that have run."""
    from experiments import editing_page

    return editing_page.sections(folder)


def _comparison(folder):
    """The table and the plot of the verb `compare`, if it has run."""
    path = folder / "compare.json"
    if not path.exists():
        return []
    contents = json.loads(path.read_text())
    rows = [
        (
            row["name"],
            f"{number(row['mse'], 6)} \u00b1 {number(row['mse_interval'], 6)}",
            number(row["evaluations"], 0),
            number(row["seconds_per_image"], 3),
            number(row["psnr"], 2),
            number(row["ssim"], 3),
            number(row["lpips"], 4),
            number(row["latents_std"], 3),
            f"{row['converged']:.0%}",
        )
        for row in sorted(contents["methods"], key=lambda row: row["mse"])
    ]
    header = (
        "method", "mean squared error, 95% interval", "evaluations", "seconds per image",
        "PSNR, dB", "SSIM", "LPIPS", "deviation of latents", "above 30 dB",
    )  # fmt: skip
    extra = [
        table(("", "value"), [(words, number(value, 6)) for words, value in contents[name].items()])
        for name in ("controls",)
        if contents.get(name)
    ]
    return [
        heading(f"Every method on the same {contents['images']} images"),
        table(header, rows),
        *extra,
        figure(
            "compare.png",
            "Error against cost",
            "Lines follow methods that iterate, points are where each ends. An evaluation is one "
            "run of the denoiser; a gradient counts as what it costs. Seconds per image hold for "
            f"batches of 40. Made by: {contents['command']}",
        ),
        *(
            figure(name, *caption)
            for name, caption in COMPARE_CAPTIONS.items()
            if (folder / name).exists()
        ),
    ]


def _cloud(folder):
    """The paper's statements and the figures of the verb `structure`, if it has run."""
    path = folder / "structure.json"
    if not path.exists():
        return []
    contents = json.loads(path.read_text())
    found, mse = contents["found"], contents["mse"]
    rows = [[row[word] for word in ("statement", "paper", "ours", "verdict")] for row in
            contents["verdicts"]]  # fmt: skip
    return [
        heading(f"All latents of one image: {found['within_tolerance']:,} members"),
        paragraph(
            f"Found for image {contents['image']} from Gaussian latents by {contents['method']}. "
            f"Mean squared error {number(mse['mean'], 6)}; {found['converged']:.0%} above 30 dB; "
            f"deviation of the latents {number(contents['latents_std'], 3)}. Made by: "
            f"{contents['command']}"
        ),
        table(("statement", "paper", "ours", "verdict"), rows, kind="words"),
        *(
            figure(name, *caption)
            for name, caption in CLOUD_CAPTIONS.items()
            if (folder / name).exists()
        ),
    ]


def _invariance(folder):
    """How alike networks' images are, of the verb `invariance`, if it has run."""
    path = folder / "invariance.json"
    if not path.exists():
        return []
    contents = json.loads(path.read_text())

    def row(words, found):
        low, high = found["interval"]
        return words, number(found["ratio"], 1), f"{number(low, 1)} to {number(high, 1)}"

    rows = [row("all networks, trained", contents["all"])]
    rows += [row(f"after {r['images']:,} training images", r) for r in contents["training"]]
    rows += [row(f"{r['num_steps']} sampler steps", r) for r in contents["sampler_steps"]]
    exact = [row(name, found) for name, found in contents["exact"].items()]
    header = ("", "ratio", "95% interval")
    return [
        heading(f"Do {len(contents['names'])} networks make the same images?"),
        paragraph(
            "Mean squared distance of random images over that of images of the same latents, "
            f"between networks; {contents['latents']} latents. The paper: two to three orders of "
            f"magnitude; here: {contents['verdict']}. Made by: {contents['command']}"
        ),
        table(header, rows),
        paragraph(
            f"Beside the images of the exact denoiser of {contents['few']} training images, which "
            "memorises them:"
        ),
        table(header, exact),
        *(
            figure(name, *caption)
            for name, caption in INVARIANCE_CAPTIONS.items()
            if (folder / name).exists()
        ),
    ]


def _figures(folder):
    from experiments import editing_page

    known = [name for name in CAPTIONS if (folder / name).exists()]
    edits = {name for captions in editing_page.CAPTIONS.values() for name in captions}
    shown = {*known, "compare.png", *edits}
    shown |= {*COMPARE_CAPTIONS, *CLOUD_CAPTIONS, *INVARIANCE_CAPTIONS}
    others = sorted({path.name for path in folder.glob("[!.]*.png")} - shown)
    for name in known + others:
        yield figure(name, *CAPTIONS.get(name, (Path(name).stem, "")))


def _other_results(folder):
    for path in sorted(folder.glob("[!.]*.json")):
        if path.name != "report.json":
            contents = _text(path.read_text(errors="replace"))
            yield f"<details><summary>{_text(path.name)}</summary><pre>{contents}</pre></details>"
