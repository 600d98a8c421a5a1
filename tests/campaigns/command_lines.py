"""Command lines that are wrong, or ask for much: of `ddim-embed` and of the experiments."""

import contextlib
import os
from unittest import mock

import numpy as np
from conftest import make_generator, make_pixels
from PIL import Image

import ddim_embed as de
from ddim_embed import cli
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store.records import ENVIRONMENT_VARIABLE
from experiments import features, lpips_weights, model_cards, runner
from experiments.fashion_mnist import FASHION_MNIST

from .harness import DONE, INTERRUPTED, Bystanders, Fault, command, put

# Values of a flag. Those of the first row are numbers for no flag that takes one.
_NO_NUMBERS = (
    "nan", "inf", "-inf", "x", "None", "True", "[1,2]", "{}", "--", "~", "/", "1e400", "1;2", "-",
    "\udcff", "\n", "\u0663\u066b\u0665", "a" * 5000, "%s", "1_", "0x10", "1 2", "NaN", "-1",
    "-3.5", "1e99",
)  # fmt: skip
_OTHER = (
    "0", "1", "2", "3", "1.5", "9223372036854775807", "9223372036854775808", "4294967296", "100000",
    "1000000", "1e-300", "conv1", "float32", "fashion_mnist", "..", "/dev/null", "/dev/zero",
    "/proc", "/proc/nope", "missing", "user", "user/picture.png", "user/notes.txt", "$HOME", "link",
    "pipe", "a" * 250, "-h", "--help", "--smoke",
)  # fmt: skip
_NUMBERS = {
    "num_steps", "seed", "count", "frames", "image_size", "channels", "padding", "widths",
    "block_depth", "train_steps", "batch_size", "learning_rate", "pairs", "warm_start_steps",
    "warm_start_batch_size", "warm_start_learning_rate", "embedder_steps", "embedder_batch_size",
    "embedder_learning_rate", "checkpoint_seconds", "images", "shown", "image", "members",
    "iterations", "at_a_time", "tolerance", "ways", "length", "latents", "few", "steps",
    "train_images",
}  # fmt: skip
_OPTIONAL = {"tolerance", "length", "train_images"}  # "None" is a value of these
_FREE = {"data", "out", "weights", "results", "runs", "name", "mask"}

_LIBRARY = [
    ["embed", "user/picture.png", "--method", "ddim_inversion", "--out", "out"],
    ["embed", "user/picture.png", "user/other.png", "--method", "conv1", "--out", "out"],
    ["sample", "--count", "2", "--out", "sampled"],
    ["interpolate", "user/picture.png", "user/other.png", "--method", "conv1", "--frames", "3"],
    ["project", "user/picture.png", "--method", "conv1", "--out", "out"],
    ["project", "user/picture.png", "--mask", "user/mask.png", "--method", "lbfgs", "--out", "out"],
    ["list"],
]
_VERBS = [
    ["train", "--smoke", "--train-steps", "2"],
    ["train-embedders", "conv1", "--smoke", "--pairs", "0", "--embedder-steps", "2"],
    ["embed", "user/picture.png", "--smoke", "--method", "conv1"],
    ["sample", "--smoke", "--images", "2"],
    ["structure", "--smoke", "--members", "8", "--iterations", "1"],
    ["interpolate", "user/picture.png", "user/other.png", "--smoke", "--method", "conv1"],
    ["project", "user/picture.png", "--smoke", "--method", "conv1"],
    ["directions", "--smoke", "--images", "20"],
    ["invariance", "--smoke", "--steps", "1"],
    ["compare", "ddim_inversion", "--smoke", "--images", "2"],
    ["pack", "packed", "--smoke", "--train-images", "4"],
    ["measure", "--smoke", "--images", "2"],
    ["report", "--smoke"],
]
_STUDIES = [
    (features.main, ["--data", "mnist"]),
    (lpips_weights.main, ["user/arrays.npz", "user/arrays.npz"]),
    (model_cards.main, []),
]


class CommandLines:
    """A command line with one to three faults; what takes long is interrupted, as by Ctrl-C."""

    name = "commands"

    def __init__(self, folder):
        self.folder = folder
        user = folder / "user"
        user.mkdir()
        for name in ("picture.png", "other.png"):
            Image.fromarray(np.uint8(200 * make_pixels(1, (16, 16, 1))[0, ..., 0])).save(
                user / name
            )
        mask = np.zeros((16, 16), np.uint8)
        mask[4:8] = 255
        Image.fromarray(mask).save(user / "mask.png")
        put(user / "notes.txt", b"a user's\n")
        np.savez(user / "arrays.npz", a=np.zeros(3))
        (folder / "link").symlink_to(user / "notes.txt")
        os.mkfifo(folder / "pipe")
        generator = make_generator(image_shape=(16, 16, 1), widths=(4,), num_steps=2)
        self.weights = folder / "weights"
        notes = {"data": "tiny", "budget": {}, "errors": {"test_mse": 0.1}}
        for dataset in ("tiny", "fashion_mnist"):
            config = generator_config(generator)
            de.record_weights(self.weights, dataset, "generator", generator, config=config, **notes)
            de.record_weights(
                self.weights, dataset, "conv1", de.build_embedder("conv1", 1),
                config={"channels": 1}, **notes,
            )  # fmt: skip
        # So that no smoke run trains first.
        smoke = folder / "results" / "fashion_mnist-smoke"
        smoke.mkdir(parents=True)
        (smoke / "weights").symlink_to(self.weights)
        self.bystanders = Bystanders(user)

    def draw(self, rng):
        kind = rng.random()
        if kind < 0.45:
            main, words = cli.main, [*rng.choice(_LIBRARY)]
            words += ["--weights", "weights"]
            if words[0] != "list":
                words += ["--model", "tiny", "--num-steps", "2"]
            names = [n for each in cli.COMMANDS.values() for n in each.__dataclass_fields__]
        elif kind < 0.95:
            main, words = (
                (lambda arguments: runner.main(FASHION_MNIST, arguments)),
                [*rng.choice(_VERBS)],
            )
            names = [n for each in runner.VERBS.values() for n in each.__dataclass_fields__]
            names += [*FASHION_MNIST.__dataclass_fields__]
        else:
            main, words = rng.choice(_STUDIES)
            words, names = [*words], ["data", "out", "weights", "seed"]
        faults = rng.choice((1, 1, 1, 1, 2, 3))
        for _ in range(faults):
            words, wrong = _mutated(words, names, rng)
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        # A further fault can mend it, and of a flag that is there twice the last one counts.
        bad = wrong and faults == 1 and len(given) == len({*given})
        seconds = rng.choice((0.5, 1, 2))

        def attempt():
            place = mock.patch.dict(os.environ, {ENVIRONMENT_VARIABLE: str(self.weights)})
            with contextlib.chdir(self.folder), place:
                ended = command(main, words, seconds)
            self.bystanders.check(added=True)
            if bad and ended in (DONE, INTERRUPTED):
                raise Fault(f"a wrong value is taken: {ended}")
            return ended

        shown = " ".join(word if len(word) < 60 else f"{word[:60]}..." for word in words)
        return ascii(shown)[1:-1], attempt


def _mutated(words, names, rng):
    """Another command line, and whether it must be refused."""
    words = [*words]
    flags = [i for i, word in enumerate(words[:-1]) if word.startswith("--") and word != "--smoke"]
    if not words:
        return ["--help"], False
    kind = rng.choice(("value", "value", "value", "flag", "flag", "word", "drop", "repeat", "odd"))
    if kind in ("value", "flag"):
        if kind == "value" and flags:
            at = rng.choice(flags)
            name = words[at][2:].replace("-", "_")
        else:
            name = rng.choice(names)
            at = rng.randrange(1, len(words) + 1)
            words[at:at] = [f"--{name.replace('_', '-')}", "1"]
        value = rng.choice(_NO_NUMBERS + _OTHER)
        wrong = name in _NUMBERS and value in _NO_NUMBERS
        wrong = wrong and not (value == "None" and name in _OPTIONAL)
        if wrong and value == "--":
            wrong = False
        if rng.random() < 0.2:
            words[at : at + 2] = [f"{words[at]}={value}"]
        elif at + 1 < len(words):
            words[at + 1] = value
        return words, wrong
    if kind == "word":
        at = rng.randrange(len(words))
        word = words[at]
        words[at] = rng.choice((
            word + "x", word[:-1], word.upper(), "-" + word, word + "=", word.replace("-", "_"),
            word[: len(word) // 2], "", word + " ", "\udcff", word.replace("--", "—"), f"'{word}'",
        ))  # fmt: skip
    elif kind == "drop":
        del words[rng.randrange(len(words))]
    elif kind == "repeat":
        at = rng.randrange(len(words))
        words[at:at] = words[at : at + 2] * rng.choice((1, 1, 300))
    else:
        odd = rng.choice((
            [], ["-h"], ["--version"], ["--"], [*words, "--"], [*words, "--unknown", "3"],
            [*words, "-x"], [*words, "extra"], ["zzz", *words[1:]], [words[0], "--help"],
            [*words, "--help"], words[::-1],
            [*words, *["user/picture.png"] * 500], [words[0]], ["embed", "user/missing.png"],
            [*words, "--num_steps", "3"], ["--smoke", *words],
        ))  # fmt: skip
        words = [*odd]
    return words, False
