"""Tables of the verbs of attributes, edits and codes, for the terminal and for a page."""

from experiments.autoencoder import published
from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, interval, number, of

# How `manipulate` moves a code: to the median logit of positives along a classifier's normal
# (Eq. 11) and along its pattern, and by a fixed step.
WAYS = ("median", "pattern", "fixed")

_MEASURES = "auroc", "average_precision", "balanced_accuracy"


def bounds(found, digits=3):
    """Formats a value and its interval, (low, high): a dict of `value` or `macro` as well."""
    value = found["macro"] if "macro" in found else found["value"]
    low, high = found["interval"]
    if value is None or low is None:
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def attributes_tables(contents):
    """Tables of `attributes.json`: "macro" and "each"."""
    macro = Table(
        f"Table 8: linear classifiers of attributes, {contents['images']} test images; macro "
        f"averages of those with at least {contents['least']} positives, 95% intervals",
        ("from", "training images", "AUROC", "below the vector's, on the same images",
         "average precision", "balanced accuracy", "AUROC by positives"),
        [
            (
                row["name"],
                number(row["training_images"], 0),
                bounds(row["auroc"]),
                bounds(row["behind"]) if "behind" in row else "-",
                *(bounds(row[measure]) for measure in _MEASURES[1:]),
                number(row["weighted_auroc"], 3),
            )
            for row in contents["representations"]
        ]
        + [
            (f"the paper: {name}", "21,000", number(value, 3), "-", "-", "-", number(weighted, 2))
            for name, value, weighted in published.TABLE8_AVERAGES
        ],
    )  # fmt: skip
    others = list(contents["attributes"][0]["others"])
    each = Table(
        "Table 8, each attribute",
        ("attribute", "positives", "AUROC", "average precision", "balanced accuracy", "the paper",
         *others),
        [
            (
                row["name"] + ("" if row["counted"] else " *"),
                number(row["positives"], 0),
                *(bounds(row[measure], 2) for measure in _MEASURES[:2]),
                number(row["balanced_accuracy"]["value"], 2),
                number(published.TABLE8.get(row["name"]), 2),
                *(number(row["others"][name], 2) for name in others),
            )
            for row in contents["attributes"]
        ],
    )  # fmt: skip
    return {"macro": macro, "each": each}


ATTRIBUTES = Section(
    "attributes.json",
    ("attributes.png",),
    "autoencoder/templates/attributes.html",
    attributes_tables,
)


def manipulation_tables(contents):
    """Tables of `manipulate.json`: "judged", "table9" and "table10"."""
    rows = contents["rows"]
    judged = Table(
        f"What a judge, which did not guide the edits, says of images without the attribute "
        f"(Eq. 11 along the normal and along the pattern, against the fixed step of "
        f"{contents['fixed']})",
        ("attribute", "images", "judge's AUROC", "said positive before", "Eq. 11", "pattern",
         "fixed", "others' logits moved: Eq. 11", "pattern", "fixed", "step, Eq. 11", "pattern"),
        [
            (
                row["attribute"],
                number(row["images"], 0),
                number(contents["judge"]["auroc"].get(row["attribute"]), 3),
                interval(row["before"]["positive"], 2),
                *(interval(row[way]["positive"], 2) for way in WAYS),
                *(interval(row[way]["others"], 2) for way in WAYS),
                *(interval(row[way]["strength"], 2) for way in WAYS[:2]),
            )
            for row in rows
        ],
    )  # fmt: skip
    names = "positive_negative", "manipulated_positive", "manipulated_negative", "floor"
    table9 = Table(
        "Table 9: Frechet distances on the judge's features, 95% intervals (the paper: FID)",
        ("attribute", "test, training images", "negative to positive", "manipulated to positive",
         "manipulated to negative", "negative to negative", "the paper: neg-pos", "man-pos",
         "man-neg"),
        [
            (
                row["attribute"],
                ", ".join(f"{n:,}" for n in row["frechet"]["images"]),
                *(of(row["frechet"], name, 2) for name in names),
                *(number(each, 2) for each in published.TABLE9.get(row["attribute"], [None] * 3)),
            )
            for row in rows
            if row["frechet"]
        ],
    )  # fmt: skip

    def identity(row, way, name, digits):
        found = row[way]["identity"]
        return interval(found and found[name], digits)

    others = contents["faces"] and contents["faces"]["others"]
    table10 = Table(
        "Table 10: what an edit leaves of the image"
        + (f"; other people are {interval(others, 2)} apart" if others else ""),
        ("attribute", "distance of faces, Eq. 11", "pattern", "fixed", "cosine, Eq. 11", "pattern",
         "fixed", "LPIPS, Eq. 11", "pattern", "fixed", "the paper's cosine (ArcFace)"),
        [
            (
                row["attribute"],
                *(identity(row, way, "distance", 3) for way in WAYS),
                *(identity(row, way, "cosine", 3) for way in WAYS),
                *(interval(row[way]["lpips"], 4) for way in WAYS),
                number(published.TABLE10.get(row["attribute"]), 3),
            )
            for row in rows
        ],
    )  # fmt: skip
    return {"judged": judged, "table9": table9, "table10": table10}


MANIPULATION = Section(
    "manipulate.json",
    ("fig05_manipulation.png", "manipulation.png"),
    "autoencoder/templates/manipulate.html",
    manipulation_tables,
)


def manipulated_files_tables(contents):
    """Table of `manipulate_files.json`: "files"."""
    table = Table(
        "Your images: logits of their attributes, and how well they are reconstructed",
        ("file", "mean squared error", "deviation of latents", *contents["attributes"]),
        [
            (file, number(mse, 6), number(std, 3), *(number(logit, 2) for logit in logits))
            for file, mse, std, logits in zip(
                *(contents[key] for key in ("files", "mse", "latents_std", "logits")), strict=True
            )
        ],
    )
    return {"files": table}


MANIPULATION_OF_FILES = Section(
    "manipulate_files.json",
    ("manipulate_files.png",),
    "autoencoder/templates/manipulate_files.html",
    manipulated_files_tables,
)


def neighbours_tables(contents):
    """Table of `neighbours.json`: "nearest"."""
    table = Table(
        f"Figure 9: squared distance to the nearest of {contents['training_images']:,} training "
        f"images, {contents['images']} images each",
        ("by", "sampled images", "test images", "sampled ones nearer than any test image"),
        [
            (
                row["metric"],
                interval(row["sampled"], 4),
                interval(row["test"], 4),
                f"{row['copies']:.0%}",
            )
            for row in contents["nearest"]
        ],
    )
    return {"nearest": table}


NEIGHBOURS = Section(
    "neighbours.json",
    ("fig09_neighbours.png",),
    "autoencoder/templates/neighbours.html",
    neighbours_tables,
)


def ratio(found):
    """Formats a ratio and its interval."""
    words = number(found["mean"], 2)
    if found["low"] is None:
        return words
    return f"{words} ({number(found['low'], 2)} to {number(found['high'], 2)})"


def code_interpolation_tables(contents):
    """Tables of `interpolate_codes.json`: "lengths" and "ratios"."""
    lengths = Table(
        f"Perceptual path length, {contents['pairs']} pairs of images",
        ("path", "length", "mean squared error at the ends"),
        [
            (name, interval(length, 1), interval(contents["mse"].get(name), 6))
            for name, length in contents["path_lengths"].items()
        ],
    )
    ratios = Table(
        "Ratios of path lengths, 95% intervals over pairs",
        ("", "here", "the paper"),
        [
            (
                name,
                ratio(found),
                number(published.PATH_LENGTH_RATIO, 2) if name.startswith("DDIM") else "-",
            )
            for name, found in contents["ratios"].items()
        ],
    )
    return {"lengths": lengths, "ratios": ratios}


CODE_INTERPOLATION = Section(
    "interpolate_codes.json",
    ("fig04_codes.png",),
    "autoencoder/templates/interpolate_codes.html",
    code_interpolation_tables,
)


def detection_tables(contents):
    """Table of `detect.json`: "accuracy"."""
    steps = list(dict.fromkeys(row["num_steps"] for row in contents["rows"]))
    kinds = dict.fromkeys(row["kind"] for row in contents["rows"])
    found = {(row["kind"], row["num_steps"]): row["accuracy"] for row in contents["rows"]}
    table = Table(
        f"Accuracy of a detector of generated images (chance: .5), {contents['fakes']} a side",
        ("images", *(f"T = {number(step, 0)}" for step in steps)),
        [(kind, *(interval(found[kind, step], 3) for step in steps)) for kind in kinds]
        + [
            (
                f"the paper: {kind}",
                "; ".join(f"T = {T}: {value:.3f}" for T, value in values.items()),
                *["-"] * (len(steps) - 1),
            )
            for kind, values in published.DETECTION.items()
        ],
    )
    return {"accuracy": table}


DETECTION = Section(
    "detect.json",
    ("detection.png",),
    "autoencoder/templates/detect.html",
    detection_tables,
)
