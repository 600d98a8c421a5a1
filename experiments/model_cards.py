"""Model cards: data, training, errors and known faults of each shipped file.

python -m experiments.model_cards    # writes README.md, and samples, into the folder of weights
"""

from pathlib import Path

import tyro
from PIL import Image

import ddim_embed as de
from ddim_embed.console import UsageError
from ddim_embed.store.atomic import replacing
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.weights import read_manifest, weights_root
from experiments.toolkit import study

# The first line of model cards.
_HEAD = "# Model cards\n"
# Rows of samples of each generator, and images in each row.
_ROWS, _COLUMNS = 2, 10


# Data set -> title, description and terms, known faults of the weights.
_DATA = {
    "mnist": (
        "MNIST",
        "60,000 training images of digits (LeCun, Cortes and Burges; CC BY-SA 3.0), 28x28, padded "
        "to 32x32.",
        [
            "About a third of what the generator makes are fragments of digits.",
            "The denoiser predicts the noise, and at the first step of the sampler it has learnt "
            "nothing of the image: an error of 0.93, that of the mean image is 0.69 "
            "(`denoising_errors` of 128 test images). The velocity mends that (`--prediction "
            "velocity`); no such weights yet.",
        ],
    ),
    "fashion_mnist": (
        "Fashion-MNIST",
        "60,000 training images of clothing (Zalando Research; MIT licence), 28x28, padded to "
        "32x32.",
        [
            "The generator saw 1,072,000 images: samples are clothes with folds and seams, but "
            "prints are garbled, and some shoes and bags have a shape that none has.",
            "The `unet` reconstructs trousers best, bags and shirts worst.",
            "The latents that the `unet` finds are not Gaussian: their deviation is 0.90, their "
            "mean 0.09. Its error on what is halfway from one image to another is 0.0020 along a "
            "straight line, 0.0181 along a sphere, and 0.0147 on a cross-fade (`interpolate`; on "
            "clothes it is 0.0008).",
            "It also embeds images other than clothes, digits for example: a small error "
            "does not say that an image is of the data.",
        ],
    ),
    "cifar10": (
        "CIFAR-10",
        "50,000 training images of ten classes (Krizhevsky, 2009; no licence is stated), 32x32, "
        "RGB.",
        [
            "The generator saw 1,364,000 images: samples have the colours, outlines and textures "
            "of the data, some an animal or a ship that can be named; none is sharp.",
            "Reconstructions of all but the `unet` are blurred, those of `conv1` off in colour.",
        ],
    ),
    "celeba": (
        "CelebA",
        "Aligned portraits (Liu et al.; research use), 64x64. A generator of faces carries the "
        "data set's imbalances of age, sex, skin and pose.",
        [
            "The generator saw 568,000 images, and only 8,000 different ones: samples are faces, "
            "some with eyes or mouths that do not match, before smears.",
            "What it fills in under a mask is smooth: an eye that is hidden comes back faintly "
            "(`project`: an error of 0.0063 there).",
            "`direction_...` are directions of h for edits; their strengths were chosen by looking "
            "at edits of a dozen validation images. `direction_Male` is without its parts along "
            "glasses and beards, which leave marks on faces; what remains is weak. On light faces "
            "`direction_Eyeglasses` draws specks around the eyes rather than glasses, on some at "
            "its own strength of .25, too; `direction_Goatee` on one of a dozen.",
        ],
    ),
    "oxford_flowers": (
        "Oxford Flowers 102",
        "Photographs of flowers (Nilsback and Zisserman, 2008; research use), 64x64: 4,500 for "
        "training and 500 for tests, of 90 of the 102 classes.",
        [
            "The generator saw 370,000 images, and only 4,500 different ones: samples are blossoms "
            "of the right colours, with petals; these are frayed, and few make a whole flower.",
        ],
    ),
    "identity": (
        "Identity of faces",
        "A descriptor of faces: face-api's copy of dlib's ResNet-29, converted, its factors and "
        "biases folded into the convolutions. Licences: `identity/LICENSES.md`. A measuring "
        "device: no edit may be guided by it. `max_difference` is that of the numbers of a "
        "descriptor.",
        [
            "At 64x64 it tells people apart less well than at the 150x150 of its training: of "
            "pairs of CelebA's 500 test images, whose mean distance is 0.68, 22% are below 0.6, "
            "where dlib takes two faces for one person's. An image and its mirror image are 0.26 "
            "apart.",
            "Noise counts, too: of deviation 0.05 in all pixels it moves a face by 0.29.",
        ],
    ),
    "lpips": (
        "LPIPS",
        "AlexNet of torchvision (ImageNet) with the linear heads of lpips 0.1 (BAPPS), converted. "
        "Licences: `lpips/LICENSES.md`.",
        ["On images smaller than 64 pixels it works on an enlarged copy."],
    ),
}


def cards(manifest):
    """Returns the text of all cards, Markdown, from the entries of all weights."""
    blocks = [
        _HEAD.strip(),
        "Written from the records beside the files by `python -m experiments.model_cards`; do not "
        "edit. Errors are mean squared errors of clipped pixels in [0, 1], padding left out, "
        "computed in float32. Files are float16.",
    ]
    for data in sorted({name.split("/")[0] for name in manifest}):
        title, words, faults = _DATA.get(data, (data, "", []))
        blocks += [f"## {title}", words]
        if f"{data}/generator" in manifest:
            words = f"{_ROWS * _COLUMNS} images that the generator makes, not chosen"
            blocks.append(f"![{words}]({data}/samples.png)")
        rows = [
            "| weights | parameters | KB | trained | on | measures |",
            "|---|---|---|---|---|---|",
        ]
        commands, notes = [], []
        for name, entry in sorted(manifest.items()):
            if not name.startswith(f"{data}/"):
                continue
            file = name.split("/")[1]
            budget = entry["budget"]
            rows.append(
                f"| `{file}` | {entry['parameters']:,} | {entry['size'] / 1000:,.0f} | "
                f"{_budget(budget)} | {entry['data']} | {_errors(entry['errors'])} |"
            )
            runs = _runs(budget)
            commands += [f"    {run['command']}" for run in runs if run.get("command")]
            notes += [f"- `{file}`: {run['notes']}" for run in runs if run.get("notes")]
        blocks += ["\n".join(lines) for lines in (rows, dict.fromkeys(commands), notes)]
        if faults:
            blocks += ["Known faults:", "\n".join(f"- {fault}" for fault in faults)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def draw_samples(root, manifest):
    """Writes `<data>/samples.png` for each generator: images of the latents of seed 0.

    The file holds the checksum of the generator's weights (`samples_of`); it is drawn again only if
    that of the record differs. Returns the paths that were written.
    """
    written = []
    for name, entry in sorted(manifest.items()):
        data, _, kind = name.partition("/")
        path = root / data / "samples.png"
        if kind != "generator" or (before := samples_of(path)) == entry["sha256"]:
            continue
        if path.exists() and before is None:
            raise FileExistsError(f"{path} is not of model cards, and is not replaced. Move it.")
        images = de.load_generator(data, root).sample(_ROWS * _COLUMNS)
        figure = de.image_grid(images.reshape(_ROWS, _COLUMNS, *images.shape[1:]))
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=72, metadata={"Description": entry["sha256"]})
        written.append(path)
    return written


def samples_of(path):
    """Returns the checksum of the weights of a figure of samples; None without a figure."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get("Description")


def _runs(budget):
    """Returns the budgets of all runs that led to some weights, the first run first."""
    return [*(_runs(budget["before"]) if "before" in budget else []), budget]


def _budget(budget):
    words = []
    for run in _runs(budget):
        if run.get("warm_start_steps"):
            batches = f"{run['warm_start_steps']:,} x {run['warm_start_batch_size']}"
            words.append(f"warm start {batches}, {_time(run['warm_start_seconds'])}")
        if "steps" in run:
            words.append(f"{run['steps']:,} x {run['batch_size']}, {_time(run['seconds'])}")
        elif "images" in run:  # what is fitted, and not trained
            words.append(f"{run['images']:,} images")
        elif "epochs" in run:
            words.append(f"{run['epochs']} epochs, {_time(run['seconds'])}")
    return "; ".join(words) or "converted"


def _time(seconds):
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _errors(errors):
    if not errors:  # trained on JAX, before the verb `measure`
        return "not measured"
    counts = {name: errors[name] for name in ("test_images", "images") if name in errors}
    words = [
        f"{name.replace('_', ' ')} {'-' if value is None else f'{value:.3g}'}"
        for name, value in errors.items()
        if name not in counts
    ]
    return ", ".join(words) + "".join(f" ({count:,} images)" for count in counts.values())


def write(folder: tyro.conf.Positional[Path | None] = None):
    """Writes `README.md` and samples into a folder of weights; never over a file of the user's.

    Args:
        folder: the folder; None for the shipped one.
    """
    root = weights_root(folder)
    if not root.is_dir():
        raise UsageError(f"FOLDER must be a folder of weights. Received: {root}")
    require_folder(root, "FOLDER")
    path = root / "README.md"
    if path.exists() and not path.read_text(errors="replace").startswith(_HEAD):
        raise FileExistsError(f"{path} is not of model cards, and is not replaced. Move it.")
    manifest = read_manifest(root)
    written = draw_samples(root, manifest)
    with replacing(path) as temporary:
        temporary.write_text(cards(manifest), encoding="utf-8")
    print(*written, path, sep="\n")


def main(arguments=None):
    """The command line; `arguments` is None for the words that the user typed."""
    return study.call(write, "model_cards", arguments)


if __name__ == "__main__":
    main()
