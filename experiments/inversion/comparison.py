"""The verb `compare`: every method on the same images, error against what it costs."""

import dataclasses

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.protocol import Trace, concatenate
from ddim_embed.process import sampling
from experiments import kept
from experiments.configuration import NETWORKS, UsageError
from experiments.inversion import comparison_figures
from experiments.toolkit import page, results, sources
from experiments.toolkit.markup import number

# Images that are embedded, and checkpointed, at a time. A divisor of the default number, so that
# each method is traced for one shape.
_CHUNK = 40
_REFINING = de.Descent(num_steps=150, loss="l2", penalty=0.0, decay=True)
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
# Generated images that go from latents to pixels and back, and latents that are decoded twice.
_CONTROLS = 32
# Of each step of implicit inversion, where its residuals are shown; and below which it is solved.
_ITERATIONS = 30
_SOLVED = 1e-4


def compare(config, command, methods=()):
    """Embeds test images with every method; writes `compare.json`, a plot, and the page.

    Each method's results are kept in `config.run_folder`, 40 images at a time; after a kill the
    same command goes on from there.

    Args:
        config: an `Experiment`; `images` of its test images are embedded.
        command: what a user would type to repeat it.
        methods: names of `COMPARED`; all by default.

    Returns:
        What is in `compare.json`.

    Raises:
        FileNotFoundError: if there is no generator.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    for name in methods:
        if name not in COMPARED:
            raise UsageError(f"A method must be one of {tuple(COMPARED)}. Received: {name!r}")
    generator = sources.load_generator(config)
    pixels = sources.load(sources.reported(config), "test", config.images)
    rows, embeddings = [], {}
    for name in methods or COMPARED:
        method = _sized(COMPARED[name], config)
        try:
            embedding = _embed(config, generator, pixels, name, method)
        except FileNotFoundError as error:
            print(f"Left out: {name}. {error}")
            continue
        embeddings[name] = embedding
        rows.append(_row(generator, pixels, name, method, embedding))
    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "methods": rows,
        "controls": controls(config, generator, rows),
        "residuals": residuals(config, pixels),
        **results.provenance(config, command),
    }
    folder = config.result_folder
    results.save_json(folder / "compare.json", contents)
    figures = {
        "compare.png": comparison_figures.cost(rows),
        "fig18_refined.png": comparison_figures.refined(pixels, embeddings, config.shown),
        "compare_residuals.png": comparison_figures.residuals(contents["residuals"]),
    }
    for name, figure in figures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
        else:
            results.save_figure(folder / name, figure)
    print_table(rows, len(pixels))
    print_controls(contents["controls"])
    print_residuals(contents["residuals"])
    print(f"The page is {page.write_page(folder)}")
    return contents


def _sized(method, config):
    """The method as it is run here: one batch per chunk; in a smoke run few iterations."""
    if isinstance(method, de.Hybrid):
        start = COMPARED[method.start] if isinstance(method.start, str) else method.start
        return dataclasses.replace(
            method, start=_sized(start, config), finish=_sized(method.finish, config)
        )
    options = {"batch_size": _CHUNK}
    if config.smoke and _iterates(method):
        options["num_steps"] = 2
    return dataclasses.replace(method, **options)


def _iterates(method):
    return method.ticks > 1


def _traced(method):
    """The method with so few iterations that it costs little but the tracing of its graph."""
    if isinstance(method, de.Hybrid):
        return dataclasses.replace(
            method, start=_traced(method.start), finish=_traced(method.finish)
        )
    return dataclasses.replace(method, num_steps=2) if _iterates(method) else method


def _embed(config, generator, pixels, name, method):
    folder = config.run_folder / "compare" / name.replace(", ", "-")
    parts, traced = [], set()
    starts = range(0, len(pixels), _CHUNK)
    for i in tqdm(starts, desc=name, unit_scale=_CHUNK, unit="image", disable=not config.progress):
        chunk = pixels[i : i + _CHUNK]
        path = folder / f"{i}.npz"
        identity = kept.identity(generator, chunk, method, config.seed)
        part = kept.read(path, identity)
        if part is None:
            if len(chunk) not in traced:  # so that no second of tracing counts as the method's
                de.embed(generator, chunk, _traced(method), seed=config.seed)
                traced.add(len(chunk))
            # Each chunk starts from latents of its own.
            part = de.embed(generator, chunk, method, seed=config.seed + i)
            kept.write(path, identity, part)
        parts.append(part)
    return concatenate(parts)


def _row(generator, pixels, name, method, embedding):
    """What is reported of one method: means over images, with 95% intervals of the error."""
    measured = (pixels, embedding.reconstruction, generator.padding)
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
    """What the table of methods does not show, in numbers.

    Args:
        config: an `Experiment`.
        generator: its `Generator`.
        rows: as in `compare.json`.

    Returns:
        A dict from words to numbers.
    """
    count = min(_CONTROLS, config.images)
    latents = generator.latents(count, config.seed)
    denoise = generator.denoiser("float32").compiled

    def ancestral(seed):
        images = sampling.ancestral(
            denoise, generator.schedule, latents, generator.num_steps, seed=seed
        )
        return generator.normalizer.inverse(images).numpy()

    padding = generator.padding
    found = {
        "DDPM: mean squared difference of two images from the same latents": metrics.mse(
            ancestral(config.seed), ancestral(config.seed + 1), padding
        ),
        "the same of images from different latents": metrics.mse(
            generator.decode(latents).numpy(),
            generator.decode(np.roll(latents, 1, axis=0)).numpy(),
            padding,
        ),
    }
    transfer = sources.load_generator(config, last_step="transfer")
    pixels = transfer.decode(latents).numpy()
    # As they are: clipped, they would no longer be what the sampler returns.
    for words, method in (
        ("implicit inversion", de.ImplicitInversion(iterations=30)),
        ("naive inversion", de.DDIMInversion()),
    ):
        again = method.solve(transfer, pixels, None, lambda: None).latents
        found[f"transfer: {words}, root mean square error of generated images' latents"] = np.sqrt(
            np.mean((again - latents) ** 2, axis=(1, 2, 3))
        )
        found[f"transfer: {words}, mean squared error of generated images"] = np.mean(
            (transfer.decode(again).numpy() - pixels) ** 2, axis=(1, 2, 3)
        )
    found = {words: float(np.mean(values)) for words, values in found.items()}
    errors = {row["name"]: row["mse"] for row in rows}
    if {"ddim_inversion", "unet"} <= errors.keys() and errors["unet"]:
        found["error of naive inversion over that of the unet"] = (
            errors["ddim_inversion"] / errors["unet"]
        )
    return found


def residuals(config, pixels):
    """How the residuals of implicit inversion fall with its iterations, at each step.

    What a step of the sampler is iterated to is reached where the step is contractive; where the
    residual stays, so does an error of the latents.

    Args:
        config: an `Experiment`.
        pixels: images to invert; `_CONTROLS` of them are.

    Returns:
        Dict from a convention of the last step to a list, from the last step of the sampler to its
        first, of dicts: "time" of the level that is solved for, "median" of the images' residuals
        after each iteration, the best so far, and the share of the images that were "solved",
        to 1e-4.
    """
    count = min(_CONTROLS, len(pixels))
    found = {}
    for convention in sampling.LAST_STEPS:
        generator = sources.load_generator(config, last_step=convention)
        method = de.ImplicitInversion(iterations=2 if config.smoke else _ITERATIONS)
        start = method.initial_latents(generator, count, config.seed)
        steps = method.trajectory(generator, pixels[:count], start).residuals
        best = [np.minimum.accumulate(step, axis=0) for step in steps]
        found[convention] = [
            {
                "time": (index + 1) / generator.num_steps,
                "median": np.median(step, axis=1).tolist(),
                "solved": float(np.mean(step[-1] <= _SOLVED)),
            }
            for index, step in enumerate(best)
        ]
    return found


def print_table(rows, images):
    """Prints the table of `compare.json`, the least error last."""
    print(f"\nEvery method on {images} test images")
    header = ("mse", "+-", "evaluations", "s/image", "psnr", "ssim", "lpips", "std", "converged")
    print(f"{'':22}" + "".join(f"{word:>12}" for word in header))
    for row in sorted(rows, key=lambda row: -row["mse"]):
        print(
            f"{row['name']:22}{number(row['mse'], 6):>12}{number(row['mse_interval'], 6):>12}"
            f"{row['evaluations']:12.0f}{row['seconds_per_image']:12.3f}"
            f"{number(row['psnr'], 2):>12}"
            f"{row['ssim']:12.3f}{row['lpips']:12.4f}{row['latents_std']:12.3f}{row['converged']:12.1%}"
        )
    print()


def print_controls(found):
    """Prints the numbers of `controls`."""
    for words, value in found.items():
        print(f"{number(value, 6):>12}  {words}")
    print()


def print_residuals(found):
    """Prints, of what `residuals` returns, where implicit inversion does not get to."""
    for convention, steps in found.items():
        words = ", ".join(f"{step['time']:.1f}: {step['solved']:.0%}" for step in steps)
        print(f"implicit inversion, {convention}: share of images solved at t = {words}")
    print()
