"""The panel that walks through the cloud of one image: all the latents that generate it."""

import dataclasses
from collections.abc import Iterator

import gradio as gr
import numpy as np

import ddim_embed as de
from ddim_embed import arguments
from ddim_embed.explorer import controls, embedding, pictures
from ddim_embed.explorer.controls import Page, guarded
from ddim_embed.explorer.embedding import Work
from ddim_embed.explorer.models import Models
from ddim_embed.methods.embedding import concatenate

STEPS, BATCH, MOST_MEMBERS = 30, 4, 64
# Standard deviations along a component, on both sides of the mean.
REACH = 3.0
PLACES = 13


@dataclasses.dataclass(frozen=True, eq=False)
class Cloud:
    """Members of the cloud of an image.

    Attributes:
        work: the image.
        members: an `Embedding` of n members.
        fitted: their `LatentCloud`; None for fewer than two members.
    """

    work: Work
    members: de.Embedding
    fitted: de.LatentCloud | None


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """Images along a component.

    Attributes:
        frames: pixels `(PLACES, height, width, channels)`, from -3 to 3 standard deviations.
        padding: of the generator.
        code: the Python that makes them, as `frames`.
    """

    frames: np.ndarray
    padding: int
    code: str


def find(models: Models, work: Work | None, count: int) -> Iterator[Cloud]:
    """Finds members by L-BFGS from random latents; yields the cloud after each few of them."""
    generator = models.generator(embedding.require(work).model)
    count = arguments.integer("count", count, 2, MOST_MEMBERS)
    method = de.LBFGS(num_steps=STEPS)
    start = method.initial_latents(generator, count, 0)
    parts = []
    for first in range(0, count, BATCH):
        latents = start[first : first + BATCH]
        pixels = np.repeat(work.picture.pixels, len(latents), axis=0)
        with models.lock:
            parts.append(de.embed(generator, pixels, method, latents=latents))
        members = concatenate(parts)
        fitted = de.LatentCloud().fit(members.latents) if len(members.mse) > 1 else None
        yield Cloud(work, members, fitted)


def walk(models: Models, cloud: Cloud | None, component: int) -> Walk:
    """Decodes latents along a component, through the mean of the cloud.

    Raises:
        ValueError: without a cloud, or for a component, from 1 on, that it does not have.
    """
    if cloud is None or cloud.fitted is None:
        raise ValueError('Find members of the cloud first: press "Find members".')
    index = arguments.integer("component", component, 1, len(cloud.fitted.components_)) - 1
    generator = models.generator(cloud.work.model)
    latents = cloud.fitted.walk(index, np.linspace(-REACH, REACH, PLACES))
    with models.lock:
        frames = generator.decode(latents).numpy()
    return Walk(frames, generator.padding, _code(models, cloud, index))


def _code(models, cloud, index):
    count = len(cloud.members.mse)
    steps = f"np.linspace({-REACH:g}, {REACH:g}, {PLACES})"
    return "\n".join(
        [
            "import numpy as np",
            "",
            "import ddim_embed as de",
            "",
            f"generator = {models.call('load_generator', cloud.work.model)}",
            cloud.work.picture.code(),
            f"copies = np.repeat(pixels, {count}, axis=0)",
            f"members = de.embed(generator, copies, de.LBFGS(num_steps={STEPS}))",
            "cloud = de.LatentCloud().fit(members.latents)",
            f"frames = generator.decode(cloud.walk({index}, {steps})).numpy()",
        ]
    )


def summary(cloud: Cloud) -> str:
    """What the cloud is like, in Markdown."""
    members = cloud.members
    text = f"{len(members.mse)} members, mean squared error {members.mse.mean():.6f} on average"
    if cloud.fitted is None:
        return text
    spread = de.clouds.spread(members.latents)
    shares = cloud.fitted.explained_variance_ratio_[:3]
    return (
        f"{text}; two of them are {spread.distance:.1f} apart. Shares of the variance along the "
        f"first components: {', '.join(f'{share:.0%}' for share in shares)}."
    )


def build(page: Page, work: gr.State, cloud: gr.State):
    """Lays out the panel."""
    models = page.models
    found = gr.State(None, time_to_live=3600)
    with gr.Row():
        count = gr.Slider(4, MOST_MEMBERS, 12, step=4, label="Members")
        start = gr.Button("Find members", variant="primary")
        stop = gr.Button("Stop the search", variant="stop")
    bar, note = gr.HTML(label="Progress"), gr.Markdown()
    text = gr.Markdown()
    component = gr.Slider(1, 11, 1, step=1, label="Component, the widest first")
    step = gr.Slider(-REACH, REACH, 0, step=0.5, label="Standard deviations from the mean")
    here = controls.image("Image at this place of the cloud")
    strip = controls.image("From one end of the component to the other")
    download = gr.DownloadButton("Download members", interactive=False)
    script = controls.python()

    def frame(walk, step):
        if walk is None:
            return None
        step = arguments.number("step", step, at_least=-REACH, at_most=REACH)
        place = round((step + REACH) / (2 * REACH) * (PLACES - 1))
        return pictures.shown(walk.frames[[place]].clip(0, 1), walk.padding)

    @guarded
    def on_walk(cloud, component, step):
        if cloud is None:
            return None, None, None, gr.skip()
        made = walk(models, cloud, int(component))
        shown = pictures.shown(made.frames[::2].clip(0, 1), made.padding)
        return made, frame(made, step), shown, controls.as_markdown(made.code)

    @guarded
    def on_start(work, count):
        embedding.require(work)
        yield None, controls.progress(0, int(count), "Members"), "", gr.skip(), gr.skip(), ""
        for made in find(models, work, int(count)):
            number = len(made.members.mse)
            path = pictures.npz(
                page.folder,
                f"{work.picture.name}-members.npz",
                latents=made.members.latents,
                mse=made.members.mse,
            )
            yield (
                made,
                controls.progress(number, int(count), "Members"),
                summary(made),
                gr.Slider(maximum=max(2, number - 1), value=1),
                gr.DownloadButton(value=path, interactive=True),
                gr.skip(),
            )

    walking = ([cloud, component, step], [found, here, strip, script])
    hidden = {"show_progress": "hidden", "api_visibility": "undocumented"}
    running = start.click(
        on_start,
        [work, count],
        [cloud, bar, text, component, download, note],
        show_progress="hidden",
        api_name="cloud",
    )
    running.then(on_walk, *walking, **hidden)
    stop.click(
        lambda: "Stopped.", None, note, cancels=[running], api_visibility="undocumented"
    ).then(on_walk, *walking, **hidden)
    component.change(on_walk, *walking, **hidden)
    step.change(guarded(frame), [found, step], here, **hidden)
