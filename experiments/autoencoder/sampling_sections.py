"""Tables of what the verbs that sample semantic vectors wrote."""

from experiments.autoencoder import published
from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, interval, number


def prior_tables(contents):
    """Tables of `priors.json`: "distances" and, if it was made, "ablation"."""
    found = contents["distances"]

    def near(name):
        half_width = found.get("nearest_interval", {}).get(name)
        return interval({"mean": found["nearest"].get(name), "interval": half_width}, 3)

    tables = {
        "distances": Table(
            f"Semantic vectors: distance from those of {contents['test_images']} test images",
            ("vectors", "Frechet distance", "nearest training vector"),
            [
                ("samples of the prior", interval(found["prior"], 3), near("prior")),
                ("samples of a fitted Gaussian", interval(found["gaussian"], 3), near("gaussian")),
                ("training images", interval(found["training"], 3), "0"),
                ("test images", "0", "1"),
            ],
        )
    }
    if contents["ablation"]:
        tables["ablation"] = Table(
            f"Appendix A.1: priors after at most {contents['options']['ablation_steps']} steps",
            ("prior", "weights", "Frechet distance", "best step", "the paper's FID"),
            [
                (
                    row["name"],
                    number(row["parameters"], 0),
                    interval(row["frechet"], 3),
                    number(row["best_step"], 0),
                    number(paper, 2),
                )
                for row, paper in zip(contents["ablation"], published.ABLATION, strict=True)
            ],
        )
    return tables


def sample_tables(contents):
    """The table of `sample-semantic.json`, "table4"."""
    table = Table(
        f"Table 4: Frechet distance of {contents['images']} samples from "
        f"{contents['references']} training images, {contents['features']}",
        ("model", "steps", "of the prior", "Frechet distance", "the paper's FID"),
        [
            (
                row["model"],
                number(row["num_steps"], 0),
                number(row["prior_steps"], 0),
                interval(row["frechet"], 3),
                number(published.TABLE4.get(row["model"], {}).get(row["num_steps"]), 2),
            )
            for row in contents["rows"]
        ]
        + [("held-out images", "-", "-", interval(contents["floor"], 3), "-")],
    )
    return {"table4": table}


def class_tables(contents):
    """The table of `sample-classes.json`, "table3"."""
    table = Table(
        f"Table 3: Frechet distance of {contents['images']} samples of a class from its test "
        f"images, {contents['features']}, {contents['num_steps']} steps",
        (
            "class", "labels", "share", "test images", "ours", "no classifier", "training images",
            "acceptance", "AUROC", "the paper's FID", "D2C's", "of all images",
        ),
        [
            (
                row["class"],
                row["scenario"],
                number(row["share"], 3),
                number(row["held"], 0),
                *(interval(row[key], 3) for key in ("frechet", "naive", "training")),
                *(interval(row[key], 3) for key in ("acceptance", "auroc")),
                *(
                    number(value, 2)
                    for value in published.TABLE3.get(
                        (row["scenario"], row["class"]), (None, None, None)
                    )
                ),
            )
            for row in contents["rows"]
        ],
    )  # fmt: skip
    return {"table3": table}


TRAINING = Section(
    "train-prior.json",
    ("train-prior.png",),
    "autoencoder/templates/train_prior.html",
    lambda contents: {},
)
PRIORS = Section(
    "priors.json",
    ("priors.png",),
    "autoencoder/templates/priors.html",
    prior_tables,
)
SAMPLES = Section(
    "sample-semantic.json",
    ("fig20_samples.png", "samples_by_steps.png", "sample-semantic.png"),
    "autoencoder/templates/sample_semantic.html",
    sample_tables,
)
CLASSES = Section(
    "sample-classes.json",
    ("fig18_19_classes.png", "classes_binary.png"),
    "autoencoder/templates/sample_classes.html",
    class_tables,
)
