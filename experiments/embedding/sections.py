"""Tables of the verbs' results, for the terminal and for the page of an experiment."""

from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, interval, number, of


def report_tables(report):
    """Tables of `report.json`: "table1", "table2"; "bands", "denoiser", "frechet" if measured."""
    paper = report["config"]["paper_table2"] or (None, None)
    tables = {
        "table1": Table(
            "Table 1: reconstruction error of each network",
            (
                "network", "parameters", "ours, 95% interval", "paper", "ours / paper", "PSNR, dB",
                "SSIM", "ms per image",
            ),
            [
                (
                    row["network"],
                    number(row["parameters"], 0),
                    of(row, "mse", 5),
                    number(row["paper_mse"], 5),
                    _ratio(row["mse"], row["paper_mse"]),
                    number(row["psnr"], 2),
                    number(row["ssim"], 3),
                    number(1000 * row["seconds_per_image"], 2),
                )
                for row in report["table1"]
            ],
        ),
        "table2": Table(
            "Table 2: real images and generated ones, embedded by the U-Net",
            ("images", "ours, 95% interval", "paper", "ours / paper"),
            [
                (
                    words,
                    of(report["table2"], key, 5),
                    number(theirs, 5),
                    _ratio(report["table2"][key], theirs),
                )
                for words, key, theirs in (
                    ("images of the data set", "dataset", paper[0]),
                    ("generated images", "generated", paper[1]),
                )
            ],
        ),
    }  # fmt: skip
    if bands := report["table2"].get("bands"):
        words = ("coarse structure", *("",) * (len(bands["dataset"]) - 2), "the finest texture")
        tables["bands"] = Table(
            "Table 2 by spatial frequency: parts of the error",
            ("", "images of the data set", "generated images", "ratio"),
            [
                (band, number(real, 6), number(generated, 6), _ratio(generated, real))
                for band, real, generated in zip(words, *bands.values(), strict=True)
            ],
        )
    if denoiser := report.get("denoiser"):
        tables["denoiser"] = Table(
            "The denoiser, step by step",
            ("step", "signal rate", "error of the predicted image, 95% interval"),
            [
                (step, number(level["signal"], 3), of(level, "mse", 4))
                for step, level in enumerate(denoiser["levels"], start=1)
            ],
        )
    if frechet := report.get("frechet"):
        half_widths = frechet.get("reconstructed_interval", {})
        tables["frechet"] = Table(
            "Frechet distance from the images of the data set",
            ("images", "distance, 95% interval"),
            [
                ("other images of the data set", of(frechet, "data", 3)),
                ("generated images", of(frechet, "generated", 3)),
                *(
                    (
                        f"reconstructed by {network}",
                        interval({"mean": distance, "interval": half_widths.get(network)}, 3),
                    )
                    for network, distance in frechet["reconstructed"].items()
                ),
            ],
        )
    return tables


def _ratio(ours, paper):
    return "-" if ours is None or paper is None else f"{ours / paper:.2f}"


def structure_tables(contents):
    """The table "claims" of `structure.json`."""
    columns = ("statement", "paper", "ours", "verdict", "why")
    rows = [[row.get(column, "") for column in columns] for row in contents["verdicts"]]
    return {"claims": Table("The paper's claims", columns, rows, kind="words")}


def invariance_tables(contents):
    """Tables of `invariance.json`: "networks" and "exact"."""

    def row(words, ratio):
        low, high = ratio["interval"]
        return words, number(ratio["ratio"], 1), f"{number(low, 1)} to {number(high, 1)}"

    networks = [
        row("all networks, trained", contents["all"]),
        *(row(f"after {r['images']:,} training images", r) for r in contents["training"]),
        *(row(f"{r['num_steps']} sampler steps", r) for r in contents["sampler_steps"]),
    ]
    exact = [row(name, ratio) for name, ratio in contents["exact"].items()]
    header = ("", "ratio", "95% interval")
    words = f"Compared with the exact denoiser of {contents['few']} images"
    return {
        "networks": Table("Images of the same latents by several networks", header, networks),
        "exact": Table(words, header, exact),
    }


def interpolation_tables(contents):
    """Tables of `interpolate.json`: "shown", and "several" if measured."""
    tables = {
        "shown": Table(
            "Interpolation",
            ("kind", "path length, 95% interval", "largest step", "U-Net's largest error"),
            [
                (
                    kind,
                    interval(way["path_length"], 2),
                    number(100 * way["largest_share"], 0) + "%",
                    number(way["network_mse"] and max(way["network_mse"]), 5),
                )
                for kind, way in contents["shown"].items()
            ],
        )
    }
    if contents["several"]:
        tables["several"] = Table(
            f"{contents['ways']} pairs of test images",
            ("kind", "path length", "median", "U-Net's error in the middle"),
            [
                (
                    kind,
                    interval(way["path_length"], 2),
                    number(way["path_length_median"], 2),
                    interval(way["middle_network_mse"], 5),
                )
                for kind, way in contents["several"].items()
            ],
        )
    return tables


def projection_tables(contents):
    """The table "projections" of `project.json` or `project_files.json`."""
    names = {
        "edited": "as given",
        "network": "U-Net",
        "whole": contents["method"],
        "masked": "the same, with the mask",
    }
    digits = {"held_mse": 6, "free_mse": 4, "lpips": 4, "latents_std": 3}
    rows = [
        (
            names[row["name"]],
            *(interval(row.get(key), count) for key, count in digits.items()),
            number(row.get("evaluations"), 0),
            interval(contents.get("network_mse", {}).get(row["name"]), 5),
        )
        for row in [{"name": "edited"} | contents.get("edit", {}), *contents["projections"]]
    ]
    header = (
        "projection", "error outside the mask", "error under the mask", "LPIPS",
        "deviation of latents", "evaluations", "U-Net's error on it",
    )  # fmt: skip
    words = f"Projections of {contents['images']} images by {contents['method']}"
    return {"projections": Table(words, header, rows)}


def directions_tables(contents):
    """The table "directions" of `directions.json`."""

    def cell(row, key, digits):
        effect, control = (interval(row[name].get(key), digits) for name in ("effect", "control"))
        return f"{effect} ({control})" if row["effect"].get(key) else "-"

    digits = {"probability": 2, "lpips": 3, "mse": 4}
    rows = [
        (
            f"{row['kind']} {row['name']}",
            f"{row['value']:.3g}",
            *(cell(row, key, count) for key, count in digits.items()),
        )
        for row in contents["directions"]
    ]
    words = f"Steps of {contents['length']:.1f} (and random steps of the same length)"
    header = ("direction", "value", "class probability", "LPIPS", "mean squared change")
    return {"directions": Table(words, header, rows)}


def _section(file, tables, *figures):
    names = tuple(f"{name}.png" for name in figures)
    return Section(f"{file}.json", names, f"embedding/templates/{file}.html", tables)


REPORT = _section(
    "report", report_tables, "fig01_images_as_latents", "fig02_faint_images_as_latents",
    "fig03_embedding", "fig15_networks", "fig16_examples", "fig17_generated", "samples",
)  # fmt: skip
STRUCTURE = _section(
    "structure", structure_tables, "fig11_cloud", "fig12_combinations", "fig13_running_means",
    "fig14_components", "cloud_jacobian",
)  # fmt: skip
INVARIANCE = _section("invariance", invariance_tables, "fig10_networks", "invariance")
INTERPOLATION = _section("interpolate", interpolation_tables, "fig19_interpolation")
PROJECTION = _section("project", projection_tables, "fig05_projection")
PROJECTION_OF_FILES = _section("project_files", projection_tables, "fig04_projection")
DIRECTIONS = _section(
    "directions", directions_tables, "directions_class", "directions_principal",
    "directions_first_layer",
)  # fmt: skip
