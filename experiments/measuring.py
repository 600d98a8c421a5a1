"""The verb `measure`: errors of weights that were trained where they could not be measured."""

import dataclasses
from typing import ClassVar

from experiments.configuration import IMAGES, NETWORKS, WEIGHTS, Verb


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Verb):
    """Measures recorded weights that were trained where they could not be: with JAX."""

    uses: ClassVar = WEIGHTS | IMAGES | {"images", "runs", "mirror"}
    smoke_networks: ClassVar = None

    def run(self):
        measure(self.config)


VERBS = {"measure": Measure}


def measure(config):
    """Measures the recorded weights that have no errors yet, and records these."""
    from ddim_embed.store.weights import read_manifest, record_errors
    from experiments.toolkit import runs, sources

    manifest = read_manifest(config.weights)
    names = [
        name
        for name in ("generator", *NETWORKS, "autoencoder", "prior")
        if not manifest.get(f"{config.name}/{name}", {"errors": True})["errors"]
    ]
    test = sources.load(config, "test", limit=config.images)
    for name in names:
        entry = manifest[f"{config.name}/{name}"]
        errors = _errors(config, name, test, entry["budget"])
        record_errors(config.weights, config.name, name, errors, entry["sha256"])
        print(f"{config.name}/{name}: {runs.in_words(errors)}")
    if not names:
        print(f"All recorded weights of {config.name} are measured.")
    return names


def _errors(config, name, test, budget):
    from experiments.autoencoder import priors
    from experiments.autoencoder import training as autoencoder_training
    from experiments.embedding import training
    from experiments.toolkit import sources

    if name == "autoencoder":
        return autoencoder_training.errors_of(sources.load_autoencoder(config), test)
    if name == "prior":
        return priors.measure(config)
    return training.measure(config, name, test, budget)
