"""`python -m experiments.jax_port FOLDER KIND ...`: a command line without TensorFlow or tyro."""

import argparse
import shlex
import sys

from experiments.jax_port import training
from experiments.jax_port.steps import EMBEDDER_LOSSES, LOSSES


def network(words):
    """`unet:64:1e-3` -> `("unet", (64, 0.001))`."""
    try:
        name, count, rate = words.split(":")
        count, rate = int(count), float(rate)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected NAME:IMAGES:RATE, such as unet:64:1e-3. Received: {words}"
        ) from error
    if count < 1 or not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"IMAGES and RATE must be positive. Received: {words}")
    return name, (count, rate)


def positive(words):
    """A whole number from 1 on."""
    if not words.isdecimal() or int(words) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on. Received: {words}")
    return int(words)


def main(arguments=None):
    """Runs one training; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.jax_port",
        description="Trains what `pack` wrote to a folder, with JAX; `unpack` records it.",
    )
    parser.add_argument("folder", help="FOLDER/NAME, as `pack` names it")
    kinds = parser.add_subparsers(dest="kind", required=True)
    denoiser = kinds.add_parser("generator", help="trains the packed generator further")
    denoiser.add_argument("--batch-size", type=positive, default=64)
    denoiser.add_argument("--learning-rate", type=float, default=1e-3)
    denoiser.add_argument("--loss", choices=LOSSES, default="squared")
    denoiser.add_argument("--prediction", choices=("noise", "velocity"), default="velocity")
    embedders = kinds.add_parser("embedders", help="trains packed networks further, together")
    embedders.add_argument(
        "networks", nargs="+", type=network, metavar="NAME:IMAGES:RATE", help="e.g. unet:64:1e-3"
    )
    embedders.add_argument("--loss", choices=EMBEDDER_LOSSES, default="root_mean_square")
    for kind in (denoiser, embedders):
        kind.add_argument("--steps", type=positive, required=True)
        kind.add_argument("--seed", type=int, default=0)
        kind.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    flags = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    shared = {"loss": flags.loss, "seed": flags.seed, "precision": flags.precision}
    shared["command"] = f"python -m experiments.jax_port {shlex.join(words)}"
    try:
        if flags.kind == "generator":
            training.train_denoiser(
                flags.folder,
                flags.steps,
                batch_size=flags.batch_size,
                rate=flags.learning_rate,
                prediction=flags.prediction,
                **shared,
            )
        else:
            training.train_embedders(
                flags.folder, flags.steps, networks=dict(flags.networks), **shared
            )
    except FileNotFoundError as error:
        sys.exit(f"error: {error}. Write the folder with `python -m experiments.NAME pack FOLDER`.")
    except FloatingPointError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
