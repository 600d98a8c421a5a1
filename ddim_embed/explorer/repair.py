"""The panel in which an image is drawn over, and taken to the nearest one that can be generated."""

import dataclasses

import gradio as gr
import numpy as np

import ddim_embed as de
from ddim_embed import arguments
from ddim_embed.explorer import controls, embedding, pictures
from ddim_embed.explorer.controls import Page, guarded
from ddim_embed.explorer.embedding import Work
from ddim_embed.explorer.models import Models

STEPS = 40
# What becomes of what was drawn.
FREE, KEPT = "free: it may become anything", "part of the image: the nearest one is found"


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """An image that was drawn over, and the nearest one that the generator makes.

    Attributes:
        pixels: the image with what was drawn, `(1, height, width, channels)`.
        mask: bool `(1, height, width)`, True where it was drawn over.
        embedding: the `Embedding` of the projection.
        code: the Python that makes it, as `projection`.
    """

    pixels: np.ndarray
    mask: np.ndarray
    embedding: de.Embedding
    code: str


def project(models: Models, work: Work | None, composite, layers, drawn: str) -> Projection:
    """Projects an image that was drawn over.

    Args:
        models: the `Models`.
        work: the image.
        composite: the picture with the strokes, a path or a binary file.
        layers: the strokes alone, a list of the same.
        drawn: `FREE` or `KEPT`.

    Raises:
        ValueError: where nothing was drawn, or the files are refused.
    """
    generator = models.generator(embedding.require(work).model)
    arguments.choice("drawn", drawn, (FREE, KEPT))
    mask = pictures.read_strokes(generator, layers)
    edited = pictures.read_drawing(generator, composite, f"{work.picture.name}-edited")
    # Outside the strokes the image is exactly itself, not enlarged and reduced.
    pixels = np.where(mask[..., None], edited.pixels, work.picture.pixels)
    start = "unet" if models.has(work.model, "unet") else "implicit"
    free = mask if drawn == FREE else None
    with models.lock:
        method = de.Hybrid(start, de.LBFGS(num_steps=STEPS))
        found = de.project(generator, pixels, method, free)
    return Projection(pixels, mask, found, _code(models, work, edited, start, drawn))


def _code(models, work, edited, start, drawn):
    method = f'de.Hybrid("{start}", de.LBFGS(num_steps={STEPS}))'
    lines = [
        "import ddim_embed as de",
        "",
        f"generator = {models.call('load_generator', work.model)}",
        edited.code(),
    ]
    if drawn == KEPT:
        return "\n".join([*lines, f"projection = de.project(generator, pixels, {method})"])
    shape = "(*generator.image_shape[:2], 1)"
    return "\n".join(
        [
            *lines,
            f'files = ["{work.picture.name}-mask.png"]',
            f"mask, _, _ = de.read_image_files(files, {shape}, generator.padding)",
            f"method = {method}",
            "projection = de.project(generator, pixels, method, mask > 0.5)",
        ]
    )


def files(models: Models, work: Work, found: Projection, folder) -> list[str]:
    """Writes the edited image, the mask and the projection for a download; returns the paths."""
    padding, name = models.generator(work.model).padding, work.picture.name
    mask = found.mask[..., None].astype(np.float32)
    return [
        pictures.png(folder, f"{name}-edited.png", found.pixels, padding),
        pictures.png(folder, f"{name}-mask.png", mask, padding),
        pictures.png(folder, f"{name}-projection.png", found.embedding.reconstruction, padding),
    ]


def build(page: Page, work: gr.State):
    """Lays out the panel."""
    models = page.models
    load = gr.Button("Put the image here")
    editor = controls.drawing("Draw over the image", canvas_size=(400, 400))
    drawn = gr.Radio([FREE, KEPT], value=FREE, label="What is drawn is")
    start = gr.Button("Project", variant="primary")
    with gr.Row():
        names = ("Given", "Drawn over", "Projection")
        images = [controls.image(name) for name in names]
    text = gr.Markdown()
    with gr.Row():
        names = ("Download edited image", "Download mask", "Download projection")
        downloads = [gr.DownloadButton(name, interactive=False) for name in names]
    script = controls.python()

    @guarded
    def on_load(work):
        padding = models.generator(embedding.require(work).model).padding
        image = pictures.enlarged(work.picture.pixels, padding)
        return {"background": image, "layers": [], "composite": None}

    @guarded
    def on_start(work, drawing, drawn):
        if not drawing or drawing["composite"] is None:
            raise ValueError('Press "Put the image here" and draw over it first.')
        layers = [controls.opened(layer) for layer in drawing["layers"]]
        composite = controls.opened(drawing["composite"])
        found = project(models, work, composite, layers, drawn)
        padding = models.generator(work.model).padding
        held = "of the pixels that were not drawn over " if drawn == FREE else ""
        return [
            pictures.shown(found.pixels, padding),
            pictures.shown(found.mask[..., None].astype(np.float32), padding),
            pictures.shown(found.embedding.reconstruction.clip(0, 1), padding),
            f"Mean squared error {held}{found.embedding.mse[0]:.6f}",
            controls.as_markdown(found.code),
            *(
                gr.DownloadButton(value=path, interactive=True)
                for path in files(models, work, found, page.folder)
            ),
        ]

    load.click(on_load, work, editor, api_visibility="undocumented")
    start.click(
        on_start,
        [work, editor, drawn],
        [*images, text, script, *downloads],
        api_name="project",
    )
