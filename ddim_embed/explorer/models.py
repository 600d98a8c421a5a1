"""What the page computes with: generators and autoencoders by name, loaded once for all users."""

import contextlib
import threading
from pathlib import Path

import ddim_embed as de
from ddim_embed.networks.embedders import NETWORKS
from ddim_embed.store.weights import MissingWeightsError, read_manifest

# Coupled methods find pairs of latents, which the other panels cannot use.
_COUPLED = ("edict", "bdia")
# Less than by default, so that nobody waits for minutes ("Refine" goes on from there), and the
# Python that makes them.
_CONFIGURED = {
    "descent": (lambda: de.Descent(num_steps=100), "de.Descent(num_steps=100)"),
    "lbfgs": (lambda: de.LBFGS(num_steps=40), "de.LBFGS(num_steps=40)"),
    "gauss_newton": (lambda: de.GaussNewton(num_steps=5), "de.GaussNewton(num_steps=5)"),
    "hybrid": (
        lambda: de.Hybrid("unet", de.LBFGS(num_steps=40)),
        'de.Hybrid("unet", de.LBFGS(num_steps=40))',
    ),
}


class Models:
    """Generators and autoencoders of a folder of weights.

    Users share them: whoever computes holds `lock`.

    Args:
        root: folder of weights; None for those of the package.
        num_steps: sampler steps.
    """

    def __init__(self, root: Path | None = None, num_steps: int = 10):
        self.root, self.num_steps = root, num_steps
        self.lock = threading.RLock()
        self._manifest = read_manifest(root)
        self._loaded = {}

    @property
    def names(self) -> list[str]:
        """Data sets with a generator, Fashion-MNIST first: it has sample images."""
        found = [name.split("/")[0] for name in self._manifest if name.endswith("/generator")]
        return sorted(found, key=lambda name: (name != "fashion_mnist", name))

    def methods(self, model: str) -> list[str]:
        """Names of the methods that find latents for a model, the best networks first."""
        ships = [name for name in reversed(NETWORKS) if f"{model}/{name}" in self._manifest]
        others = [name for name in de.METHODS if name not in (*NETWORKS, *_COUPLED)]
        if "unet" not in ships:
            others.remove("hybrid")
        others.sort(key=lambda name: name != "implicit")  # the quickest of them first
        return [*ships, *others]

    def method(self, name: str) -> tuple[object, str]:
        """A method of `methods`, and the Python that makes it."""
        make, code = _CONFIGURED.get(name, (de.METHODS[name], f'"{name}"'))
        return make(), code

    def generator(self, model: str) -> de.Generator:
        """The generator of a data set."""
        return self._load(de.load_generator, model)

    def autoencoder(self, model: str) -> de.Autoencoder | None:
        """The diffusion autoencoder of a data set, or None."""
        with contextlib.suppress(MissingWeightsError):
            return self._load(de.load_autoencoder, model)

    def directions(self, model: str) -> list[str]:
        """Names of the directions of h that ship for a data set."""
        start = f"{model}/direction_"
        return [name.removeprefix(start) for name in self._manifest if name.startswith(start)]

    def has(self, model: str, name: str) -> bool:
        """Whether there are weights of this name for a data set."""
        return f"{model}/{name}" in self._manifest

    def cached(self, key: tuple, make):
        """What `make()` returned the first time, for all users: nothing of a user's image."""
        with self.lock:
            if key not in self._loaded:
                self._loaded[key] = make()
            return self._loaded[key]

    def call(self, function: str, *names: str, steps: bool = True) -> str:
        """The Python that loads something by its names, with the options of these models."""
        words = [f'"{name}"' for name in names]
        if self.root is not None:
            words.append(f"root={str(self.root)!r}")
        if steps and self.num_steps != 10:
            words.append(f"num_steps={self.num_steps}")
        return f"de.{function}({', '.join(words)})"

    def _load(self, load, model):
        return self.cached((load, model), lambda: load(model, self.root, num_steps=self.num_steps))
