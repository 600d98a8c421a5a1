"""Runs an experiment: `main(CONFIG)` hands the verbs of all systems to the command line."""

import dataclasses

from experiments.autoencoder.attribute_verbs import VERBS as ATTRIBUTES
from experiments.autoencoder.sampling_verbs import VERBS as SAMPLING
from experiments.autoencoder.verbs import VERBS as AUTOENCODER
from experiments.embedding.verbs import VERBS as EMBEDDING
from experiments.inversion.verbs import VERBS as INVERSION
from experiments.measuring import VERBS as MEASURING
from experiments.semantics.verbs import VERBS as SEMANTICS
from experiments.toolkit import command_line
from experiments.toolkit.command_line import UsageError

VERBS = EMBEDDING | MEASURING | INVERSION | AUTOENCODER | SAMPLING | ATTRIBUTES | SEMANTICS


def main(config, arguments=None):
    """Runs one verb of an experiment, whose values are the defaults of the flags.

    Errors take one line on stderr and end with an exit code, as `console.errors_in_a_line` says.
    """
    command_line.main(config, VERBS, arguments, prepare)


def prepare(verb):
    """Returns a verb that can run here: its precision is chosen, what a smoke run needs trained.

    Of several workers all but the chief have subfolders of their own, as no two may train in one.
    """
    if "strategy" in verb.uses:
        from ddim_embed import training_strategy

        try:  # before anything is computed
            strategy = training_strategy(verb.config.strategy)
        except ValueError as error:
            raise UsageError(f"--strategy {verb.config.strategy}: {error}") from error
        if not strategy.is_chief:
            own, config = f"worker-{strategy.worker}", verb.config
            folders = {"runs": config.runs / own, "results": config.results / own}
            verb = dataclasses.replace(verb, config=dataclasses.replace(config, **folders))
    if verb.config.precision == "auto":
        from ddim_embed.backend import fast_precision

        precision, reason = fast_precision()
        verb = dataclasses.replace(
            verb, config=dataclasses.replace(verb.config, precision=precision)
        )
        if "precision" in verb.uses:
            print(f"Training in {precision}: {reason}.")
    train_for_smoke(verb)
    return verb


def train_for_smoke(verb):
    """Trains, in seconds, what a verb needs in a smoke run: a generator, networks, its own."""
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
    verb.train_for_smoke(existing)
