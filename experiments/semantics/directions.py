"""The verb `train-direction`: records mean differences of h, or trains f_t and measures it."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.parallel import share
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.weights import weights_root
from experiments.semantics import figures
from experiments.semantics.bench import Bench
from experiments.semantics.sections import DELTA
from experiments.toolkit import labelled, results, runs, sources

# Training images whose latents f_t is trained on, at most, and whose features make its target.
_LATENTS, _FEATURES = 400, 2000


def run(verb):
    """Records directions, or trains f_t and writes `train_direction.json`."""
    (_mean if verb.kind == "mean" else _network)(verb)


def _mean(verb):
    config = verb.config
    require_folder(weights_root(config.weights), "--weights")
    bench = Bench(verb)
    shown = verb.chosen_of(bench.names)
    strengths = np.broadcast_to(verb.strength, len(shown)).tolist()
    removed = [bench.fitted_direction(name) for name in verb.without]
    for name, strength in tqdm(
        [*zip(shown, strengths, strict=True)], desc="directions", disable=not config.progress
    ):
        found = bench.fitted_direction(name).without(*removed)
        direction = dataclasses.replace(found, strength=strength, name=labelled.plain_name(name))
        errors = _errors(bench, name, direction) if verb.measured else {}
        budget = {"images": bench.fitted, "seed": config.seed, "command": verb.command}
        path, _ = de.record_direction(
            config.weights,
            config.name,
            direction,
            data=f"{Path(config.data).name}, {sources.part(config, 'train')}",
            budget=budget,
            errors=errors,
        )
        print(f"{path}: {runs.in_words(errors) if errors else 'not measured'}")


def _errors(bench, name, direction):
    """What the instruments say of test images that are edited with a direction's own strength."""
    index = bench.without(name)
    before = bench.embedding.reconstruction[index].clip(0, 1)
    edited = bench.edit(index, direction, direction.strength)
    row, row_before = (
        bench.measure(index, name, images, scored=False) for images in (edited, before)
    )
    found = {
        "judged_positive": row["positive"]["mean"],
        "judged_positive_before": row_before["positive"]["mean"],
        "lpips": row["lpips"]["mean"],
    }
    if "identity_median" in row:
        found["identity_median"] = row["identity_median"]
    return found | {"test_images": len(index)}


def _network(verb):
    bench = Bench(verb)
    name = verb.chosen_of(bench.names)[0]
    network = train(bench, name)
    if not de.training_strategy(verb.config.strategy).is_chief:
        return
    index = bench.without(name)
    before = bench.embedding.reconstruction[index].clip(0, 1)
    direction, recorded = bench.direction(name)
    rows = [{"way": "none", "strength": 0.0} | bench.measure(index, name, before)]
    for way, what, unit, options in (
        ("mean difference", direction, direction.strength, {}),
        # Not in steps that it was not trained for.
        ("f_t", network, 1.0, {"until": verb.until} if verb.until else {}),
    ):
        for strength in verb.delta_strength:
            edited = bench.edit(index, what, strength * unit, **options)
            row = bench.measure(index, name, edited)
            rows.append({"way": way, "strength": strength * unit} | row)
    contents = {
        "dataset": verb.config.name,
        "attribute": name,
        "images": len(index),
        "fitted": bench.fitted,
        "recorded": recorded,
        "rows": rows,
        "options": verb.options,
        **results.provenance(verb.config, verb.command),
    }
    DELTA.publish(verb.outputs, contents, lambda: {"train_direction.png": figures.delta(contents)})


def train(bench, name):
    """Trains f_t of an attribute; a killed run resumes, a finished one is read.

    Returns:
        A `DeltaNetwork`.
    """
    verb, generator = bench.verb, bench.generator
    strategy = de.training_strategy(verb.config.strategy)
    keras.utils.set_random_seed(verb.config.seed)
    with strategy.scope():
        network = de.DeltaNetwork(
            bench.editor.h_shape[-1], generator.num_steps, generator.denoiser_fingerprint()
        )
    few = min(_FEATURES, bench.fitted)
    labels = bench.train_labels[:few, bench.column(name)]
    target = de.class_difference(bench.guide.feature_tensor, bench.train[:few], labels)
    with strategy.scope():
        trainer = de.DeltaTrainer(
            network, generator, bench.guide.feature_tensor, target, verb.l1, verb.until
        )
        trainer.compile(keras.optimizers.SGD(verb.delta_rate))
    # Images without the attribute, as those that are edited.
    lacking = np.flatnonzero(~bench.train_labels[: bench.fitted, bench.column(name)])[:_LATENTS]
    latents = bench.latents_of(bench.train[lacking], f"delta-{bench.column(name)}")

    rows = share(verb.delta_batch, *strategy.shard)

    def batches(step):
        while True:  # a function of the step alone, so that a resumed run sees the same
            random = np.random.default_rng([verb.config.seed, step])
            chosen = random.integers(len(latents), size=verb.delta_batch)
            yield latents[chosen[rows]]
            step += 1

    words = name, generator.fingerprint(), verb.method, bench.fitted, verb.judge_steps
    settings = verb.l1, verb.until, verb.delta_rate, verb.delta_batch
    runs.run(
        verb.config,
        trainer,
        batches,
        verb.train_steps_delta,
        bench.folder / f"delta-{bench.column(name)}-{verb.train_steps_delta}",
        identity=bench.key("delta", *words, *settings),
        description="f_t",
    )
    own = type(network).from_config(network.get_config())  # of no strategy
    own.set_weights(network.get_weights())
    return own
