"""Tables of the verbs' results, for the terminal and for the page of an experiment."""

from experiments.autoencoder import published
from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table, interval, number

_ERRORS = {"ssim": 3, "padded_ssim": 3, "lpips": 4, "mse": 6}
# Those of vectors alone, which are larger; and what an autoencoder was trained with.
_ALONE = {"ssim": 3, "lpips": 4, "mse": 5}
_SPENT = "semantic_dims", "parameters", "steps", "seconds"


def _errors(row):
    return [interval(row[name], digits) for name, digits in _ERRORS.items()]


def _quoted(errors):
    ssim, lpips, mse = errors
    return ["-", number(ssim, 3), number(lpips, 3), number(mse, 6)]


def autoencode_tables(contents):
    """Tables of `autoencode.json`: "table1", "table2", "collapse", "predictions", "unfamiliar"."""
    words = "SSIM", "SSIM, zero-padded", "LPIPS", "mean squared error"
    steps = contents["num_steps"]
    table1 = Table(
        f"Table 1: {contents['images']} images to codes and back, {steps} steps, 95% intervals",
        ("model", "code", *words, "evaluations, encoding", "decoding", "deviation of latents"),
        [
            (
                row["model"] + (f", {row['latents']}" if row["latents"] else ""),
                number(row["code"], 0),
                *_errors(row),
                number(row["encoding"], 0),
                number(row["decoding"], 0),
                interval(row["latents_std"], 3),
            )
            for row in contents["table1"]
        ]
        + [
            (f"the paper: {name}", number(code, 0), *_quoted(errors), "-", "-", "-")
            for name, code, *errors in published.TABLE1
        ],
    )
    table2 = Table(
        "Table 2: naive inversion and back, by number of steps",
        (
            "model", "steps", *words, "less than DDIM's by", "deviation of latents",
            "the paper's SSIM", "LPIPS", "MSE",
        ),
        [
            (
                row["model"],
                number(row["num_steps"], 0),
                *_errors(row),
                "-" if row["model"] == "DDIM" else interval(row["gain"], 6),
                interval(row["latents_std"], 3),
                *_quoted(published.TABLE2[row["model"]].get(row["num_steps"], [None] * 3))[1:],
            )
            for row in contents["table2"]
        ],
    )  # fmt: skip
    names = ("own", "other", "unconditional", "gain")
    collapse = Table(
        "Error of the predicted image, of the data's variance; the mean image: "
        + number(contents["collapse"]["mean_image"], 4),
        ("signal rate", "own vector", "another image's", "no vector", "another's - own"),
        [
            (number(level["signal"], 3), *(interval(level[name], 4) for name in names))
            for level in contents["collapse"]["levels"]
        ],
    )
    predictions = Table(
        "Figure 6: error of the image predicted on the way from inferred latents",
        ("signal rate", "DDIM", "ours", "DDIM - ours"),
        [
            (
                number(level["signal"], 3),
                *(interval(level[name], 5) for name in ("DDIM", "ours", "gain")),
            )
            for level in contents["predictions"]
        ],
    )
    unfamiliar = Table(
        "Figures 11 and 12: images beyond the data",
        ("images", "mean squared error", "deviation of latents", "correlation of neighbours"),
        [
            (
                row["images"],
                interval(row["mse"], 6),
                interval(row["latents_std"], 3),
                interval(row["correlation"], 3),
            )
            for row in contents["noise_maps"]
        ],
    )
    return {
        "table1": table1,
        "table2": table2,
        "collapse": collapse,
        "predictions": predictions,
        "unfamiliar": unfamiliar,
    }


def comparison_tables(contents):
    """The table of `compare-autoencoders.json`, "sizes"."""
    table = Table(
        f"Table 2 b to e: {contents['images']} images from their vectors alone, 95% intervals",
        (
            "decoder", "vector", "weights", "training steps", "seconds", "denoising error",
            "in one step", "random latents, steps", "SSIM", "LPIPS", "mean squared error",
            "the paper's LPIPS", "MSE",
        ),
        [
            (
                row["decoder"],
                *(number(row[key], 0) for key in _SPENT),
                interval(row["denoising"], 4),
                interval(row["one_step"]["mse"], 5),
                number(each["num_steps"], 0),
                *(interval(each[key], digits) for key, digits in _ALONE.items()),
                *(number(value, 3) for value in _published_size(row, each)[1:]),
            )
            for row in contents["rows"]
            for each in row["random"]
        ],
    )  # fmt: skip
    return {"sizes": table}


def throughput_tables(contents):
    """Tables of `throughput.json`: "configuration", "networks", "throughput"."""
    ours = _configuration(contents["records"])
    configuration = Table(
        "Tables 5 and 6: configuration and budget",
        ("", "ours", "the paper, CelebA"),
        [(name, ours.get(name, "-"), paper) for name, paper in published.TABLE5_6.items()],
    )
    networks = Table(
        "Multiplications in one evaluation of one image",
        ("network", "millions"),
        [(name, number(count / 1e6, 1)) for name, count in contents["multiply_adds"].items()],
    )
    rows = [
        (
            f"{name}, batches of {contents['batch_size']}",
            *(interval(speeds[key], 2) for key in ("DDIM", "ours", "ratio")),
        )
        for name, speeds in contents["throughput"].items()
    ] + [
        (f"the paper: training, {name}", number(ddim, 2), number(ours, 2), number(ours / ddim, 2))
        for name, (ddim, ours) in published.TABLE7.items()
    ]
    throughput = Table(
        f"Table 7: images a second, in turns; training in {contents['precision']}, decoding in "
        f"{contents['num_steps']} steps",
        ("", "DDIM", "ours", "ratio"),
        rows,
    )
    return {"configuration": configuration, "networks": networks, "throughput": throughput}


def _configuration(records):
    """The rows of Tables 5 and 6 of what is recorded: a dict of words."""
    sizes, budget = records["autoencoder"]["config"], records["autoencoder"]["budget"]
    height, width, _ = sizes["image_shape"]

    def listed(numbers):
        return ", ".join(map(str, numbers))

    adaptive = sizes["decoder"] == "adaptive"
    ours = {
        "image": f"{height}x{width}",
        "decoder, channels": listed(sizes["widths"]),
        "encoder, channels": listed(sizes["encoder_widths"]),
        "attention at": ", ".join(f"{size}x{size}" for size in sizes["attention_resolutions"])
        + (" (encoder)" if not adaptive else ""),
        "semantic vector": number(sizes["semantic_dims"], 0),
        "predicts": sizes["prediction"],
        "schedule": sizes["schedule"],
    }
    if "images_seen" in budget:
        seen = budget["images_seen"] + budget.get("encoder_steps", 0) * budget["batch_size"]
        ours |= {
            "images trained": number(seen, 0),
            "batch": number(budget["batch_size"], 0),
            "loss": budget["loss"],
        }
        generator = records["generator"]["budget"]
        if not adaptive and "images_seen" in generator:
            ours["images trained"] += (
                f", after the generator's {number(generator['images_seen'], 0)}"
            )
    if prior := records.get("prior"):
        sizes, budget = prior["config"], prior["budget"]
        ours |= {
            "prior, layers": number(sizes["depth"], 0),
            "prior, width": number(sizes["hidden"], 0),
            "prior, schedule": sizes["schedule"],
        }
        if "batch_size" in budget:
            ours |= {
                "prior, vectors trained": number(budget["steps"] * budget["batch_size"], 0),
                "prior, batch": number(budget["batch_size"], 0),
                "prior, loss": budget["loss"],
            }
    return ours


def _published_size(row, errors):
    """The paper's numbers of a length of the vector, which it gives by the number of steps."""
    few = errors["num_steps"] == 10
    return published.TABLE2_DIMS.get(row["semantic_dims"] if few else None, [None] * 3)


AUTOENCODE = Section(
    "autoencode.json",
    (
        "reconstructions.png", "fig03_variations.png", "fig06_predicted.png", "fig11_shifted.png",
        "fig12_other_data.png", "autoencode.png",
    ),
    "autoencoder/templates/autoencode.html",
    autoencode_tables,
)  # fmt: skip
COMPARISON = Section(
    "compare-autoencoders.json",
    ("compare-autoencoders.png",),
    "autoencoder/templates/compare_autoencoders.html",
    comparison_tables,
)
THROUGHPUT = Section(
    "throughput.json",
    (),
    "autoencoder/templates/throughput.html",
    throughput_tables,
)
