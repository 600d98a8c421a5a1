"""The HTML page of a report: one file beside its figures, which needs no network."""

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
    "samples.png": ("Samples", "Generated from Gaussian latents; not selected."),
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
figure { margin: 1.5rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; padding: .7rem; }
"""


def write_page(folder, command=None):
    """Writes `index.html`, which shows `report.json` and every other result in a folder.

    Args:
        folder: holds `report.json` and the figures.
        command: what made them.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    report = json.loads((folder / "report.json").read_text())
    title = f"Embedding {report['dataset']}"
    body = [
        f"<h1>{_text(title)}</h1>",
        f"<p class=faint>Latents for {report['images']:,} test images, decoded in "
        f"{report['config']['num_steps']} steps. All errors are mean squared errors of pixels in "
        "[0, 1].</p>",
        *_table1(report),
        *_table2(report),
        *_figures(folder),
        *_other_results(folder),
        *_how(report, command),
    ]
    path = folder / "index.html"
    with results.replacing(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(body)
            + "\n</body>\n</html>\n",
            encoding="utf-8",
        )
    return path


def number(value, digits):
    """A number with so many decimals; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _text(value):
    return html.escape(str(value))


def _table(header, rows, kind="numbers"):
    """Rows of cells, all of them escaped here."""

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [line("th", header)] if header else []
    lines += [line("td", row) for row in rows]
    return [f'<div class=scroll><table class="{kind}">', *lines, "</table></div>"]


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
        "embedding, ms per image",
    )  # fmt: skip
    return ["<h2>Table 1: reconstruction error of each network</h2>", *_table(header, rows)]


def _table2(report):
    paper = report["config"]["paper_table2"] or (None, None)
    names = ("images of the data set", "generated images")
    rows = [
        (name, number(ours, 5), number(theirs, 5), _ratio(ours, theirs))
        for name, ours, theirs in zip(names, report["table2"].values(), paper, strict=True)
    ]
    return [
        "<h2>Table 2: real images and generated ones, embedded by the U-Net</h2>",
        *_table(("images", "ours", "paper", "ours / paper"), rows),
    ]


def _figures(folder):
    known = [name for name in CAPTIONS if (folder / name).exists()]
    others = sorted({path.name for path in folder.glob("[!.]*.png")} - set(known))
    for name in known + others:
        heading, caption = CAPTIONS.get(name, (Path(name).stem, ""))
        yield (
            f'<h2>{_text(heading)}</h2>\n<figure><img src="{_text(name)}" alt="{_text(heading)}">'
            f"<figcaption>{_text(caption)}</figcaption></figure>"
        )


def _other_results(folder):
    for path in sorted(folder.glob("[!.]*.json")):
        if path.name != "report.json":
            contents = _text(path.read_text(errors="replace"))
            yield f"<details><summary>{_text(path.name)}</summary><pre>{contents}</pre></details>"


def _how(report, command):
    rows = [
        ("command", command or "-"),
        ("seed", report["seed"]),
        ("commit", report["commit"] or "not a checkout"),
        *report["versions"].items(),
    ]
    config = _text(json.dumps(report["config"], indent=2))
    return [
        "<h2>How it was made</h2>",
        *_table((), rows, kind="how"),
        f"<details><summary>Configuration</summary><pre>{config}</pre></details>",
        '<p>The numbers are in <a href="report.json">report.json</a>.</p>',
    ]
