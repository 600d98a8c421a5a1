"""The verb `semantics`: edits through h, and what must fail or is said to fail, measured alike."""

import dataclasses

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from experiments.semantics import figures, measures
from experiments.semantics.bench import Bench, permuted, random_like, scaled_like
from experiments.semantics.sections import SEMANTICS
from experiments.toolkit import judge, results

# Strengths of the line, in units of a direction's own strength.
LINE = (-1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
# Images of a sheet; of the search for the editing interval, and of the sampler with more steps.
_SHEET, _FEW = 64, 16
# Adam's rate for optimised latents, and the weight of the difference of pixels beside the angle.
_LATENT_RATE, _LATENT_L1 = 0.05, 3.0


def run(verb):
    """Measures edits of test images; writes `semantics.json`, figures and a page.

    Embeddings, edits and classifiers are cached in `config.run_folder`: a killed run resumes.
    """
    bench = Bench(verb)
    shown = verb.chosen_of(bench.names)
    main = shown[0]
    rows, strengths = [], {}
    for name in tqdm(shown, desc="attributes", disable=not verb.config.progress):
        direction, recorded = bench.direction(name)
        strengths[name] = {"strength": direction.strength, "recorded": recorded}
        rows += ladder(bench, name, direction)
    contents = {
        "dataset": verb.config.name,
        "main": main,
        "fitted": bench.fitted,
        "judged": len(bench.train) - bench.fitted,
        "images": len(bench.without(main)),
        "method": verb.method,
        "strengths": strengths,
        "instruments": bench.instruments(shown),
        "edits": rows,
        "controls": controls(bench, main),
        "line": line(bench, main),
        "consistency": measures.consistency(bench.direction(main)[0]),
        "composition": composition(bench, shown),
        "interval": interval(bench, main),
        "boost": boost(bench, main),
        "rho": rho(bench),
        "options": verb.options,
        **results.provenance(verb.config, verb.command, "scikit-learn", "scipy"),
    }
    SEMANTICS.publish(verb.outputs, contents, lambda: draw(bench, contents, shown))


def ladder(bench, name, direction):
    """Rows of an attribute: images without it, as they are and edited at each strength."""
    index = bench.without(name)
    before = bench.embedding.reconstruction[index].clip(0, 1)
    steps = sorted({*bench.verb.strength, direction.strength})
    rows = [{"attribute": name, "strength": 0.0} | bench.measure(index, name, before)]
    for strength in steps:
        edited = bench.edit(index, direction, strength)
        rows.append({"attribute": name, "strength": strength} | bench.measure(index, name, edited))
    return rows


def controls(bench, name):
    """Rows of other ways to edit, of as many images each: at equal length, and at equal effect.

    The ways at equal effect are those whose effect on the judge's logit, its mean over the images,
    is that of the shift of h, found by a search over their strength.
    """
    index = bench.without(name, bench.verb.controls)
    direction = bench.direction(name)[0]
    own = direction.strength * direction
    before = bench.embedding.reconstruction[index].clip(0, 1)
    seed = bench.config.seed
    rows = []

    def add(way, edited, strength=1.0, kind="length"):
        row = bench.measure(index, name, edited)
        rows.append({"way": way, "kind": kind, "strength": strength} | row)

    rho = measures.shares(
        bench.generator.schedule, bench.generator.last_step, bench.generator.num_steps
    ).reshape(-1, 1, 1, 1)
    matched = dataclasses.replace(own, shifts=own.shifts / rho)
    add("none", before, 0.0)
    edited = bench.edit(index, own)
    add("h", edited)
    add("h, one shift for all steps", bench.edit(index, own.mean()))
    add("random shift", bench.edit(index, random_like(own, seed)))
    add("shuffled labels", bench.edit(index, shuffled(bench, name, own)))
    add("permuted positions", bench.edit(index, permuted(own, seed)))
    add("symmetric", bench.edit(index, own, symmetric=True))
    add("symmetric, matched length", bench.edit(index, matched, symmetric=True))
    column = bench.column(name)
    base = judge.logits(bench.judge, before)[:, column]

    def effect_of(edit):
        return lambda s: float(np.mean(judge.logits(bench.judge, edit(s))[:, column] - base))

    target = effect_of(lambda _: edited)(1)
    ways = {
        "symmetric": lambda s: bench.edit(index, own, s, symmetric=True),
        "mean difference of latents": _latents_way(bench, name, index),
        "mean difference of pixels": _pixels_way(bench, name, before),
    }
    add("h", edited, 1.0, "effect")
    for way, edit in ways.items():
        # Of a direction that does not work, as an untrained network's, there is no equal effect.
        strength = measures.strength_for(effect_of(edit), target)[0] if target > 0 else 1.0
        add(way, edit(strength), strength, "effect")
    latents = optimised(bench, name) if bench.verb.optimised else None
    return {"rows": rows, "target": target, "latents": latents}


def shuffled(bench, name, direction):
    """The direction of shuffled labels, with shifts as long as those of the true ones."""
    few = min(bench.verb.controls_fit, bench.fitted)
    labels = bench.train_labels[:few, bench.column(name)]
    labels = np.random.default_rng(bench.config.seed + 1).permutation(labels)
    if labels.all() or not labels.any():
        labels = np.arange(few) % 2 == 0

    def compute():
        return {"shifts": bench.editor.fit(bench.train[:few], labels).shifts}

    own = bench.generator.denoiser_fingerprint()
    key = bench.key("shuffled", own, name, few, bench.generator.num_steps)
    found = bench.cached(f"shuffled-{bench.column(name)}.npz", key, compute)
    return scaled_like(found["shifts"], direction)


def _latents_way(bench, name, index):
    """Edits by the mean difference of latents of training images."""
    few = min(bench.verb.controls_fit, bench.fitted)
    labels = bench.train_labels[:few, bench.column(name)]
    latents = bench.latents_of(bench.train[:few], "train")
    difference = _difference(latents, labels)
    own = bench.embedding.latents[index]
    return lambda s: bench.decode(np.float32(own + s * difference))


def _pixels_way(bench, name, before):
    """Edits by the mean difference of the fitted images' pixels: an overlay."""
    labels = bench.train_labels[: bench.fitted, bench.column(name)]
    difference = _difference(bench.train[: bench.fitted], labels)
    return lambda s: np.float32(before + s * difference).clip(0, 1)


def _difference(arrays, labels):
    if labels.all() or not labels.any():  # too few images
        return np.zeros(arrays.shape[1:])
    return arrays[labels].mean(axis=0) - arrays[~labels].mean(axis=0)


def optimised(bench, name):
    """Latents optimised until the guide is content: what the judge and the score say of them.

    Adam on 1 - cos of the change of the guide's features and the difference of the classes, and on
    the mean absolute change of pixels: the loss of f_t, of latents instead of shifts.
    """
    import keras
    import tensorflow as tf

    index = bench.without(name, bench.verb.optimised)
    latents = tf.Variable(bench.embedding.latents[index])
    before = tf.constant(bench.embedding.reconstruction[index])
    guide = bench.guide
    few = bench.train[: bench.fitted][:2000]
    direction = de.class_difference(
        guide.feature_tensor, few, bench.train_labels[: len(few), bench.column(name)]
    )
    length = np.linalg.norm(direction)
    features = guide.feature_tensor(before)
    optimizer = keras.optimizers.Adam(_LATENT_RATE)

    def compute():
        for _ in range(bench.verb.optimised_steps):
            with tf.GradientTape() as tape:
                pixels = bench.generator.decode(tf.identity(latents))
                change = guide.feature_tensor(pixels) - features
                norms = tf.sqrt(tf.reduce_sum(change**2, axis=1) + (0.1 * length) ** 2)
                cosines = tf.linalg.matvec(change, direction) / (length * norms)
                loss = tf.reduce_sum(1 - cosines) + _LATENT_L1 * tf.reduce_sum(
                    tf.reduce_mean(tf.abs(pixels - before), axis=(1, 2, 3))
                )
            optimizer.apply([tape.gradient(loss, latents)], [latents])
        return {"pixels": bench.generator.decode(latents.numpy()).numpy().clip(0, 1)}

    words = name, bench.generator.fingerprint(), bench.verb.method, len(index)
    key = bench.key("optimised", *words, bench.verb.optimised_steps, bench.verb.judge_steps)
    pixels = bench.cached(f"optimised-{bench.column(name)}.npz", key, compute)["pixels"]
    return bench.measure(index, name, pixels)


def line(bench, name):
    """How the effect depends on the strength: rows, and how far changes are from proportional."""
    index = bench.without(name, bench.verb.controls)
    direction = bench.direction(name)[0]
    before = bench.embedding.reconstruction[index].clip(0, 1)
    edits = {s: bench.edit(index, direction, s * direction.strength) for s in LINE}
    rows = []
    for s, edited in edits.items():
        bent = measures.deviation(edited - before, s * (edits[1.0] - before))
        row = bench.measure(index, name, edited) | {"deviation": results.estimate(bent)}
        rows.append({"share": s} | row)
    logits = judge.logits(bench.judge, edits[1.0]) - judge.logits(bench.judge, before)
    moved = logits[:, bench.column(name)]
    x = np.array([0.0, *(row["share"] for row in rows)])
    y = np.array([0.0, *(row["own"]["mean"] for row in rows)])
    # Least squares through the origin: no shift has no effect.
    slope = x @ y / (x @ x)
    spread = np.sum((y - y.mean()) ** 2)
    return {
        "rows": rows,
        "r_squared": float(1 - np.sum((y - slope * x) ** 2) / spread) if spread else None,
        "homogeneity": {
            "rises": results.estimate(moved > 0),
            "mean": results.estimate(moved),
            "deviation": float(np.std(moved)),
        },
    }


def composition(bench, shown):
    """Two directions at once beside each alone; and the first without its part along the second."""
    if len(shown) < 2:
        return None
    first, second = shown[:2]
    lacks = ~bench.labels[:, [bench.column(name) for name in (first, second)]].any(axis=1)
    used = len(bench.embedding.latents)
    index = np.flatnonzero(lacks[:used])[: bench.verb.controls]
    if len(index) < 2:
        return None
    a, b = (d.strength * d for d in (bench.direction(name)[0] for name in (first, second)))
    before = bench.embedding.reconstruction[index].clip(0, 1)
    ways = {
        first: a, second: b, "both": a + b, f"{first} without {second}": a.without(b),
        f"{second} without {first}": b.without(a),
    }  # fmt: skip
    edits = {way: bench.edit(index, direction) for way, direction in ways.items()}
    rows = []
    for way, edited in edits.items():
        each = {name: bench.measure(index, name, edited) for name in (first, second)}
        rows.append({"way": way} | each)
    changes = [edits[way] - before for way in ("both", first, second)]
    return {
        "attributes": [first, second],
        "cosine": measures.cosine(a.shifts, b.shifts),
        "rows": rows,
        "deviation": results.estimate(measures.deviation(changes[0], changes[1] + changes[2])),
    }


def interval(bench, name):
    """The editing interval: what is calibrated, and edits of the first steps alone."""
    index = bench.without(name, bench.verb.controls)
    few = index[:_FEW]
    found = bench.editor.calibrate(bench.pixels[few], bench.embedding.latents[few])
    own = bench.direction(name)[0]
    own = own.strength * own
    rows = []
    for until in sorted({0.0, 0.5, found.until}):
        edited = bench.edit(index, own, until=until)
        rows.append({"until": until} | bench.measure(index, name, edited))
    return _calibration(found) | {"rows": rows}


def boost(bench, name):
    """More steps, with and without the noise of a quality boost."""
    index = bench.without(name, min(_FEW, bench.verb.controls))
    steps = bench.verb.boosted_steps
    generator = bench.generator.with_steps(steps)
    editor = de.HSpaceEditor(generator)
    own = bench.direction(name)[0]
    own = own.at(steps) * own.strength
    latents = bench.embedding.latents[index]
    found = editor.calibrate(bench.pixels[index], latents)
    before = bench.decode(latents, generator)
    rows = [{"way": "none"} | bench.measure(index, name, before, before)]
    for way, options in (
        ("all steps", {}),
        ("until", {"until": found.until}),
        ("until, boost", {"until": found.until, "boost": found.boost}),
    ):
        edited = bench.edit(index, own, 1.0, editor, **options)
        rows.append({"way": way} | bench.measure(index, name, edited, before))
    return _calibration(found) | {"steps": steps, "rows": rows}


def _calibration(found):
    return {key: np.asarray(value).tolist() for key, value in dataclasses.asdict(found).items()}


def rho(bench):
    """The share of a symmetric edit, predicted and measured, by the number of steps."""
    schedule, last_step = bench.generator.schedule, bench.generator.last_step
    latents = bench.generator.latents(2, bench.config.seed)
    shift = np.random.default_rng(bench.config.seed).normal(size=latents.shape)
    rows = []
    for steps in bench.verb.rho_steps:
        predicted = measures.shares(schedule, last_step, steps)
        measured = measures.measured_shares(bench.generator, latents, shift, steps)
        kept = measures.kept_share(schedule, last_step, steps)
        shares = {"predicted": predicted.tolist(), "measured": measured.tolist()}
        rows.append({"steps": steps, "kept": kept} | shares)
    return rows


def draw(bench, contents, shown):
    """Figures by name: numbers, strips of images, a sheet of edits of the first attribute."""
    main = contents["main"]
    drawn = {
        "semantics_edits.png": figures.edits(contents),
        "semantics_controls.png": figures.controls(contents),
        "semantics_line.png": figures.line(contents),
        "semantics_rho.png": figures.rho(contents),
    }
    rows = {}
    for name in shown:
        direction = bench.direction(name)[0]
        index = bench.without(name)[: bench.config.shown]
        before = bench.embedding.reconstruction[index].clip(0, 1)
        rows[f"without\n{name}"] = before
        rows[name] = bench.edit(bench.without(name), direction, direction.strength)[: len(index)]
    drawn["semantics_strips.png"] = de.image_grid([*rows.values()], [*rows])
    direction = bench.direction(main)[0]
    sheet = bench.edit(bench.without(main), direction, direction.strength)[:_SHEET]
    width = min(8, len(sheet))
    sheet = sheet[: len(sheet) // width * width]
    drawn["semantics_sheet.png"] = de.image_grid(sheet.reshape(-1, width, *sheet.shape[1:]))
    return drawn
