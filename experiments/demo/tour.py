"""What each system makes of the images: numbers, a figure, a sentence, and a page of all."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from experiments.fashion_mnist import FASHION_MNIST
from experiments.toolkit import pages, results
from experiments.toolkit.tables import Table, interval, number, show

# Images in each row of a figure.
_SHOWN = 8
# The first is that of the first system, the others of the second: label, name, method.
_METHODS = (
    ("U-Net", "embedding U-Net", "unet"),
    ("naive", "naive DDIM inversion", "ddim_inversion"),
    ("implicit", "implicit inversion", "implicit"),
    ("correction", "U-Net, then defect correction", de.Hybrid("unet", "correction")),
    ("BDIA", "BDIA, for a pair of latents", "bdia"),
)
# The edit of the fourth: labels of sneakers and of ankle boots, and the strengths shown.
_FROM, _TO = 7, 9
_STRENGTHS = (0.5, 1.0)
# Images that its direction is found from; the edited ones are not among them.
_FITTED = 120
# The smoke run decodes in fewer steps.
_SMOKE_STEPS = 2


def report(study):
    """Writes `demo.json`, a figure of each system and `index.html`; prints tables and sentences."""
    options = {"num_steps": _SMOKE_STEPS} if study.smoke else {}
    generator = de.load_generator("fashion_mnist", **options)
    pixels, labels = de.load_images("fashion_mnist", "test", source="sample")
    first = pixels[: study.images]

    with tqdm(total=4, desc="demo", unit="system", disable=not study.progress) as bar:
        embeddings = {}
        for _, name, method in _METHODS[:1]:
            embeddings[name] = de.embed(generator, first, method, seed=study.seed)
        figures = {"embedding.png": _embedding_figure(first, embeddings)}
        bar.update()
        for _, name, method in _METHODS[1:]:
            embeddings[name] = de.embed(generator, first, method, seed=study.seed)
        figures["inversion.png"] = _inversion_figure(first, embeddings)
        bar.update()
        autoencoder = de.load_autoencoder("fashion_mnist", **options)
        codes, figures["autoencoder.png"] = autoencode(autoencoder, first, study.seed)
        bar.update()
        edits, figures["h_space.png"] = edit(generator, pixels, labels, study.images, study.seed)
        bar.update()

    contents = {
        "images": len(first),
        "paper_mse": FASHION_MNIST.paper_mse["unet"],
        "methods": [
            {
                "name": name,
                "mse": results.estimate(embedding.mse),
                "evaluations": float(np.mean(embedding.evaluations)),
                "latents_std": float(np.mean(embedding.latents_std)),
            }
            for name, embedding in embeddings.items()
        ],
        "autoencoder": codes,
        "h_space": edits,
        **results.provenance(study, study.command),
    }
    pages.save_json(study.outputs, "demo.json", contents)
    pages.save_figures(study.outputs, figures)
    tables, sentences = tables_of(contents), sentences_of(contents)
    show(*tables.values(), *sentences.values())
    pages.write(
        study.outputs,
        "demo/templates/demo.html",
        title="Four systems on Fashion-MNIST",
        contents=contents,
        tables=tables,
        sentences=sentences,
    )


def autoencode(autoencoder, pixels, seed):
    """Codes of images and back: numbers, and a figure."""
    code = autoencoder.encode(pixels, method="implicit")
    decoded = code.embedding.reconstruction
    means = np.clip(autoencoder.predict(code.semantic), 0, 1)
    others = np.roll(means, 1, axis=0)  # of the vector of the image before
    shown = code.semantic[:_SHOWN]
    variations = [autoencoder.decode(shown, seed=seed + 1 + each) for each in range(2)]

    def mse(images):
        return results.estimate(de.metrics.mse(pixels, images, padding=autoencoder.padding))

    numbers = {
        "dims": autoencoder.dims,
        "mse": results.estimate(code.embedding.mse),
        "one_step_mse": mse(means),
        "one_step_mse_of_others": mse(others),
    }
    middle = [pixels[:_SHOWN], decoded[:_SHOWN], means[:_SHOWN], *variations]
    names = ["image", "both", "vector alone", "other latents", "other latents"]
    path = de.interpolate(autoencoder, code[:1], code[1:2], num=len(shown))[0]
    return numbers, de.image_grid([*middle, path], [*names, "first to second"])


def edit(generator, pixels, labels, count, seed):
    """Sneakers edited to ankle boots in the h-space: numbers, and a figure."""
    edited = np.flatnonzero(labels == _FROM)[:count]
    others = np.setdiff1d(np.flatnonzero(np.isin(labels, (_FROM, _TO))), edited)[:_FITTED]
    editor = de.HSpaceEditor(generator)
    direction = editor.fit(pixels[others], labels[others] == _TO, "ankle boots", seed=seed)
    latents = de.embed(generator, pixels[edited], "unet").latents
    # The judge has not seen the direction, and did not guide it.
    judge = de.load_feature_classifier("fashion_mnist")

    def judged(images):
        probabilities = judge.class_probabilities(np.clip(images, 0, 1))[:, _TO]
        return float(np.mean(probabilities > 0.5))

    rows = {f"strength {each:g}": editor.edit(latents, direction, each) for each in _STRENGTHS}
    rows = {"strength 0": generator.decode(latents)} | rows
    numbers = {
        "images": len(edited),
        "fitted": len(others),
        "judged": {name: judged(images) for name, images in rows.items()},
    }
    images = [pixels[edited][:_SHOWN], *(row[:_SHOWN] for row in rows.values())]
    return numbers, de.image_grid(images, ["image", *rows])


def tables_of(contents):
    """Tables of `demo.json`: "methods", "autoencoder" and "h_space"."""
    methods = Table(
        f"Latents of {contents['images']} test images, by method",
        ("method", "mean squared error, 95% interval", "evaluations", "deviation of latents"),
        [
            (
                row["name"],
                interval(row["mse"], 6),
                number(row["evaluations"], 0),
                number(row["latents_std"], 2),
            )
            for row in contents["methods"]
        ],
    )
    codes, edits = contents["autoencoder"], contents["h_space"]
    autoencoder = Table(
        f"A vector of {codes['dims']} numbers, with and without latents",
        ("decoded from", "mean squared error, 95% interval"),
        [
            ("vector and latents (implicit inversion)", interval(codes["mse"], 6)),
            ("vector alone, in one step", interval(codes["one_step_mse"], 4)),
            ("another image's vector, in one step", interval(codes["one_step_mse_of_others"], 4)),
        ],
    )

    def bounds(share):
        return results.share_bounds(share, edits["images"])

    h_space = Table(
        f"{edits['images']} sneakers, edited in the h-space",
        ("edit", "share that a classifier takes for ankle boots, 95% interval"),
        [
            (name, "{:.0%} ({:.0%} to {:.0%})".format(share, *bounds(share)))
            for name, share in edits["judged"].items()
        ],
    )
    return {"methods": methods, "autoencoder": autoencoder, "h_space": h_space}


def sentences_of(contents):
    """What was found, in a sentence for each system."""
    errors = {row["name"]: row["mse"]["mean"] for row in contents["methods"]}
    unet, naive, implicit, *_ = errors.values()
    codes, judged = contents["autoencoder"], [*contents["h_space"]["judged"].values()]
    own, others = (codes[name]["mean"] for name in ("one_step_mse", "one_step_mse_of_others"))
    return {
        "embedding": (
            "Image embedding: in one evaluation the U-Net finds latents that decode to the images "
            f"with an error of {number(unet, 6)} (the paper, on all of the test images: "
            f"{contents['paper_mse']:.6f})."
        ),
        "inversion": (
            f"Inversion: the sampler run backwards leaves an error of {number(naive, 6)}; each of "
            f"its steps solved, {number(implicit, 6)}."
        ),
        "autoencoder": (
            f"Diffusion autoencoder: from {codes['dims']} numbers alone an image comes back with "
            f"an error of {number(own, 4)}, from those of another image with {number(others, 4)}; "
            f"with latents, {number(codes['mse']['mean'], 6)}."
        ),
        "h_space": (
            f"h-space: a classifier takes {judged[0]:.0%} of {contents['h_space']['images']} "
            f"sneakers for ankle boots before the edit, {judged[-1]:.0%} after it."
        ),
    }


def _embedding_figure(pixels, embeddings):
    (embedding,) = embeddings.values()
    rows = [pixels, embedding.latents, embedding.reconstruction]
    return de.image_grid([row[:_SHOWN] for row in rows], ["image", "latents", "decoded"])


def _inversion_figure(pixels, embeddings):
    rows = [each.reconstruction[:_SHOWN] for each in embeddings.values()]
    return de.image_grid([pixels[:_SHOWN], *rows], ["image", *(name for name, *_ in _METHODS)])
