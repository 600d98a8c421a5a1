"""What `benchmarks.scale` measures, in a process of its own: cost, memory, two processes, reading.

    python -m benchmarks.scale_work [CORE]

Reads requests as JSON lines from standard input and answers each with one line. With the number of
a core the process keeps to that one. One model at a time is in memory, that of the last request.
"""

import dataclasses
import functools
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

from benchmarks.worker import forget_peak, peak_mib
from tests.random_weights import set_random_weights

# A point is called again until this many calls are timed, or so many seconds are over.
_CALLS, _SECONDS = 5, 2.0


@dataclasses.dataclass(frozen=True)
class Case:
    """A method whose cost is measured.

    Attributes:
        options: of the method, of which `count` is the number of iterations.
        count: name of the option that counts iterations; None for a method without them.
        unit: what an iteration is called.
        measured, usual: iterations here, and by default or in the paper.
        extra: iterations' worth of work that a run has beyond them.
        sampler: whether the cost depends on the sampler's steps.
        largest: whether the largest resolution is measured, too.
        most: the largest batch.
    """

    options: dict = dataclasses.field(default_factory=dict)
    count: str | None = None
    unit: str = ""
    measured: int = 0
    usual: int = 0
    extra: float = 0.0
    sampler: bool = True
    largest: bool = False
    most: int = 64

    @property
    def ratio(self):
        """The cost by default over that of what is measured."""
        return (self.usual + self.extra) / (self.measured + self.extra) if self.count else 1.0


_NETWORK = Case(sampler=False, largest=True)
CASES = {
    "decode": Case(largest=True),
    "conv1": _NETWORK,
    "conv3_16": _NETWORK,
    "conv3_64": dataclasses.replace(_NETWORK, largest=False),
    "conv5_128": dataclasses.replace(_NETWORK, largest=False, most=16),
    "unet": _NETWORK,
    "ddim_inversion": Case(largest=True),
    # An evaluation of each step follows its iterations.
    "implicit": Case({"tolerance": 0.0}, "iterations", "iteration a step", 3, 10, extra=1.0),
    # The first decode is a third of a sweep with its decode.
    "correction": Case({}, "num_steps", "sweep with its decode", 3, 11, extra=-2 / 3),
    "descent": Case({}, "num_steps", "iteration", 3, 1500),
    "lbfgs": Case({}, "num_steps", "iteration", 3, 100),
    # A network of the same sizes, and then `correction`.
    "hybrid": Case({}, "num_steps", "sweep with its decode", 3, 11, extra=-2 / 3),
}  # fmt: skip


def make_generator(setup, resolution, steps, widths=None, block_depth=None):
    """A generator with random weights of trained-like size.

    Args:
        setup: dict with "widths", "block_depth" and "channels".
        resolution: height and width of its images.
        steps: of the sampler.
        widths, block_depth: other sizes than those of `setup`.
    """
    import ddim_embed as de

    generator = de.build_generator(
        (resolution, resolution, setup["channels"]),
        tuple(widths or setup["widths"]),
        block_depth or setup["block_depth"],
        num_steps=steps,
    )
    set_random_weights(generator, seed=0)
    kernel = generator.network.output_conv.kernel
    kernel.assign(0.02 * np.random.default_rng(0).normal(size=kernel.shape))
    generator.normalizer.set_weights([np.full(setup["channels"], v) for v in (0.5, 0.06)])
    return generator


def make_pixels(count, resolution, channels):
    """Random pixels in [0, 1]."""
    shape = (count, resolution, resolution, channels)
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def make_embedder(name, setup):
    """An embedding network with the widths of the generator."""
    import ddim_embed as de

    sizes = setup["channels"], setup["widths"], setup["block_depth"]
    return set_random_weights(de.build_embedder(name, *sizes), seed=2)


def make_method(name, setup, iterations=None):
    """A configured method by its name in `CASES`, with the iterations that are measured."""
    import ddim_embed as de

    case = CASES[name]
    options = dict(case.options)
    if case.count:
        options[case.count] = iterations or case.measured
    if name in de.NETWORKS:
        return de.Network(embedder=make_embedder(name, setup), batch_size=case.most)
    if name == "hybrid":
        start = de.Network(embedder=make_embedder("unet", setup), batch_size=case.most)
        return de.Hybrid(start, de.DefectCorrection(**options, batch_size=case.most))
    return de.METHODS[name](**options, batch_size=case.most)


def cost(setup, method, resolution, steps, batch, widths=None, block_depth=None):
    """Seconds of a batch: of the method alone, without the decode that certifies its result.

    Returns:
        Dict: "seconds" per image, the median of the calls; "calls"; "evaluations" per image.
    """
    import ddim_embed as de

    generator = make_generator(setup, resolution, steps, widths, block_depth)
    evaluations = steps
    if method == "decode":
        latents = generator.latents(batch)

        def call():
            started = time.perf_counter()
            np.asarray(generator.decode(latents))
            return time.perf_counter() - started

        call()  # compiles
    else:
        pixels = make_pixels(batch, resolution, setup["channels"])
        embed = make_method(method, setup)
        # Compiles; two iterations use all there is.
        few = make_method(method, setup, 2) if CASES[method].count else embed
        de.embed(generator, pixels, few)

        def call():
            nonlocal evaluations
            result = de.embed(generator, pixels, embed)
            evaluations = float(result.evaluations.mean())
            return result.seconds

    seconds = _timed(call)
    return {
        "seconds": statistics.median(seconds) / batch,
        "calls": len(seconds),
        "evaluations": evaluations,
    }


def _timed(call):
    seconds, began = [], time.perf_counter()
    while len(seconds) < _CALLS and (not seconds or time.perf_counter() - began < _SECONDS):
        seconds.append(call())
    return seconds


def memory(setup, resolution, steps, batch, remat):
    """Peak memory of an embedding training step through the sampler, above that before it, MiB."""
    trainer = _make_trainer("embedder", setup, resolution, steps, remat)
    pixels = make_pixels(batch, resolution, setup["channels"])
    # What the library takes once it computes; images of the full size would leave memory behind.
    trainer.embedder(pixels[:1, :16, :16])
    gc.collect()
    forget_peak()
    before = _resident_mib()
    loss = float(_compiled_step(trainer)(pixels)["loss"])
    if not np.isfinite(loss):
        raise FloatingPointError(f"The loss is {loss}")
    return {"mib": peak_mib() - before, "before_mib": before}


def _compiled_step(trainer):
    from ddim_embed import backend

    return backend.compiled(trainer.train_step)


def _resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _make_trainer(piece, setup, resolution, steps, remat=False, widths=None, block_depth=None):
    import keras

    import ddim_embed as de

    if piece == "embedder":
        generator = make_generator(setup, resolution, steps)
        model = de.EmbedderTrainer(make_embedder("unet", setup), generator, remat=remat)
    else:
        network = de.UNet(setup["channels"], tuple(widths), block_depth)
        model = de.DiffusionModel(network)
        model.normalizer.adapt(make_pixels(4, resolution, setup["channels"]))
    model.compile(keras.optimizers.Adam(1e-5))
    return model


@functools.lru_cache(maxsize=1)
def _trained(strategy, piece, setup, **options):
    """A trainer, and the folder of its run; `setup` is JSON, so that a later request has them."""
    import ddim_embed as de

    strategy = de.training_strategy(strategy)
    with strategy.scope():
        model = _make_trainer(piece, json.loads(setup), **options)
    return strategy, model, tempfile.TemporaryDirectory()


def training(setup, piece, strategy, resolution, steps, batch, count, widths=(), block_depth=1):
    """Seconds of `count` training steps, each by itself; the first request compiles.

    Returns:
        Dict: "seconds", a list; "gradient_mib", of all weights' gradients; of a chief also
        "checkpoint_seconds" and "checkpoint_mib".
    """
    import ddim_embed as de
    from ddim_embed.parallel import share
    from ddim_embed.training.loop import save_checkpoint

    trained, model, folder = _trained(
        strategy, piece, json.dumps(setup), resolution=resolution, steps=steps,
        widths=tuple(widths), block_depth=block_depth,
    )  # fmt: skip
    pixels = make_pixels(batch, resolution, setup["channels"])
    own, times = pixels[share(batch, *trained.shard)], []

    def batches(step):
        while True:  # the next one is asked for when a step is done
            times.append(time.perf_counter())
            yield own

    done = int(model.optimizer.iterations.numpy())
    run = Path(folder.name, "run")
    de.train(model, batches, done + count + 1, run, progress=False, log_steps=10**6)
    weights = sum(int(np.prod(w.shape)) for w in model.trained.trainable_weights)
    answer = {"seconds": np.diff(times).tolist(), "gradient_mib": 4 * weights / 2**20}
    if trained.is_chief:
        path, began = Path(folder.name, "again"), time.perf_counter()
        save_checkpoint(path, model)
        answer["checkpoint_seconds"] = time.perf_counter() - began
        answer["checkpoint_mib"] = path.stat().st_size / 2**20
    return answer


def embed_many(setup, method, resolution, steps, images, chunk, workers):
    """Seconds of `embed_many` of an array, by this process or by processes of this machine.

    The first request also starts and compiles what all of them use.
    """
    own = _embedding(json.dumps(setup), method, resolution, steps, chunk, workers)
    seconds, size = own(make_pixels(images, resolution, setup["channels"]))
    return {"seconds": seconds, "bytes_an_image": size}


@functools.lru_cache(maxsize=1)
def _embedding(setup, method, resolution, steps, chunk, workers):
    """A function from pixels to the seconds of `embed_many`, and the bytes that an image takes."""
    import ddim_embed as de

    setup = json.loads(setup)
    generator, method = make_generator(setup, resolution, steps), make_method(method, setup)

    def embed(pixels):
        with tempfile.TemporaryDirectory() as folder:
            began, options = time.perf_counter(), {"chunk_size": chunk, "workers": workers}
            found = de.embed_many(generator, pixels, folder, method, **options)
            seconds = time.perf_counter() - began
            size = sum(path.stat().st_size for path in found.folder.glob("*.npz"))
        return seconds, size / len(pixels)

    # A worker that has started earlier than another may do all of the first work.
    for _ in range(1 if workers == 1 else 3):
        embed(make_pixels(workers * chunk, resolution, setup["channels"]))
    return embed


def reading(setup, resolution, images):
    """Images a second that one process reads: PNG files of this size, in chunks."""
    from PIL import Image

    from ddim_embed.data.chunks import read_chunks

    shape = (resolution, resolution, setup["channels"])
    with tempfile.TemporaryDirectory() as folder:
        # Smooth, as photographs are: noise does not compress, and takes longer to read.
        ramp = np.linspace(0, 3, resolution)
        waves = np.sin(ramp[:, None, None] + ramp[:, None] + np.arange(3))
        noise = np.random.default_rng(1).normal(0, 2, (resolution, resolution, 3))
        array = np.clip(128 + 100 * waves + noise, 0, 255).astype(np.uint8)
        for number in range(images):
            Image.fromarray(np.roll(array, number, 0)).save(Path(folder, f"{number:06}.png"))
        began = time.perf_counter()
        count = sum(len(chunk.pixels) for chunk in read_chunks(folder, shape, 0, 64))
        seconds = time.perf_counter() - began
    return {"images_per_second": count / seconds}


MEASURES = {
    function.__name__: function for function in (cost, memory, training, embed_many, reading)
}


def main(core=None):
    """Answers requests `{"measure", ...}`, with what the function of that name returns."""
    if core is not None:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(core) % len(allowed)]})
    # The libraries print, too; the answers go where nothing else does.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if "TF_CONFIG" not in os.environ:  # whose runtime a strategy begins
        import ddim_embed as de

        de.use_one_core_per_operation()  # as the commands do
    for line in sys.stdin:
        request = json.loads(line)
        measure = MEASURES[request.pop("measure")]
        try:
            answer = measure(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        gc.collect()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
