"""The page: a data set, an image, and the panels."""

import contextlib
import os
import tempfile
from pathlib import Path

import gradio as gr

from ddim_embed.explorer import attributes, cloud, controls, embedding, interpolation, repair
from ddim_embed.explorer.models import Models

# Larger files are refused before they are stored.
MAX_FILE_SIZE = "64mb"
# Files of a session are deleted after an hour.
_FOLDER = "GRADIO_TEMP_DIR"
_HOUR = 3600
_STYLE = """
.pixels img { image-rendering: pixelated; width: 100%; height: 100%; object-fit: contain; }
/* All tabs fit into a narrow window, without gradio's menu for more of them. */
@media (max-width: 500px) { .tab-container button { padding: 0 5px !important; font-size: 13px; } }
.progress progress { width: 100%; height: 1.2em; }
"""


def build_page(models: Models, folder: Path) -> gr.Blocks:
    """Lays out the page.

    Args:
        models: the `Models` with which it computes.
        folder: a private folder for files to download.

    Returns:
        A `gr.Blocks`; `serve` shows it.

    Raises:
        FileNotFoundError: if there is no generator.
    """
    if not models.names:
        raise FileNotFoundError(
            f"There must be a generator in the folder of weights. Received: {models.root}"
        )
    first = models.names[0]
    with gr.Blocks(
        title="ddim_embed explorer", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)
    ) as blocks:
        gr.Markdown(
            "# ddim_embed explorer\n"
            "Which latents generate an image? Choose an image, embed it, and see what its latents "
            "can do."
        )
        # Of one session: two users never see each other's.
        work = gr.State(None, time_to_live=_HOUR)
        members = gr.State(None, time_to_live=_HOUR)
        with gr.Row():
            model = gr.Dropdown(models.names, value=first, label="Data set")
            method = gr.Dropdown(models.methods(first), label="Method")
        page = controls.Page(models, folder, model)
        chooser = controls.choose_image(page, "Image", resets=(work, members))
        with gr.Tabs():
            with gr.Tab("Latents"):
                embedding.build(page, chooser.picture, work, method)
            with gr.Tab("Between"):
                interpolation.build(page, work)
            with gr.Tab("Repair"):
                repair.build(page, work)
            with gr.Tab("Attributes"):
                attributes.build(page, work)
            with gr.Tab("Cloud"):
                cloud.build(page, work, members)

        def on_model(model):
            names = models.methods(model)
            return gr.Dropdown(choices=names, value=names[0])

        model.change(on_model, model, method, api_visibility="undocumented")
    return blocks.queue(default_concurrency_limit=4, max_size=64)


@contextlib.contextmanager
def served(models: Models, host: str = "127.0.0.1", port: int = 7860, browser: bool = False):
    """Serves the page as long as the context lasts.

    Args:
        models: the `Models`.
        host: the address to listen on; others than this computer reach it only if it says so.
        port: to listen on; 0 for the first that is free from 7860 on.
        browser: whether to open it in the browser.

    Yields:
        The address of the page.

    Raises:
        OSError: if the port is taken.
    """
    # What users send and fetch lies in a folder of its own, which goes when the page does. Gradio
    # reads its name whenever a file comes: an earlier page of this process must find its own again.
    before = os.environ.get(_FOLDER)
    with tempfile.TemporaryDirectory(prefix="ddim-embed-explore-") as folder:
        os.environ[_FOLDER] = folder
        try:
            blocks = build_page(models, Path(folder))
            address = _launch(blocks, host, port, browser)
            try:
                yield address
            finally:
                blocks.close(verbose=False)
        finally:
            if before is None:
                del os.environ[_FOLDER]
            else:
                os.environ[_FOLDER] = before


def _launch(blocks, host, port, browser):
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port or None,
            inbrowser=browser,
            prevent_thread_lock=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_file_size=MAX_FILE_SIZE,
            state_session_capacity=100,
            # Gradio's own fonts come from a server of Google's.
            theme=gr.themes.Default(
                font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css=_STYLE,
            quiet=True,
        )
    except OSError as error:
        raise OSError(
            f"The page cannot listen on port {port} of {host}. --port 0 finds one that is free."
        ) from error
    return address
