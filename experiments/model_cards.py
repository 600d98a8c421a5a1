"""Model cards: data, training, errors and known faults of each shipped file.

python -m experiments.model_cards    # writes README.md, and samples, into the folder of weights
"""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Card:
    """What the records do not say of the weights in one folder.

    Attributes:
        title: of the data set.
        what: what the data are.
        use: what the weights are for, and what they are not for.
        terms: whose the data are, and on what terms.
        faults: known faults, a sentence or more each; `{seen}` stands for the number of images that
            the generator was trained on.
    """

    title: str
    what: str = ""
    use: str = ""
    terms: str = ""
    faults: tuple[str, ...] = ()


_EMBEDDING = "to study embedding and to compare methods of it"
_CARDS = {
    "mnist": Card(
        "MNIST",
        "60,000 training and 10,000 test images of handwritten digits, 28x28, padded to 32x32.",
        f"Meant {_EMBEDDING}. Not meant to read digits, or to make them as training data.",
        "Yann LeCun, Corinna Cortes and Christopher Burges; CC BY-SA 3.0. The first 1,000 test "
        "images are bundled.",
        (
            "About a third of what the generator makes are fragments of digits.",
            "The denoiser predicts the noise, and at the first step of the sampler it has learnt "
            "nothing of the image: an error of 0.93, that of the mean image is 0.69 "
            "(`denoising_errors` of 128 test images). The velocity mends that (`--prediction "
            "velocity`); no such weights yet.",
        ),
    ),
    "fashion_mnist": Card(
        "Fashion-MNIST",
        "60,000 training and 10,000 test images of clothing in ten classes, 28x28, padded to "
        "32x32.",
        f"Meant {_EMBEDDING}, and to try out every system of the library: all of them have weights "
        "here, and `make demo` shows them.",
        "Zalando Research; MIT licence. The first 1,000 test images are bundled.",
        (
            "The generator saw {seen} images: samples are clothes with folds and seams, but "
            "prints are garbled, and some shoes and bags have a shape that none has.",
            "The `unet` reconstructs trousers best, bags and shirts worst.",
            "The latents that the `unet` finds are not Gaussian: their deviation is 0.90, their "
            "mean 0.09. Its error on what is halfway from one image to another is 0.0020 along a "
            "straight line, 0.0181 along a sphere, and 0.0147 on a cross-fade (`interpolate`; on "
            "clothes it is 0.0008).",
            "It also embeds images other than clothes, digits for example: a small error "
            "does not say that an image is of the data.",
        ),
    ),
    "cifar10": Card(
        "CIFAR-10",
        "50,000 training and 10,000 test photographs in ten classes, 32x32, RGB.",
        f"Meant {_EMBEDDING}. Not meant to make photographs.",
        "Alex Krizhevsky, 2009; no licence is stated. No image is bundled.",
        (
            "The generator saw {seen} images: samples have the colours, outlines and textures "
            "of the data, some an animal or a ship that can be named; none is sharp.",
            "Reconstructions of all but the `unet` are blurred, those of `conv1` off in colour.",
        ),
    ),
    "celeba": Card(
        "CelebA",
        "Aligned portraits of celebrities, 64x64, of which 8,000 are for training and others for "
        "tests.",
        f"Meant {_EMBEDDING}, and to edit portraits in research. Not meant to identify, rate or "
        "deceive anyone: do not publish an edited face as if it were a photograph.",
        "Liu, Luo, Wang and Tang, 2015; for non-commercial research. No image is bundled, and "
        "figures of test images stay where they are made; what is shown here are samples.",
        (
            "A generator of faces carries the data set's imbalances of age, sex, skin and pose.",
            "The generator saw {seen} images, and only 8,000 different ones: samples are faces "
            "before smears. Of 64 that were looked at, six have eyes or mouths that do not match.",
            "The latents that give an image back under its vector are not Gaussian unless they are "
            "held to it: their deviation is 1.40 after corrections, 1.06 with a penalty, 0.34 by "
            "naive inversion (`autoencode`). The prior is no closer to vectors of test images than "
            "a fitted Gaussian is (`priors`).",
            "Paintings are reconstructed less well than photographs: the `unet` loses eyes "
            "(`ddim-embed edit`: an error of 0.0036 for seven portraits).",
            "The strengths of directions were chosen by looking at edits of a dozen validation "
            "images, with the generator of commit f012db1, and looked at again with this one. "
            "`Male` is without its parts along glasses and beards, which leave marks on "
            "faces; what remains is weak. On light faces `Eyeglasses` draws specks around the eyes "
            "rather than glasses, and `Goatee` some on the chin.",
        ),
    ),
    "oxford_flowers": Card(
        "Oxford Flowers 102",
        "Photographs of flowers, 64x64: 4,500 for training and 500 for tests, of 90 of the 102 "
        "classes.",
        f"Meant {_EMBEDDING}.",
        "Nilsback and Zisserman, 2008; for research. No image is bundled.",
        (
            "The generator saw {seen} images, and only 4,500 different ones: samples are blossoms "
            "of the right colours, with petals; these are frayed, and few make a whole flower.",
        ),
    ),
    "identity": Card(
        "Identity of faces",
        "A descriptor of faces: face-api's copy of dlib's ResNet-29, converted, its factors and "
        "biases folded into the convolutions. `max_difference` is that of the numbers of a "
        "descriptor.",
        "A measuring device for edits of faces: no edit may be guided by it. Not meant to find "
        "out who someone is.",
        "dlib's are in the public domain, face-api's under the MIT licence: "
        "[licences](identity/LICENSES.md).",
        (
            "At 64x64 it tells people apart less well than at the 150x150 of its training: of "
            "pairs of CelebA's 500 test images, whose mean distance is 0.68, 22% are below 0.6, "
            "where dlib takes two faces for one person's. An image and its mirror image are 0.26 "
            "apart.",
            "Noise counts, too: of deviation 0.05 in all pixels it moves a face by 0.29.",
        ),
    ),
    "lpips": Card(
        "LPIPS",
        "AlexNet of torchvision (ImageNet) with the linear heads of lpips 0.1 (BAPPS), converted.",
        "Distances between images as people see them.",
        "torchvision's are under the BSD-3-Clause, those of lpips under the BSD-2-Clause licence: "
        "[licences](lpips/LICENSES.md).",
        ("On images smaller than 64 pixels it works on an enlarged copy.",),
    ),
}
# Names of directions in the h-space, which have a table of their own.
_DIRECTION = "direction_"


def cards(manifest):
    """Returns the text of all cards, Markdown, from the entries of all weights."""
    blocks = [
        _HEAD.strip(),
        "Written from the records beside the files by `python -m experiments.model_cards`; do not "
        "edit. Errors are mean squared errors of clipped pixels in [0, 1], padding left out, "
        "computed in float32. Files are float16. [Results](../docs/results.md) has figures and "
        "says what was learnt in training; [editing](../docs/editing.md) shows edits.",
    ]
    for data in sorted({name.split("/")[0] for name in manifest}):
        entries = {
            name.partition("/")[2]: entry
            for name, entry in sorted(manifest.items())
            if name.startswith(f"{data}/")
        }
        blocks += _card(data, entries)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _card(data, entries):
    """The blocks of the card of one folder; of data that are not known, from the records alone."""
    card = _CARDS.get(data, Card(data))
    blocks = [f"## {card.title}", card.what]
    if card.use:
        blocks.append(f"**Intended use.** {card.use}")
    if card.terms:
        blocks.append(f"**Terms.** {card.terms}")
    if "generator" in entries:
        words = f"{_ROWS * _COLUMNS} images that the generator makes, not chosen"
        blocks.append(f"![{words}]({data}/samples.png)")
    if card.faults:
        seen = f"{_images_seen(entries['generator']['budget']):,}" if "generator" in entries else ""
        faults = (f"- {fault.replace('{seen}', seen)}" for fault in card.faults)
        blocks += ["**Known faults.**", "\n".join(faults)]
    weights = {name: entry for name, entry in entries.items() if not name.startswith(_DIRECTION)}
    directions = {name: entry for name, entry in entries.items() if name not in weights}
    blocks += [_weights_table(weights), _directions_table(directions)]
    commands, notes = {}, {}
    for name, entry in entries.items():
        for run in _runs(entry["budget"]):
            for found, words in ((commands, run.get("command")), (notes, run.get("notes"))):
                names = found.setdefault(words, []) if words else []
                if name not in names:
                    names.append(name)
    lines = [f"    {command}    # {', '.join(names)}" for command, names in commands.items()]
    remarks = [
        f"- {', '.join(f'`{name}`' for name in names)}: {words}" for words, names in notes.items()
    ]
    if lines or remarks:
        blocks.append(f"### How the weights of {card.title} were made")
    return [*blocks, "\n".join(lines), "\n".join(remarks)]


def _weights_table(entries):
    rows = [
        "| weights | parameters | KB | trained | on | measures |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in entries.items():
        cells = (
            f"`{name}`", f"{entry['parameters']:,}", _kilobytes(entry), _budget(entry["budget"]),
            _words(entry["data"]), _errors(entry["errors"]),
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) if entries else ""


def _directions_table(entries):
    rows = [
        "| direction in h (`de.load_direction`) | strength | KB | found with | measures |",
        "|---|---|---|---|---|",
    ]
    for name, entry in entries.items():
        cells = (
            f"`{name.removeprefix(_DIRECTION)}`", f"{entry['config']['strength']:g}",
            _kilobytes(entry), f"{_words(entry['data'])}: {_budget(entry['budget'])}",
            _errors(entry["errors"]),
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) if entries else ""


def _kilobytes(entry):
    return f"{entry['size'] / 1000:,.0f}"


def _words(data):
    """A JSON value of a record, for a cell of a table."""
    if isinstance(data, dict):
        data = ", ".join(f"{key.replace('_', ' ')} {_words(each)}" for key, each in data.items())
    elif isinstance(data, list):
        data = ", ".join(map(_words, data))
    return str(data).replace("|", "\\|")


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


def _images_seen(budget):
    """How many images all runs drew; an image counts as often as it was drawn."""
    return sum(run.get("images_seen", run["steps"] * run["batch_size"]) for run in _runs(budget))


def _budget(budget):
    words = []
    for run in _runs(budget):
        if run.get("warm_start_steps"):
            batches = f"{run['warm_start_steps']:,} x {run['warm_start_batch_size']}"
            words.append(f"warm start {batches}, {_time(run['warm_start_seconds'])}")
        if "encoder_steps" in run:
            batches = f"{run['encoder_steps']:,} x {run['batch_size']}"
            words.append(f"encoder alone {batches}, {_time(run['encoder_seconds'])}")
        if "steps" in run:
            made = f" ({run['generated']:.0%} generated)" if run.get("generated") else ""
            words.append(f"{run['steps']:,} x {run['batch_size']}{made}, {_time(run['seconds'])}")
        elif "epochs" in run:
            words.append(f"{run['epochs']} epochs, {_time(run['seconds'])}")
        elif "images" in run:  # what is fitted, and not trained
            words.append(f"{run['images']:,} images")
    return "; ".join(words) or "not trained here"


def _time(seconds):
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _errors(errors):
    if not errors:  # trained on JAX, before the verb `measure`
        return "not measured"
    counts = {name: errors[name] for name in ("test_images", "images") if name in errors}
    words = [
        f"{name.replace('_', ' ')} {_measure(value)}"
        for name, value in errors.items()
        if name not in counts
    ]
    return ", ".join(words) + "".join(f" ({count:,} images)" for count in counts.values())


def _measure(value):
    """A number with three digits; other JSON values, which new kinds of records may have."""
    if value is None:
        return "-"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.3g}" if is_number else _words(value)


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
