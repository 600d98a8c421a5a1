"""The driver that all methods share: checks arguments, splits batches, measures time and error."""

import functools
import time

from tqdm.auto import tqdm

from ddim_embed.methods.embedding import concatenate


def check(method, generator, pixels, latents=None, mask=None):
    """Checks the arguments of `Method.__call__`.

    Returns pixels and latents as float32 arrays, and which pixels are held, as for `Method.solve`.
    Raises a ValueError for those that do not fit the generator, each other or the method.
    """
    name = type(method).__name__
    pixels, held = generator.check_pixels(pixels), None
    if mask is not None:
        if not method.takes_mask:
            raise ValueError(
                f"{name} embeds whole images: it takes no `mask`. LBFGS, Descent, GaussNewton, "
                "DefectCorrection and a Hybrid that ends with one of them do."
            )
        held = generator.check_mask(mask, len(pixels))
    if latents is not None:
        if not method.refines:
            raise ValueError(f"{name} cannot go on from given `latents`.")
        latents = generator.check_latents(latents)
        if len(latents) != len(pixels):
            raise ValueError(
                f"`latents` must be as many as `pixels`, {len(pixels)}. Received: {len(latents)}"
            )
    return pixels, latents, held


def run(method, generator, pixels, seed, latents=None, held=None):
    """Embeds pixels that `check` returned batch by batch, and certifies each solution.

    A batch gets the generator of its own images: `generator.take` slices the condition.
    """
    count, size, ticks = len(pixels), method.batch_size, method.ticks
    if latents is None and method.refines:
        latents = method.initial_latents(generator, count, seed)
    method.prepare(generator)
    parts = []
    with tqdm(
        total=count * ticks,
        unit="image",
        desc=type(method).__name__,
        disable=not method.progress,
        unit_scale=1 / ticks,
    ) as bar:
        for start in range(0, count, size):
            batch = slice(start, start + size)
            own = generator.take(batch)
            part, first, free = (
                None if values is None else values[batch] for values in (pixels, latents, held)
            )
            tick = functools.partial(bar.update, len(part))
            started = time.perf_counter()
            solution = method.solve(own, part, first, tick, free)
            seconds = time.perf_counter() - started
            bar.update((start + len(part)) * ticks - bar.n)
            parts.append(solution.certify(own, part, seconds, free))
    return concatenate(parts)
