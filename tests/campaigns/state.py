"""Checkpoints, cached chunks and latent pairs that are damaged between two runs."""

import keras
import numpy as np
from conftest import make_diffusion, make_generator, make_pixels

import ddim_embed as de
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.training.loop import CHECKPOINT, HISTORY, restore_checkpoint, save_checkpoint

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused, remove


class State:
    """What a run leaves for the next one, which ends as it would have, or refuses."""

    name = "state"

    def __init__(self, folder):
        self.folder = folder / "run"
        self.folder.mkdir()
        self.user = folder / "user"
        self.user.mkdir()
        self.model = make_diffusion(widths=(4,))
        self.model.compile(keras.optimizers.SGD(0.01, momentum=0.5))
        self.model.optimizer.build(self.model.trainable_variables)
        self.weights = self.model.get_weights()
        history = [{"step": 0, "seconds": 0.1, "loss": 0.5}]
        save_checkpoint(self.folder / CHECKPOINT, self.model, 1.5, history, "a run")
        put(self.folder / HISTORY, b'{"step": 0}\n')
        self.generator = make_generator(image_shape=(8, 8, 1), widths=(4, 8), num_steps=1)
        self.pixels = make_pixels(4)
        self.embedding = self._embed()
        self.pairs = self._pairs()
        self.files = {
            path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()
        }
        put(self.user / "file", b"a user's")
        self.bystanders = Bystanders(self.user)

    def _embed(self):
        return embed_in_chunks(
            self.generator, self.pixels, de.DDIMInversion(), chunk_size=2, folder=self.folder
        )

    def _pairs(self):
        return de.LatentPairs(self.generator, 64, self.folder / "pairs.bin", progress=False).pixels

    def draw(self, rng):
        for child in self.folder.iterdir():
            remove(child)
        for name, contents in self.files.items():
            put(self.folder / name, contents)
        name = rng.choice([CHECKPOINT, CHECKPOINT, "0.npz", "2.npz", "pairs.bin", HISTORY])
        path = self.folder / name
        kind = rng.choice(("bytes", "bytes", "bytes", "place", "other", "temporary", "link"))
        if kind == "bytes":
            words, contents = damaged(self.files[name], rng)
            put(path, contents)
        elif kind == "place":
            words = rng.choice(PLACES)
            place(path, words)
        elif kind == "other":
            words = rng.choice([each for each in self.files if each != name])
            put(path, self.files[words])
        elif kind == "temporary":  # what a kill, or someone else, has left
            words = rng.choice((f".saving-1-{'0' * 16}.npz", ".lock", ".pairs.bin.lock"))
            if rng.random() < 0.5:
                put(self.folder / words, b"left")
            else:
                (self.folder / words).symlink_to(self.user / "file")
        else:
            words = ""
            put(self.user / "own", self.files[name])
            remove(path)
            path.symlink_to(self.user / "own")
            self.bystanders = Bystanders(self.user)

        def attempt():
            self.model.set_weights([np.zeros_like(values) for values in self.weights])
            use = {
                CHECKPOINT: self._restore,
                HISTORY: self._restore,
                "pairs.bin": self._compare_pairs,
            }
            result = refused(use.get(name, self._compare_chunks))
            self.bystanders.check()
            return REFUSED if result is None else DONE

        return f"{name} {kind} {words}", attempt

    def _restore(self):
        try:
            seconds, history = restore_checkpoint(self.folder / CHECKPOINT, self.model, "a run")
        except ValueError:
            if any(values.any() for values in self.model.get_weights()):
                raise Fault("refused, but the model is another one") from None
            raise
        if seconds != 1.5 or len(history) != 1 or history[0]["loss"] != 0.5:
            raise Fault(f"another history: {seconds}, {history}")
        if not all(map(np.array_equal, self.model.get_weights(), self.weights)):
            raise Fault("another model than was saved")

    def _compare_chunks(self):
        found = self._embed()
        if not np.array_equal(found.latents, self.embedding.latents):
            raise Fault("other latents")
        if not np.array_equal(found.mse, self.embedding.mse):
            raise Fault("other errors")

    def _compare_pairs(self):
        if not np.array_equal(self._pairs(), self.pairs):
            raise Fault("other pairs")
