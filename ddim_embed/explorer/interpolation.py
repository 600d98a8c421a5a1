"""The panel that goes from one image to another."""

import dataclasses

import gradio as gr
import numpy as np

import ddim_embed as de
from ddim_embed import arguments
from ddim_embed.analysis.interpolation import KINDS
from ddim_embed.explorer import controls, embedding, pictures
from ddim_embed.explorer.controls import Page, guarded
from ddim_embed.explorer.embedding import Work
from ddim_embed.explorer.models import Models
from ddim_embed.explorer.pictures import Picture

FRAMES = 17


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """Images on the way from one image to another.

    Attributes:
        frames: pixels `(FRAMES, height, width, channels)`, not clipped.
        padding: of the generator.
        code: the Python that makes them, as `frames`.
    """

    frames: np.ndarray
    padding: int
    code: str


def path(models: Models, work: Work | None, other: Picture | None, kind: str) -> Path:
    """Embeds the second image as the first one was, and interpolates.

    Args:
        models: the `Models`.
        work: the first image with its latents.
        other: the second image, of the same generator.
        kind: "spherical", "linear" or "pixels".

    Raises:
        ValueError: where one of the two images is missing.
    """
    embedding.require(work)
    if other is None:
        raise ValueError("Choose the second image first.")
    arguments.choice("kind", kind, KINDS)
    generator = models.generator(work.model)
    end = embedding.embed(models, work.model, other, work.method)
    if work.rounds:
        *_, end = embedding.refine(models, end, work.rounds)
    with models.lock:
        ends = work.embedding.latents, end.embedding.latents
        frames = de.interpolate(generator, *ends, num=FRAMES, kind=kind)[0]
    return Path(frames, generator.padding, _code(models, work, other, kind))


def _code(models, work, other, kind):
    return "\n".join(
        [
            "import ddim_embed as de",
            "",
            f"generator = {models.call('load_generator', work.model)}",
            work.picture.code(),
            *embedding.solving(models, work.method, work.rounds),
            other.code("other"),
            *embedding.solving(models, work.method, work.rounds, "other", "end"),
            "frames = de.interpolate(",
            f'    generator, result.latents, end.latents, num={FRAMES}, kind="{kind}"',
            ")[0]",
        ]
    )


def build(page: Page, work: gr.State):
    """Lays out the panel."""
    models = page.models
    found = gr.State(None, time_to_live=3600)
    other = controls.choose_image(page, "Second image", resets=(found,))
    kind = gr.Radio([*KINDS], value=KINDS[0], label="Path: on a sphere, a line, or a cross-fade")
    start = gr.Button("Interpolate", variant="primary")
    place = gr.Slider(0, FRAMES - 1, FRAMES // 2, step=1, label="Place on the way")
    here = controls.image("Image at this place")
    strip = controls.image("The whole way")
    script = controls.python()

    def frame(path, place):
        if path is None:
            return None
        place = arguments.integer("place", int(place), 0, FRAMES - 1)
        return pictures.shown(path.frames[[place]].clip(0, 1), path.padding)

    @guarded
    def on_start(work, other, kind, place):
        made = path(models, work, other, kind)
        shown = pictures.shown(made.frames[::2].clip(0, 1), made.padding)
        return made, frame(made, place), shown, controls.as_markdown(made.code)

    start.click(
        on_start,
        [work, other.picture, kind, place],
        [found, here, strip, script],
        api_name="interpolate",
    )
    place.change(
        guarded(frame), [found, place], here, show_progress="hidden", api_visibility="undocumented"
    )
