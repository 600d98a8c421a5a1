"""Tables of `compare.json`, for the terminal and for the page of an experiment."""

from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, number, of


def comparison_tables(contents):
    """Tables of `compare.json`: "methods", by their error, "controls" and "residuals"."""
    digits = {
        "evaluations": 0, "seconds_per_image": 3, "psnr": 2, "ssim": 3, "lpips": 4,
        "latents_std": 3,
    }  # fmt: skip
    methods = Table(
        f"Every method on the same {contents['images']} images",
        (
            "method", "mean squared error, 95% interval", "evaluations", "seconds per image",
            "PSNR, dB", "SSIM", "LPIPS", "deviation of latents", "above 30 dB",
        ),
        [
            (
                row["name"],
                of(row, "mse", 6),
                *(number(row[key], count) for key, count in digits.items()),
                f"{row['converged']:.0%}",
            )
            for row in sorted(contents["methods"], key=lambda row: row["mse"])
        ],
    )  # fmt: skip
    controls = Table(
        "Controls",
        ("", "value"),
        [(words, number(value, 6)) for words, value in contents["controls"].items()],
    )
    steps = next(iter(contents["residuals"].values()))
    residuals = Table(
        "Implicit inversion: share of the images that each step is solved for",
        ("last step", *(f"t = {step['time']:.1f}" for step in steps)),
        [
            (convention, *(f"{step['solved']:.0%}" for step in steps))
            for convention, steps in contents["residuals"].items()
        ],
    )
    return {"methods": methods, "controls": controls, "residuals": residuals}


_FIGURES = "compare.png", "fig18_refined.png", "compare_residuals.png"
COMPARISON = Section(
    "compare.json", _FIGURES, "inversion/templates/compare.html", comparison_tables
)
