"""The verb `compare`: every method on the same images, error against cost."""

import dataclasses

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.methods.embedding import Trace
from ddim_embed.process import sampling
from experiments.configuration import NETWORKS
from experiments.inversion import comparison_figures
from experiments.inversion.sections import COMPARISON
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError

# Images that are embedded, and cached, at a time; it divides the default number, so that each
# method is traced for one shape.
_CHUNK = 40
_REFINING = de.Descent(num_steps=150, loss="mean_squared_error", penalty=0.0, decay=True)
# Name -> method; those that start from a network need its weights.
COMPARED = {network: de.Network(network) for network in NETWORKS} | {
    "ddim_inversion": de.DDIMInversion(),
    "implicit": de.ImplicitInversion(),
    "descent": de.Descent(),
    "lbfgs": de.LBFGS(num_steps=75),
    "unet, descent": de.Hybrid("unet", _REFINING),
    "unet, gauss_newton": de.Hybrid("unet", de.GaussNewton()),
    "unet, lbfgs": de.Hybrid("unet", de.LBFGS(num_steps=50)),
    "unet, correction": de.Hybrid("unet", de.DefectCorrection()),
    "unet, correction, lbfgs": de.Hybrid(
        de.Hybrid("unet", de.DefectCorrection()), de.LBFGS(num_steps=30)
    ),
    "implicit, lbfgs": de.Hybrid("implicit", de.LBFGS(num_steps=50)),
    "implicit, correction": de.Hybrid("implicit", de.DefectCorrection()),
    "edict": de.EDICT(),
    "bdia": de.BDIA(),
}
# Number of latents of the controls, and of images whose residuals are measured.
_CONTROLS = 32
# Iterations of each step of implicit inversion, and the residual below which a step is solved.
_ITERATIONS = 30
_SOLVED = 1e-4


def run(verb):
    """Embeds test images with every method; writes `compare.json` and figures.

    Results are cached in `config.run_folder`, 40 images at a time; a killed run resumes.
    """
    config = verb.config
    for name in verb.methods:
        if name not in COMPARED:
            raise UsageError(f"A method must be one of {tuple(COMPARED)}. Received: {name!r}")
    generator = sources.load_generator(config)
    pixels = sources.load(sources.reported(config), "test", config.images)
    rows, embeddings = [], {}
    for name in verb.methods or COMPARED:
        method = _adapted(COMPARED[name], config.smoke)
        with sources.left_out_without_weights(name):
            embeddings[name] = _embed(config, generator, pixels, name, method)
            rows.append(_row(generator, pixels, name, method, embeddings[name]))
    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "methods": rows,
        "controls": controls(config, generator, rows),
        "residuals": residuals(config, pixels),
        **results.provenance(config, verb.command),
    }

    def figures():
        return {
            "compare.png": comparison_figures.cost(rows),
            "fig18_refined.png": comparison_figures.refined(pixels, embeddings, config.shown),
            "compare_residuals.png": comparison_figures.residuals(contents["residuals"]),
        }

    COMPARISON.publish(verb.outputs, contents, figures)


def _adapted(method, few):
    """Returns the method with one batch for each chunk and, if `few`, with two iterations."""
    if isinstance(method, de.Hybrid):
        start = COMPARED[method.start] if isinstance(method.start, str) else method.start
        parts = {"start": start, "finish": method.finish}
        parts = {name: _adapted(part, few) for name, part in parts.items()}
        return dataclasses.replace(method, **parts)
    options = {"num_steps": 2} if few and method.ticks > 1 else {}
    return dataclasses.replace(method, batch_size=_CHUNK, **options)


def _embed(config, generator, pixels, name, method):
    folder = config.run_folder / "compare" / name.replace(", ", "-")
    with tqdm(total=len(pixels), desc=name, unit="image", disable=not config.progress) as bar:
        return embed_in_chunks(
            generator,
            pixels,
            method,
            config.seed,
            chunk_size=_CHUNK,
            folder=folder,
            callback=bar.update,
            warm_up=_adapted(method, few=True),  # costs little more than tracing the graph
        )


def _row(generator, pixels, name, method, embedding):
    """Returns the results of one method: means over images, with a 95% interval of the error."""
    measured = (pixels, embedding.reconstruction.clip(0, 1), generator.padding)
    trace = None
    if embedding.trace is not None:
        trace = {
            field.name: getattr(embedding.trace, field.name).mean(axis=1).tolist()
            for field in dataclasses.fields(Trace)
        }
    return {
        "name": name,
        "method": repr(method),
        "mse": float(embedding.mse.mean()),
        "mse_interval": results.interval(embedding.mse),
        "mse_median": float(np.median(embedding.mse)),
        "single_mse": None if embedding.single_mse is None else float(embedding.single_mse.mean()),
        "psnr": results.finite(metrics.psnr(*measured).mean()),
        "ssim": float(metrics.ssim(*measured).mean()),
        "lpips": float(de.lpips(*measured).mean()),
        "evaluations": float(embedding.evaluations.mean()),
        "seconds_per_image": embedding.seconds / len(pixels),
        "latents_mean": float(embedding.latents_mean.mean()),
        "latents_std": float(embedding.latents_std.mean()),
        "converged": float(embedding.converged.mean()),
        "trace": trace,
    }


def controls(config, generator, rows):
    """Measures what the table of methods does not show; a dict from descriptions to numbers."""
    count = min(_CONTROLS, config.images)
    latents = generator.latents(count, config.seed)
    denoise = generator.denoiser("float32").compiled

    def ancestral(seed):
        images = sampling.ancestral(
            denoise, generator.schedule, latents, generator.num_steps, seed=seed
        )
        return generator.normalizer.inverse(images).numpy().clip(0, 1)

    padding = generator.padding
    values = {
        "DDPM: mean squared difference of two images from the same latents": metrics.mse(
            ancestral(config.seed), ancestral(config.seed + 1), padding
        ),
        "the same of images from different latents": metrics.mse(
            generator.decode(latents).numpy().clip(0, 1),
            generator.decode(np.roll(latents, 1, axis=0)).numpy().clip(0, 1),
            padding,
        ),
    }
    transfer = sources.load_generator(config, last_step="transfer")
    pixels = transfer.decode(latents).numpy()
    # Not clipped: clipped pixels are not in the range of the sampler.
    for words, method in (
        ("implicit inversion", de.ImplicitInversion(iterations=30)),
        ("naive inversion", de.DDIMInversion()),
    ):
        again = method.solve(transfer, pixels, None, lambda: None).latents
        values[f"transfer: {words}, root mean square error of generated images' latents"] = np.sqrt(
            np.mean((again - latents) ** 2, axis=(1, 2, 3))
        )
        values[f"transfer: {words}, mean squared error of generated images"] = np.mean(
            (transfer.decode(again).numpy() - pixels) ** 2, axis=(1, 2, 3)
        )
    means = {words: float(np.mean(each)) for words, each in values.items()}
    errors = {row["name"]: row["mse"] for row in rows}
    if {"ddim_inversion", "unet"} <= errors.keys() and errors["unet"]:
        means["error of naive inversion over that of the unet"] = (
            errors["ddim_inversion"] / errors["unet"]
        )
    return means


def residuals(config, pixels):
    """Measures how the residuals of implicit inversion fall with its iterations, at each step.

    The iteration converges where the sampler's step is contractive; where a residual remains, so
    does an error of the latents.

    Returns:
        Dict from a convention of the last step to a list of dicts, from the sampler's last step to
        its first: "time" of the level that is solved for, "median" over images of the smallest
        residual after each iteration, and "solved", the share of images with a residual of at most
        1e-4.
    """
    count = min(_CONTROLS, len(pixels))
    by_convention = {}
    for convention in sampling.LAST_STEPS:
        generator = sources.load_generator(config, last_step=convention)
        method = de.ImplicitInversion(iterations=2 if config.smoke else _ITERATIONS)
        start = method.initial_latents(generator, count, config.seed)
        steps = method.trajectory(generator, pixels[:count], start).residuals
        best = [np.minimum.accumulate(step, axis=0) for step in steps]
        by_convention[convention] = [
            {
                "time": (index + 1) / generator.num_steps,
                "median": np.median(step, axis=1).tolist(),
                "solved": float(np.mean(step[-1] <= _SOLVED)),
            }
            for index, step in enumerate(best)
        ]
    return by_convention
