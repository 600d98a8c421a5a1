"""What a page says of the verbs that edit images: `interpolate`, `project`, `directions`."""

from experiments.toolkit.markup import Section, heading, interval, number, paragraph, table


def _interpolation(contents):
    errors = " and ".join(number(value, 6) for value in contents["mse"])
    ways = contents["shown"].items()
    rows = [
        (
            kind,
            interval(way["path_length"], 2),
            number(100 * way["largest_share"], 0) + "%",
            number(way["network_mse"] and max(way["network_mse"]), 5),
        )
        for kind, way in ways
    ]
    pieces = [
        heading("Interpolation"),
        paragraph(
            f"Embedded by {contents['method']}, with mean squared errors {errors}. The perceptual "
            "path length is a mean square of speed: it tells smooth ways from abrupt ones. The "
            "U-Net, which has learnt images only, fails to embed a frame that is none."
        ),
        table(("way", "path length, 95% interval", "largest step", "U-Net's largest error"), rows),
    ]
    if contents["several"]:
        rows = [
            (
                kind,
                interval(way["path_length"], 2),
                number(way["path_length_median"], 2),
                interval(way["middle_network_mse"], 5),
            )
            for kind, way in contents["several"].items()
        ]
        pieces += [
            paragraph(
                f"The same of {contents['ways']} pairs of test images, embedded by the U-Net:"
            ),
            table(("ways", "path length", "median", "U-Net's error in the middle"), rows),
        ]
    return pieces


def _projection(contents):
    return [
        heading("Projection of edited images"),
        paragraph(
            "Where held, the error is that of the edited image; under the mask, and in LPIPS, that "
            "of the image before it was edited, which no method has seen. " + _LIKENESS
        ),
        _ways_to_project(contents, {"name": "edited", **contents["edit"]}),
    ]


def _reification(contents):
    files = ", ".join(contents["options"]["files"])
    return [
        heading("Projection of your images"),
        paragraph(f"{files}. {_LIKENESS}"),
        _ways_to_project(contents, {"name": "edited"}),
    ]


def _ways_to_project(contents, edited):
    names = {
        "edited": "as they came",
        "network": "U-Net",
        "whole": contents["method"],
        "masked": "the same, with the mask",
    }
    header = (
        "projection", "error where held", "error under the mask", "LPIPS",
        "deviation of latents", "evaluations", "U-Net's error on it",
    )  # fmt: skip
    digits = {"held_mse": 6, "free_mse": 4, "lpips": 4, "latents_std": 3}
    rows = [
        (
            names[row["name"]],
            *(interval(row.get(key), count) for key, count in digits.items()),
            number(row.get("evaluations"), 0),
            interval(contents.get("network_mse", {}).get(row["name"]), 5),
        )
        for row in [edited, *contents["projections"]]
    ]
    return table(header, rows)


def _directions(contents):
    def cell(row, key, digits):
        effect, control = (interval(row[name].get(key), digits) for name in ("effect", "control"))
        return f"{effect} ({control})" if row["effect"].get(key) else "-"

    rows = [
        (
            f"{row['kind']} {row['name']}",
            f"{row['value']:.3g}",
            *(
                cell(row, key, digits)
                for key, digits in (("probability", 2), ("lpips", 3), ("mse", 4))
            ),
        )
        for row in contents["directions"]
    ]
    return [
        heading("Directions in latents"),
        paragraph(
            f"Found in the U-Net's latents of {contents['images']} images, tried on "
            f"{contents['edited']} others: steps of length {number(contents['length'], 1)}, and in "
            "brackets what random steps of that length do. The value is the accuracy of a class's "
            "plane on latents left out (0.5 by chance), the variance of a component, or a singular "
            "value."
        ),
        table(("direction", "value", "class probability", "LPIPS", "mean squared change"), rows),
    ]


_LIKENESS = (
    "The U-Net's error is that of embedding the result once more, clipped: it has learnt images of "
    "its data only, and fails to embed what is none."
)
_INTERPOLATION_FIGURES = {
    "fig19_interpolation.png": (
        "Figure 19: from one image to another",
        "A cross-fade of the two images; latents on the straight line between theirs, and what "
        "they decode to; latents on the great circle, and what they decode to. Latents are "
        "scaled row by row.",
    ),
    "interpolation.gif": (
        "There and back",
        "The cross-fade on the left, spherical interpolation of latents on the right.",
    ),
}
_PROJECTION_WORDS = (
    "The U-Net has learnt images only, and blends in what it does not know; a descent "
    "finds latents for the edit as well. With a mask only what was not edited is held to "
    "the image."
)
_PROJECTION_FIGURES = {
    "fig05_projection.png": (
        "Figure 5: edited images, taken to the nearest generated ones",
        _PROJECTION_WORDS,
    )
}
_REIFICATION_FIGURES = {
    "fig04_projection.png": (
        "Figure 4: your images, taken to the nearest generated ones",
        _PROJECTION_WORDS,
    )
}
_DIRECTIONS_FIGURES = {
    "directions_class.png": (
        "Directions of classes",
        "One image, moved along the normal of a plane between a class and all others; the "
        "number is the class. The middle column is the image as it is.",
    ),
    "directions_principal.png": (
        "Principal directions",
        "The same image along the principal components of the latents of the data set, the "
        "widest first.",
    ),
    "directions_first_layer.png": (
        "Directions of the denoiser's first layer",
        "The same image along the singular vectors of the linear map from latents to the first "
        "nonlinearity (SeFa). The layer is a convolution: they are waves across the image, and "
        "move it far, but not from one attribute to another.",
    ),
}

INTERPOLATION = Section("interpolate.json", _interpolation, _INTERPOLATION_FIGURES)
PROJECTION = Section("project.json", _projection, _PROJECTION_FIGURES)
REIFICATION = Section("project_files.json", _reification, _REIFICATION_FIGURES)
DIRECTIONS = Section("directions.json", _directions, _DIRECTIONS_FIGURES)
