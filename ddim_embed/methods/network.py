"""Embedding networks as a method."""

import dataclasses
import hashlib

import keras

from ddim_embed import arguments
from ddim_embed.methods.protocol import Method, Solution
from ddim_embed.networks.embedders import NETWORKS


@dataclasses.dataclass(frozen=True)
class Network(Method):
    """An embedding network: one evaluation per image (Asperti et al., Sec. 5.2).

    Attributes:
        network: a name of `NETWORKS`; the weights shipped for the generator's data set are loaded.
        embedder: a model of `build_embedder` to use instead of shipped weights.

    Raises:
        ValueError: for an unknown name, or an `embedder` that is no model.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> network = de.Network(embedder=de.build_embedder("conv1"))
        >>> de.embed(generator, generator.sample(3).clip(0, 1), network).evaluations.tolist()
        [1.0, 1.0, 1.0]
    """

    network: str = "unet"
    embedder: keras.Model | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.embedder is None:
            arguments.choice("network", self.network, NETWORKS)
        else:
            arguments.instance("embedder", self.embedder, keras.Model)

    def prepare(self, generator):
        self._model(generator)

    def fingerprint(self, generator):
        if self.embedder is None:
            return f"{self!r} {self._files(generator).checksum(self.network)}"
        digest = hashlib.sha256()
        for weight in self.embedder.get_weights():
            digest.update(weight.tobytes())
        return f"{dataclasses.replace(self, embedder=None)!r} {digest.hexdigest()}"

    def solve(self, generator, pixels, latents, tick, held=None):
        images = generator.normalizer(pixels).numpy()
        model = self._model(generator)
        predicted = model.predict(images, batch_size=self.batch_size, verbose=0)
        return Solution(predicted, evaluations=1)

    def _model(self, generator):
        if self.embedder is not None:
            return self.embedder
        return self._files(generator).embedder(self.network)

    def _files(self, generator):
        if generator.files is None:
            raise ValueError(
                "This generator has no shipped embedding networks. Pass one: "
                "`Network(embedder=model)`."
            )
        return generator.files
