"""What the panels share: images, the Python that does the same, errors as sentences, progress."""

import contextlib
import dataclasses
import functools
import html
import inspect
import io
from pathlib import Path

import gradio as gr

from ddim_embed.explorer import pictures
from ddim_embed.explorer.models import Models

_LONGEST = 500  # characters of a message


@dataclasses.dataclass(frozen=True)
class Page:
    """What all panels of a page work with.

    Attributes:
        models: the `Models`.
        folder: a private folder, for downloads.
        model: the choice of the data set, a `gr.Dropdown`.
    """

    models: Models
    folder: Path
    model: gr.Dropdown


@dataclasses.dataclass(frozen=True)
class Chooser:
    """Controls that choose an image.

    Attributes:
        picture: the `gr.State` of it, a `Picture` or None.
        shown: the `gr.Image` that shows it; it changes with it.
    """

    picture: gr.State
    shown: gr.Image


def drawing(label: str, **options) -> gr.ImageEditor:
    """An image to draw on, whose files are not opened before the limits of sizes are checked.

    Its value is a dict: "composite" is one file or None, "layers" a list of them; `opened` takes
    each.
    """
    editor = gr.ImageEditor(
        label=label, sources=(), transforms=(), layers=False, format="png", buttons=[], **options
    )
    # Of this object alone: gradio writes a file beside the module of a subclass.
    editor.convert_and_format_image = _path_or_bytes
    return editor


def _path_or_bytes(file, flatten_on_white=False):
    """A file of an editor as it is, in place of an image."""
    return file if file is None or isinstance(file, bytes) else file.path


def opened(file: str | bytes) -> str | io.BytesIO:
    """A file of a `drawing`, as Pillow opens it."""
    return io.BytesIO(file) if isinstance(file, bytes) else file


def guarded(function):
    """Shows what the library refuses as a sentence on the page; other errors are gradio's."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapped(*args):
            with _sentences():
                yield from function(*args)

    else:

        @functools.wraps(function)
        def wrapped(*args):
            with _sentences():
                return function(*args)

    return wrapped


@contextlib.contextmanager
def _sentences():
    try:
        yield
    except (ValueError, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or "There is not enough memory. Ask for less."
        # Names of files are a user's: no HTML.
        text = html.escape(text[:_LONGEST])
        raise gr.Error(text, duration=None, title="Not done", print_exception=False) from error


def image(label: str) -> gr.Image:
    """An image that is shown, pixel by pixel, and can be downloaded."""
    return gr.Image(
        label=label,
        alt_text=label,
        interactive=False,
        format="png",
        buttons=["download"],
        elem_classes="pixels",
        height=200,
    )


def python() -> gr.Markdown:
    """A folded text for the Python that does what a panel did."""
    with gr.Accordion("Python that does the same", open=False):
        return gr.Markdown("It is shown here when something was done.", buttons=["copy"])


def as_markdown(code: str) -> str:
    """Code as a block of Markdown, whatever quotation marks it has."""
    return f"``````python\n{code}\n``````"


def progress(done: int, total: int, words: str) -> str:
    """A progress bar with words, as HTML."""
    text = html.escape(f"{words}: {done} of {total}")
    return (
        f'<label class="progress">{text} '
        f'<progress value="{done}" max="{total}">{done}/{total}</progress></label>'
    )


def choose_image(page: Page, label: str, resets: tuple = ()) -> Chooser:
    """Lays out controls that choose an image: a sample, a file, or a drawing.

    Args:
        page: the `Page`.
        label: what the image is called.
        resets: `gr.State`s that are of the image, and None for another one.
    """
    models = page.models
    first = models.names[0]
    picture = gr.State(None, time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=2), gr.Tabs():
            with gr.Tab("Sample"):
                number = gr.Slider(
                    1, pictures.count_samples(first), 1, step=1, label=f"{label}: number of sample"
                )
                take = gr.Button(f"{label}: take this sample")
            with gr.Tab("File"):
                file = gr.File(label=f"{label}: drop a file here, or click", height=120)
            with gr.Tab("Draw"):
                canvas = drawing(f"{label}: draw", canvas_size=(256, 256), fixed_canvas=True)
                negative = gr.Checkbox(
                    _is_grey(models, first), label=f"{label}: exchange black and white"
                )
                draw = gr.Button(f"{label}: take this drawing")
        with gr.Column(scale=1, min_width=200):
            shown = image(label)
    outputs = [picture, shown, *resets]

    def chosen(found):
        return found, pictures.shown(found.pixels), *[None for _ in resets]

    @guarded
    def take_sample(model, number):
        return chosen(pictures.sample(models, model, int(number)))

    @guarded
    def take_file(model, path):
        if path is None:
            raise ValueError("Choose a file first.")
        return chosen(pictures.read_file(models.generator(model), path))

    @guarded
    def take_drawing(model, drawn, negative):
        if not drawn or drawn["composite"] is None:
            raise ValueError("Draw something first.")
        file, generator = opened(drawn["composite"]), models.generator(model)
        return chosen(pictures.read_drawing(generator, file, negative=negative))

    def reset(model):
        return [
            gr.Slider(maximum=pictures.count_samples(model), value=1),
            _is_grey(models, model),
            *[None for _ in outputs],
        ]

    hidden, name = {"api_visibility": "undocumented"}, label.lower().replace(" ", "_")
    sampling = take_sample, [page.model, number], outputs
    take.click(*sampling, api_name=f"take_sample_{name}")
    number.release(*sampling, **hidden)
    file.upload(take_file, [page.model, file], outputs, api_name=f"take_file_{name}")
    draw.click(take_drawing, [page.model, canvas, negative], outputs, **hidden)
    page.model.change(reset, page.model, [number, negative, *outputs], **hidden)
    return Chooser(picture, shown)


def _is_grey(models, model):
    """Whether images are grey: those of the shipped data sets are white on black."""
    return models.generator(model).image_shape[-1] == 1
