"""The panel that embeds an image: latents, reconstruction, error, and refinement."""

import dataclasses
from collections.abc import Iterator

import gradio as gr
import numpy as np

import ddim_embed as de
from ddim_embed import arguments, metrics
from ddim_embed.explorer import controls, pictures
from ddim_embed.explorer.controls import Page, guarded
from ddim_embed.explorer.models import Models
from ddim_embed.explorer.pictures import Picture

# Iterations of L-BFGS between two looks at the result, and rounds of them at most.
ROUND, MOST_ROUNDS = 10, 50
# Differences are shown larger than they are.
_GAIN = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """An image and its latents.

    Attributes:
        model: name of the generator.
        picture: the image.
        method: name of the method that found the latents.
        embedding: the `Embedding`, of one image.
        rounds: rounds of refinement since.
    """

    model: str
    picture: Picture
    method: str
    embedding: de.Embedding
    rounds: int = 0


def embed(models: Models, model: str, picture: Picture | None, method: str) -> Work:
    """Embeds an image.

    Raises:
        ValueError: without an image, or for an unknown method.
    """
    if picture is None:
        raise ValueError("Choose an image first: a sample, a file or a drawing.")
    arguments.choice("method", method, models.methods(model))
    generator = models.generator(model)
    configured, _ = models.method(method)
    with models.lock:
        return Work(model, picture, method, de.embed(generator, picture.pixels, configured))


def refine(models: Models, work: Work, rounds: int) -> Iterator[Work]:
    """Goes on from the latents by L-BFGS; yields the work after each round of it."""
    generator = models.generator(require(work).model)
    for _ in range(arguments.integer("rounds", rounds, 1, MOST_ROUNDS)):
        with models.lock:
            found = de.embed(
                generator,
                work.picture.pixels,
                de.LBFGS(num_steps=ROUND),
                latents=work.embedding.latents,
            )
        # What it cost is what it cost from the start.
        found = dataclasses.replace(
            found, evaluations=found.evaluations + work.embedding.evaluations
        )
        work = dataclasses.replace(work, embedding=found, rounds=work.rounds + 1)
        yield work


def require(work: Work | None) -> Work:
    """Returns the work; a ValueError if there is none."""
    if work is None:
        raise ValueError('Embed an image first: choose one, and press "Embed".')
    return work


def code(models: Models, work: Work) -> str:
    """The Python that makes `result`, the embedding of a work."""
    return "\n".join(
        [
            "import ddim_embed as de",
            "",
            f"generator = {models.call('load_generator', work.model)}",
            work.picture.code(),
            *solving(models, work.method, work.rounds),
            "result.latents, result.reconstruction, result.mse, result.converged",
        ]
    )


def solving(models, method, rounds, pixels="pixels", result="result") -> list[str]:
    """Lines of Python that embed `pixels`, and refine, into the variable `result`."""
    lines = [f"{result} = de.embed(generator, {pixels}, {models.method(method)[1]})"]
    if rounds:
        lines += [
            f"for _ in range({rounds}):  # refined",
            f"    {result} = de.embed(",
            f"        generator, {pixels}, de.LBFGS(num_steps={ROUND}), latents={result}.latents",
            "    )",
        ]
    return lines


def views(models: Models, work: Work) -> list[np.ndarray]:
    """Latents, reconstruction and difference as the browser shows them."""
    padding = models.generator(work.model).padding
    decoded = work.embedding.reconstruction.clip(0, 1)
    difference = (_GAIN * np.abs(decoded - work.picture.pixels)).clip(0, 1)
    return [
        pictures.shown(work.embedding.latents, padding),
        pictures.shown(decoded, padding),
        pictures.shown(difference, padding),
    ]


def certificate(models: Models, work: Work) -> str:
    """What the embedding is worth, a table in Markdown."""
    found, padding = work.embedding, models.generator(work.model).padding
    pair = work.picture.pixels, found.reconstruction.clip(0, 1), padding
    reached = "yes" if found.converged[0] else "no"
    rows = [
        ("Mean squared error", f"{found.mse[0]:.6f}"),
        ("Peak signal-to-noise ratio", f"{metrics.psnr(*pair)[0]:.1f} dB"),
        ("Structural similarity (SSIM)", f"{metrics.ssim(*pair)[0]:.3f}"),
        ("Reached: an error of at most 0.001 (30 dB)", reached),
        ("Deviation of the latents, 1 if Gaussian", f"{found.latents_std[0]:.3f}"),
        ("Network evaluations", f"{found.evaluations[0]:,.0f}"),
    ]
    lines = ["| Certificate | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines) + "\n\nDecoded again in float32, from these latents alone."


def files(models: Models, work: Work, folder) -> list[str]:
    """Writes what is downloaded: arrays, the image, and the reconstruction; returns the paths."""
    found, padding = work.embedding, models.generator(work.model).padding
    arrays = {"latents": found.latents, "reconstruction": found.reconstruction, "mse": found.mse}
    name = work.picture.name
    return [
        pictures.npz(folder, f"{name}-latents.npz", pixels=work.picture.pixels, **arrays),
        pictures.png(folder, f"{name}.png", work.picture.pixels, padding),
        pictures.png(folder, f"{name}-reconstruction.png", found.reconstruction, padding),
    ]


def build(page: Page, picture: gr.State, work: gr.State, method: gr.Dropdown):
    """Lays out the panel."""
    models = page.models
    with gr.Row():
        start = gr.Button("Embed", variant="primary")
        rounds = gr.Slider(1, MOST_ROUNDS, 10, step=1, label=f"Rounds of {ROUND} iterations")
        further = gr.Button("Refine")
        stop = gr.Button("Stop", variant="stop")
    bar, note = gr.HTML(label="Progress"), gr.Markdown()
    with gr.Row():
        images = [controls.image(name) for name in ("Latents", "Reconstruction", "Difference, x4")]
    table = gr.Markdown()
    with gr.Row():
        names = ("Download latents", "Download image", "Download reconstruction")
        downloads = [gr.DownloadButton(name, interactive=False) for name in names]
    script = controls.python()
    outputs = [work, *images, table, script, *downloads]

    def results(found):
        paths = files(models, found, page.folder)
        return [
            found,
            *views(models, found),
            certificate(models, found),
            controls.as_markdown(code(models, found)),
            *(gr.DownloadButton(value=path, interactive=True) for path in paths),
        ]

    @guarded
    def on_embed(model, picture, method):
        return [*results(embed(models, model, picture, method)), "", ""]

    @guarded
    def on_refine(work, rounds):
        require(work)
        rounds = int(rounds)
        yield [*(gr.skip() for _ in outputs), controls.progress(0, rounds, "Rounds"), ""]
        for done, found in enumerate(refine(models, work, rounds), 1):
            yield [*results(found), controls.progress(done, rounds, "Rounds"), gr.skip()]

    outputs_and_bar = [*outputs, bar, note]
    start.click(on_embed, [page.model, picture, method], outputs_and_bar, api_name="embed")
    running = further.click(
        on_refine, [work, rounds], outputs_and_bar, show_progress="hidden", api_name="refine"
    )
    # Not into the bar: a round that ends at this moment would write over it.
    stop.click(lambda: "Stopped.", None, note, cancels=[running], api_visibility="undocumented")
