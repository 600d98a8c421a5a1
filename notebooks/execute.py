"""Runs the notebooks from top to bottom and keeps their outputs, small.

python notebooks/execute.py                   # all of them, a few minutes each
python notebooks/execute.py embed.ipynb       # some
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
_SECONDS = 3600  # of a cell, at most


def execute(path):
    """Runs a notebook in an empty folder and writes it with its outputs.

    Logs are left out, and the words that stand for a figure where it is not shown.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not is_log(each)]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data.pop("text/plain", None)
                    output.data["image/png"] = smaller(output.data["image/png"])
    # Not those of the machine that ran it.
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, path)


def is_log(output):
    """Whether an output is of a log: stderr, or TensorFlow's, which a notebook has on stdout."""
    text = "".join(output.get("text", ""))
    return output.get("name") == "stderr" or text.startswith(("WARNING:tensorflow", "INFO:tensor"))


def smaller(text, width=640):
    """An image of a notebook, base64 of a PNG, in 32 colours and at most `width` pixels wide."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((width, 10 * width))
        memory = io.BytesIO()
        picture.quantize(32).save(memory, "png", optimize=True)
    return base64.b64encode(memory.getvalue()).decode()


def main(names):
    """Runs the notebooks of these names; all, if there are none."""
    for path in [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        execute(path)


if __name__ == "__main__":
    main(sys.argv[1:])
