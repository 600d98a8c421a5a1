"""Runs an experiment: `main(CONFIG)` hands the verbs of all systems to the command line."""

from experiments.embedding.verbs import VERBS as EMBEDDING
from experiments.inversion.verbs import VERBS as INVERSION
from experiments.toolkit import command_line

VERBS = EMBEDDING | INVERSION


def main(config, arguments=None):
    """Runs one verb of an experiment, whose values are the defaults of the flags.

    Prints an error to stderr and exits with code 2 for a wrong verb, flag or value, or with code 1
    where weights, data or readable images are missing.
    """
    command_line.main(config, VERBS, arguments, prepare=train_for_smoke)


def train_for_smoke(verb):
    """Trains, in seconds, the generator and the networks that a verb needs in a smoke run."""
    config, networks = verb.config, verb.smoke_networks
    if not config.smoke or networks is None:
        return
    from ddim_embed.store.weights import read_manifest
    from experiments.embedding import training

    existing = read_manifest(config.weights)
    if f"{config.name}/generator" not in existing:
        training.train(config)
    if networks and not any(f"{config.name}/{network}" in existing for network in networks):
        training.train_embedders(config, networks)
