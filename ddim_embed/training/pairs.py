"""Generated images with the latents that they come from, for the warm start."""

import contextlib
import warnings

import numpy as np
from keras import ops
from tqdm import tqdm

from ddim_embed import arguments
from ddim_embed.generator.generator import DECODE_BATCH, as_generator
from ddim_embed.parallel import check_shard, share
from ddim_embed.process import noise
from ddim_embed.store.locks import LockedError, locked
from ddim_embed.store.sealed import DamagedError, read_sealed, write_sealed


class LatentPairs:
    """A set of (pixels, latents) with pixels = clip(decode(latents)), stored in a file.

    Latents are a function of the seed, so the file holds the pixels alone, as float16, after a line
    that says whose they are, with a checksum behind them. It grows part by part; a killed run goes
    on where it stopped, and all five networks share it: what comes second waits for the first.

    Args:
        generator: a `Generator`.
        count: how many pairs, rounded up to whole parts of `DECODE_BATCH`.
        path: the file; one that belongs to another generator or seed, or is damaged, is made anew.
        seed: integer.
        progress: whether to show a progress bar.

    Example:
        >>> import tempfile
        >>> generator = de.build_generator((16, 16, 1), widths=(4, 8), block_depth=1, num_steps=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pairs = de.LatentPairs(generator, 64, folder + "/pairs.bin", progress=False)
        >>> pixels, latents = next(pairs.batches(8))
        >>> pixels.shape, latents.shape
        ((8, 16, 16, 1), (8, 16, 16, 1))
    """

    def __init__(self, generator, count, path, seed=0, progress=True):
        self._shape = as_generator(generator).image_shape
        self._seed = arguments.seed(seed)
        self._num_parts = -(-arguments.integer("count", count) // DECODE_BATCH)
        path = arguments.path("path", path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_at(path):
            self.pixels = self._load_or_decode(generator, path, progress)

    def __len__(self):
        return len(self.pixels)

    def latents(self, part):
        """The latents of one part, `(DECODE_BATCH, height, width, channels)`."""
        seed = noise.seed_words(self._seed, part)
        return noise.normal((DECODE_BATCH, *self._shape), seed, numpy=True)

    def batches(self, batch_size, start_step=0, shard=(0, 1)):
        """Batches of pairs without end, shuffled anew each epoch, from batch `start_step` on.

        Args:
            batch_size: at most the number of pairs.
            start_step: how many batches a resumed run has seen.
            shard: (worker, number of workers), as for `stream_images`.

        Returns:
            An iterator of `(pixels, latents)`, float32 arrays `(batch, height, width, channels)`.

        Raises:
            ValueError: if `batch_size` is more than there are pairs.
        """
        batch_size = arguments.integer("batch_size", batch_size)
        start_step = arguments.integer("start_step", start_step, 0)
        rows = share(batch_size, *check_shard(shard, batch_size))
        if len(self) < batch_size:
            raise ValueError(
                f"`batch_size` must be at most the {len(self)} pairs. Received: {batch_size}"
            )
        return self._generate(batch_size, rows, *divmod(start_step, len(self) // batch_size))

    def _generate(self, batch_size, rows, epoch, position):
        latents = np.concatenate([self.latents(part) for part in range(self._num_parts)])
        while True:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
            for i in range(position, len(self) // batch_size):
                chosen = order[i * batch_size : (i + 1) * batch_size][rows]
                yield self.pixels[chosen].astype(np.float32), latents[chosen]
            epoch, position = epoch + 1, 0

    def _load_or_decode(self, generator, path, progress):
        identity = f"seed {self._seed}, weights {generator.fingerprint()}\n".encode()
        pixels = np.zeros((self._num_parts * DECODE_BATCH, *self._shape), np.float16)
        stored = _read(path, identity).reshape(-1, *self._shape)[: len(pixels)]
        done = len(stored) // DECODE_BATCH
        pixels[: len(stored)] = stored
        parts = range(done, self._num_parts)
        for part in tqdm(parts, desc="latent pairs", unit="part", disable=not progress):
            decoded = ops.convert_to_numpy(generator.decode(self.latents(part)))
            pixels[part * DECODE_BATCH : (part + 1) * DECODE_BATCH] = np.clip(decoded, 0, 1)
            if part % 16 == 15 or part == self._num_parts - 1:
                write_sealed(path, identity, pixels[: (part + 1) * DECODE_BATCH])
        return pixels


def _read(path, identity):
    """The pixels in a file, flat; none if there is no file, or one of another identity."""
    try:
        contents = read_sealed(path)
    except FileNotFoundError:
        contents = b""
    except DamagedError as error:
        warnings.warn(f"{error} The latent pairs are made anew.", stacklevel=4)
        contents = b""
    if contents[: len(identity)] != identity:
        return np.empty(0, np.float16)
    return np.frombuffer(contents[len(identity) :], np.float16)


@contextlib.contextmanager
def _alone_at(path):
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False))
        except LockedError as error:
            warnings.warn(f"Waiting for the latent pairs {path} of {error}", stacklevel=3)
            held.enter_context(locked(lock))
        yield
