"""The verb `compare-autoencoders`: lengths of the vector, and the published network."""

import dataclasses

import numpy as np

import ddim_embed as de
from experiments.autoencoder import autoencode, autoencode_figures, training
from experiments.autoencoder.sections import COMPARISON
from experiments.autoencoder.verbs import TrainAutoencoder
from experiments.toolkit import results, sources

MODULATED, ADAPTIVE = "modulated generator", "AdaptiveUNet from nothing"


def run(verb):
    """Trains each variant, measures it, and writes `compare-autoencoders.json` and a figure.

    Checkpoints are in `config.run_folder`; a killed run resumes.
    """
    config = verb.config
    pixels = sources.load(sources.reported(config), "test", config.images)
    rows, before = [], None
    for name, trainer in variants(verb, sources.load_generator(config)).items():
        dims, own = trainer.config.semantic_dims, trainer.config.run_folder / "comparison"
        fitted = training.fit(trainer, own / f"{dims}-from-{trainer.start}" / "autoencoder")
        if fitted is None:
            continue
        row, errors = measure(verb, fitted, pixels)
        compared = before is not None and trainer.start == "generator"
        less = results.estimate(before - errors) if compared else None
        rows.append({"decoder": name[0], **row, "less": less})
        before = errors
    if not rows:
        return
    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "rows": rows,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }
    COMPARISON.publish(
        verb.outputs,
        contents,
        lambda: {"compare-autoencoders.png": autoencode_figures.compared(contents)},
    )


def variants(verb, generator):
    """The trainings, from the shortest vector to the longest: (decoder, length) to its verb.

    All have the same encoder but for its last layer, and what the generator predicts.
    """
    config = dataclasses.replace(
        verb.config, prediction=generator.prediction, padding=generator.padding, further=False
    )
    longest = max(*verb.dims, config.semantic_dims)
    widths = *config.widths, max(config.widths[-1], longest)

    def trainer(dims, start, steps):
        own = dataclasses.replace(config, semantic_dims=dims, train_steps=steps)
        return TrainAutoencoder(
            config=own,
            start=start,
            encoder_widths=widths,
            encoder_steps=verb.encoder_steps,
            command=verb.command,
        )

    found = {
        (MODULATED, dims): trainer(dims, "generator", config.train_steps)
        for dims in sorted(verb.dims)
    }
    if verb.adaptive_steps:
        dims = config.semantic_dims
        found[ADAPTIVE, dims] = trainer(dims, "nothing", verb.adaptive_steps)
    return found


def measure(verb, fitted, pixels):
    """What the vectors of a trained autoencoder hold of images.

    Returns:
        A dict: `semantic_dims`, the number of `parameters`, `steps` and `seconds` of the training,
        errors as of `autoencode.measured` in `one_step`, and for each number of sampler steps in
        `random`, and `denoising`, an estimate of the error of the predicted image, of the data's
        variance, on average over noise levels. And the mean squared errors of the images from
        random latents with the first of these numbers, `(n,)`.
    """
    autoencoder, budget, _ = fitted
    config, generator = verb.config, autoencoder.generator
    semantic = autoencoder.encode(pixels).semantic
    own, padding = generator.given(semantic), generator.padding
    latents = own.latents(len(pixels), config.seed, autoencode.STREAM)
    decoded = [autoencode.decode(own.with_steps(steps), latents) for steps in verb.steps]
    networks = autoencoder.encoder, generator.network
    row = {
        "semantic_dims": autoencoder.dims,
        "parameters": sum(network.count_params() for network in networks),
        "steps": budget["steps"],
        "seconds": budget["seconds"] + budget.get("encoder_seconds", 0),
        "one_step": autoencode.measured(
            pixels, autoencoder.predict(semantic, config.seed).numpy(), padding
        ),
        "random": [
            {"num_steps": steps, **autoencode.measured(pixels, images, padding)}
            for steps, images in zip(verb.steps, decoded, strict=True)
        ],
        "denoising": results.estimate(
            np.mean(de.denoising_errors(own, pixels, config.seed).each, axis=0)
        ),
    }
    return row, de.metrics.clipped_mse(pixels, decoded[0], padding)
