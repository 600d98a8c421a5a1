"""The panel with semantic sliders: attributes of the h-space, and of semantic vectors."""

import dataclasses
from collections.abc import Sequence

import gradio as gr
import numpy as np

import ddim_embed as de
from ddim_embed import arguments
from ddim_embed.data.loading import SAMPLES
from ddim_embed.explorer import controls, embedding, pictures
from ddim_embed.explorer.controls import Page, guarded
from ddim_embed.explorer.embedding import Work
from ddim_embed.explorer.models import Models

# The two systems that have attributes.
H_SPACE, VECTORS = "h-space", "semantic vectors"
SLIDERS = 3
# Of the slider: 1 is the usual strength of an attribute.
REACH = 3.0
# Of a step of semantic vectors, in units of sqrt(dims): Preechakul et al.'s published code.
_USUAL = 0.3
# Labelled images of the bundled samples from which directions are fitted where none ship.
_FITTED = 300
# How the latents of an autoencoder are found.
_METHOD = "implicit"


@dataclasses.dataclass(frozen=True, eq=False)
class Edit:
    """An edited image.

    Attributes:
        before: the image as it is decoded without an edit, `(1, height, width, channels)`.
        after: the edited one; both are not clipped.
        code: the Python that makes it, as `edited`.
    """

    before: np.ndarray
    after: np.ndarray
    code: str


def systems(models: Models, model: str) -> list[str]:
    """The systems that have attributes of a data set: of `H_SPACE` and `VECTORS`."""
    found = []
    if models.directions(model) or model in SAMPLES:
        found.append(H_SPACE)
    ships = models.has(model, "classifier") or model in SAMPLES
    if models.has(model, "autoencoder") and ships:
        found.append(VECTORS)
    return found


def names(models: Models, model: str, system: str) -> list[str]:
    """The attributes of a data set in a system."""
    if system not in systems(models, model):
        return []
    if system == H_SPACE:
        return models.directions(model) or _classes(model)
    return [*_classifier(models, model).names]


def edit(
    models: Models,
    work: Work | None,
    system: str,
    wanted: Sequence[tuple[str, float]],
) -> Edit:
    """Changes attributes of an image.

    Args:
        models: the `Models`.
        work: the image, with latents of the generator.
        system: `H_SPACE` or `VECTORS`.
        wanted: attributes with strengths; 1 is the usual one, below 0 the other way.

    Raises:
        ValueError: for attributes that there are not, or none.
    """
    choices = names(models, embedding.require(work).model, system)
    if not choices:
        raise ValueError(f"{work.model} has no attributes of the {system}.")
    wanted = [(name, arguments.number("strength", value)) for name, value in wanted if value]
    for name, _ in wanted:
        arguments.choice("attribute", name, choices)
    with models.lock:
        change = _edit_h if system == H_SPACE else _edit_vectors
        return change(models, work, wanted)


def _edit_h(models, work, wanted):
    generator = models.generator(work.model)
    editor = de.HSpaceEditor(generator)
    latents = work.embedding.latents
    before = work.embedding.reconstruction
    ships = bool(models.directions(work.model))
    lines = [
        "import ddim_embed as de",
        "",
        f"generator = {models.call('load_generator', work.model)}",
        work.picture.code(),
        *embedding.solving(models, work.method, work.rounds),
        "editor = de.HSpaceEditor(generator)",
    ]
    if not ships:
        lines += _labelled(models, work.model)
    total = None
    for number, (name, strength) in enumerate(wanted):
        if ships:
            direction = models.cached(
                ("direction", work.model, name),
                lambda name=name: de.load_direction(work.model, name, models.root),
            ).at(generator.num_steps)
            made = models.call("load_direction", work.model, name, steps=False)
            made = f"{made}.at(generator.num_steps)"
        else:
            fitted = models.cached(("directions", work.model), lambda: _fit(models, work.model))
            direction = fitted[name]
            made = f"editor.fit(examples, labels[:, names.index({name!r})])"
        lines.append(f"direction = {made}")
        factor = f"{strength:g} * direction.strength"
        sign = "edit = " if number == 0 else "edit = edit + "
        lines.append(f"{sign}({factor}) * direction")
        part = (strength * direction.strength) * direction
        total = part if total is None else total + part
    if total is None:
        return Edit(before, before, "\n".join([*lines, "edited = result.reconstruction"]))
    lines.append("edited = editor.edit(result.latents, edit, strength=1)")
    return Edit(before, editor.edit(latents, total, strength=1), "\n".join(lines))


def _edit_vectors(models, work, wanted):
    autoencoder = models.autoencoder(work.model)
    classifier = _classifier(models, work.model)
    code = autoencoder.encode(work.picture.pixels, method=_METHOD)
    lines = [
        "import ddim_embed as de",
        "",
        f"generator = {models.call('load_generator', work.model)}",
        f"autoencoder = {models.call('load_autoencoder', work.model)}",
        work.picture.code(),
        f'code = autoencoder.encode(pixels, method="{_METHOD}")',
    ]
    if models.has(work.model, "classifier"):
        call = models.call("load_attribute_classifier", work.model, steps=False)
        lines.append(f"classifier = {call}")
    else:
        lines += _labelled(models, work.model)
        lines += [
            "vectors = autoencoder.standardize(autoencoder.encode(examples).semantic)",
            "classifier = de.fit_attribute_classifier(vectors, labels, names)",
        ]
    before = autoencoder.decode(code).numpy()
    for name, strength in wanted:
        step = _USUAL * strength
        code = autoencoder.manipulate(code, classifier.direction(name), step)
        lines.append(f"direction = classifier.direction({name!r})")
        lines.append(f"code = autoencoder.manipulate(code, direction, {step!r})")
    lines.append("edited = autoencoder.decode(code).numpy()")
    return Edit(before, autoencoder.decode(code).numpy(), "\n".join(lines))


def _labelled(models, model):
    """Lines of Python that load the labelled images from which directions are fitted."""
    size = models.generator(model).image_shape[0]
    options = f'"{model}", "test", source="sample", limit={_FITTED}'
    return [
        f"examples, _ = de.load_images({options}, image_size={size})",
        f"names, labels = de.load_attributes({options})",
    ]


def _examples(models, model):
    size = models.generator(model).image_shape[0]
    options = {"source": "sample", "limit": _FITTED}
    pixels, _ = de.load_images(model, "test", image_size=size, **options)
    return pixels, *de.load_attributes(model, "test", **options)


def _classes(model):
    return [*de.load_attributes(model, "test", source="sample", limit=1)[0]]


def _fit(models, model):
    """The directions of all classes by name: h of the examples is computed once for all."""
    pixels, names, labels = _examples(models, model)
    fitted = de.HSpaceEditor(models.generator(model)).fit(pixels, labels, names)
    return dict(zip(names, fitted, strict=True))


def _classifier(models, model):
    def make():
        if models.has(model, "classifier"):
            return de.load_attribute_classifier(model, models.root)
        autoencoder = models.autoencoder(model)
        pixels, names, labels = _examples(models, model)
        vectors = autoencoder.standardize(autoencoder.encode(pixels).semantic)
        return de.fit_attribute_classifier(vectors, labels, names)

    return models.cached(("classifier", model), make)


def build(page: Page, work: gr.State):
    """Lays out the panel."""
    models = page.models
    first = models.names[0]
    system = gr.Radio([H_SPACE, VECTORS], value=H_SPACE, label="System")
    note = gr.Markdown(_note(models, first))
    rows = []
    choices = names(models, first, H_SPACE)
    for number in range(1, SLIDERS + 1):
        with gr.Row():
            value = choices[number - 1] if number <= len(choices) else None
            attribute = gr.Dropdown(choices, value=value, label=f"Attribute {number}")
            strength = gr.Slider(
                -REACH, REACH, 0, step=0.25, label=f"Strength of attribute {number}"
            )
        rows += [attribute, strength]
    with gr.Row():
        images = [controls.image(name) for name in ("Decoded", "Edited")]
    download = gr.DownloadButton("Download edited image", interactive=False)
    script = controls.python()

    @guarded
    def on_model(model, system):
        choices = names(models, model, system)
        updates = []
        for number in range(SLIDERS):
            value = choices[number] if number < len(choices) else None
            updates += [gr.Dropdown(choices=choices, value=value), gr.Slider(value=0)]
        return [_note(models, model), *updates]

    @guarded
    def on_edit(work, system, *values):
        if work is None and not any(values[1::2]):
            return [gr.skip()] * (len(images) + 2)  # another data set was chosen
        embedding.require(work)
        wanted = [*zip(values[::2], values[1::2], strict=True)]
        found = edit(models, work, system, wanted)
        padding = models.generator(work.model).padding
        name = f"{work.picture.name}-edited.png"
        path = pictures.png(page.folder, name, found.after, padding)
        return [
            *(pictures.shown(x.clip(0, 1), padding) for x in (found.before, found.after)),
            gr.DownloadButton(value=path, interactive=True),
            controls.as_markdown(found.code),
        ]

    hidden = {"api_visibility": "undocumented"}
    gr.on(
        [page.model.change, system.change], on_model, [page.model, system], [note, *rows], **hidden
    )
    gr.on(
        [row.change for row in rows],
        on_edit,
        [work, system, *rows],
        [*images, download, script],
        trigger_mode="always_last",
        show_progress="minimal",
        api_name="edit",
    )


def _note(models, model):
    found = systems(models, model)
    if not found:
        return f"{model} ships with neither directions of h nor an attribute classifier."
    ships = bool(models.directions(model)) or models.has(model, "classifier")
    source = "" if ships else f" They are fitted to {_FITTED} bundled images when first used."
    return f"Attributes of {model} in: {' and '.join(found)}.{source}"
