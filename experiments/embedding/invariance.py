"""The verb `invariance`: what different networks make of the same latents (Fig. 10)."""

import dataclasses

import keras
import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.networks.blocks import Normalizer
from ddim_embed.process import sampling
from ddim_embed.store.sealed import read_arrays, write_arrays
from ddim_embed.training.loop import warmup_cosine
from experiments.embedding import invariance_figures, training
from experiments.embedding.claims import invariance_verdict
from experiments.embedding.sections import INVARIANCE
from experiments.toolkit import results, runs, sources, tables
from experiments.toolkit.command_line import UsageError


@dataclasses.dataclass(frozen=True)
class Variant:
    """A small generator, with weights and noise of its own seed.

    Attributes:
        widths, block_depth, attention: options of the denoiser, a `UNet`.
        seed: random seed, added to the experiment's.
        memorises: whether it is trained on the few images of the exact denoiser only.
    """

    widths: tuple[int, ...]
    block_depth: int
    attention: str | None
    seed: int
    memorises: bool = False


VARIANTS = {
    "plain": Variant((16, 32, 64), 2, None, 101),
    "wide and shallow": Variant((32, 64), 1, None, 102),
    "deep": Variant((16, 24, 32, 48), 2, None, 103),
    "spatial attention": Variant((16, 32, 64), 1, "spatial", 104),
    "squeeze and excitation": Variant((16, 32, 64), 1, "squeeze_excitation", 105),
    "NAFNet attention": Variant((16, 32, 64), 1, "nafnet", 106),
    "trained on few": Variant((16, 32, 64), 2, None, 107, memorises=True),
}
SHIPPED = "the shipped generator"
EXACT = "exact denoiser of few"
# Shares of the training after which latents are decoded.
_MILESTONES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_SAMPLER_STEPS = (1, 2, 5, 10, 20, 50)
_BATCH = 100  # latents decoded at a time


def run(verb):
    """Trains small generators, decodes the same latents with all, and compares the images.

    Writes `invariance.json` and figures. A killed training resumes.
    """
    config, latents = verb.config, verb.latents
    networks = verb.networks or tuple(VARIANTS)
    for name in networks:
        if name not in VARIANTS:
            raise UsageError(f"A network must be one of {tuple(VARIANTS)}. Received: {name!r}")
    if sum(not VARIANTS[name].memorises for name in networks) < 2:
        raise UsageError(f"At least two networks trained on all images are needed: {networks}")
    pixels = sources.load(config, "train", training.NORMALIZER_IMAGES)
    subset = pixels[: verb.few]
    milestones = sorted({max(1, round(share * verb.steps)) for share in _MILESTONES})
    counts = sorted({count for count in _SAMPLER_STEPS if not config.smoke} | {config.num_steps})
    decoded = {}  # name -> (kind, number) -> images
    for name in networks:
        decoded[name] = _train_and_decode(config, name, pixels, subset, latents, milestones, counts)
    shipped = _shipped(config, latents, counts)
    if shipped is not None:
        decoded[SHIPPED] = shipped
    normalizer = Normalizer(config.channels)
    normalizer.adapt(pixels)
    exact = _exact(config, subset, normalizer, latents)

    final = ("sampler_steps", config.num_steps)
    same_data = [name for name in decoded if not _memorises(name)]
    trained = [name for name in same_data if name != SHIPPED]

    def compare(names, key):
        return _compare([decoded[name][key] for name in names], config)

    contents = {
        "dataset": config.name,
        "latents": latents,
        "few": len(subset),
        "networks": {
            name: dataclasses.asdict(VARIANTS[name]) for name in decoded if name in VARIANTS
        },
        "names": same_data,
        "all": compare(same_data, final),
        "training": [
            {"steps": step, "images": step * config.batch_size}
            | compare(trained, ("training_steps", step))
            for step in milestones
        ],
        "sampler_steps": [
            {"num_steps": count} | compare(same_data, ("sampler_steps", count)) for count in counts
        ],
        "exact": {name: _pair(decoded[name][final], exact, config) for name in decoded},
    }
    contents["verdict"] = invariance_verdict(contents["all"])
    contents["options"] = verb.options
    contents |= results.provenance(config, verb.command)
    images = {name: decoded[name][final] for name in decoded} | {EXACT: exact}
    INVARIANCE.publish(
        verb.outputs,
        contents,
        lambda: invariance_figures.figures(contents, images, config.shown),
    )
    tables.show(
        f"Ratio of distances: of random images over those of the same latents. The paper: 100 to "
        f"1,000; {contents['verdict']}",
    )


def _memorises(name):
    return name in VARIANTS and VARIANTS[name].memorises


def _compare(images, config):
    """Compares the images of several networks, of the same latents each: a dict."""
    found = vars(de.agreement(np.stack(images), config.padding, seed=config.seed))
    names = ("ratio", "interval", "same", "other")
    return {name: np.asarray(found[name]).tolist() for name in names}


def _pair(images, exact, config):
    """Compares a network's images with those of the exact denoiser of few images: a dict."""
    found = _compare([images, exact], config)
    return found | {name: found[name][0][1] for name in ("same", "other")}


def _train_and_decode(config, name, pixels, subset, count, milestones, counts):
    """Returns images of one variant, cached or new: a dict from (kind, number) to an array."""
    variant = VARIANTS[name]
    folder = config.run_folder / "invariance" / name.replace(" ", "_")
    identity = (
        f"{variant} {milestones[-1]} {len(subset)} {config.batch_size} {config.learning_rate} "
        f"{config.precision} {config.image_shape} {runs.run_key(config)}"
    )
    wanted = [("training_steps", step) for step in milestones]
    wanted += [("sampler_steps", number) for number in counts]
    images_of = {
        key: _read(folder / f"{key[0]}-{key[1]}.npz", f"{identity} {config.num_steps} {count}")
        for key in wanted
    }
    if all(images is not None for images in images_of.values()):
        return images_of

    model = _diffusion_model(config, variant)
    model.normalizer.adapt(pixels)
    model.compile(keras.optimizers.Adam(warmup_cosine(config.learning_rate, milestones[-1])))

    def decode(key, num_steps):
        generator = de.Generator.from_diffusion(model, config.image_shape)
        images = _decode(generator, count, config.seed, num_steps)
        write_arrays(
            folder / f"{key[0]}-{key[1]}.npz",
            f"{identity} {config.num_steps} {count}",
            images=images,
        )
        images_of[key] = images

    def batches(step):
        if not variant.memorises:
            return sources.stream(
                dataclasses.replace(config, seed=config.seed + variant.seed),
                config.batch_size,
                step,
            )
        return _batches(subset, config.batch_size, config.seed + variant.seed, step)

    for step in milestones:
        runs.run(
            config,
            model,
            batches,
            step,
            folder,
            identity=identity,
            description=f"{name}, {step} of {milestones[-1]}",
        )
        if int(model.optimizer.iterations) == step and images_of[("training_steps", step)] is None:
            decode(("training_steps", step), config.num_steps)
    missing = [key for key, images in images_of.items() if images is None]
    if any(kind == "training_steps" for kind, _ in missing):
        raise UsageError(f"Images made in training are missing from {folder}: delete it.")
    for key in tqdm(missing, desc=f"{name}, sampler steps", disable=not config.progress):
        decode(key, key[1])
    return images_of


def _diffusion_model(config, variant):
    """Returns the untrained `DiffusionModel` of a variant, with the configuration's loss."""
    changed = {"widths": variant.widths, "block_depth": variant.block_depth}
    changed["seed"] = config.seed + variant.seed
    return training.diffusion_model(dataclasses.replace(config, **changed), variant.attention)


def _batches(pixels, batch_size, seed, step):
    """Yields endless batches of few images, a function of seed and step alone."""
    while True:
        rng = np.random.default_rng((seed, step))
        yield pixels[rng.integers(0, len(pixels), batch_size)]
        step += 1


def _decode(generator, count, seed, num_steps):
    """Decodes the first `count` latents of a seed to clipped pixels, float16.

    Each generator decodes once here, so that tracing one step is faster than all as `decode` does.
    """
    denoise = generator.denoiser("float32", num_steps).compiled
    parts = []
    for part in np.split(generator.latents(count, seed), range(_BATCH, count, _BATCH)):
        images = sampling.sample(denoise, generator.schedule, part, num_steps, generator.last_step)
        parts.append(np.clip(generator.normalizer.inverse(images), 0, 1).astype(np.float16))
    return np.concatenate(parts)


def _read(path, identity):
    arrays = read_arrays(path, identity)
    return None if arrays is None else arrays["images"]


def _shipped(config, count, counts):
    """Returns images of the generator of the experiment, or None without weights."""
    with sources.left_out_without_weights(SHIPPED):
        generator = de.load_generator(config.name, config.weights)
        return {
            ("sampler_steps", num_steps): _decode(generator, count, config.seed, num_steps)
            for num_steps in counts
        }


def _exact(config, subset, normalizer, count):
    """Returns images of the exact denoiser of a few images, from the same latents."""
    generator = de.build_generator(config.image_shape, (8,), 1, num_steps=config.num_steps)
    denoise = de.EmpiricalDenoiser(normalizer(subset).numpy())
    images = sampling.sample(
        denoise, generator.schedule, generator.latents(count, config.seed), config.num_steps
    )
    return np.clip(normalizer.inverse(images).numpy(), 0, 1).astype(np.float16)
