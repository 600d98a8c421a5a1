"""Converts published arrays to `weights/identity/resnet29.weights.h5`; measures float16's error.

    python -m experiments.identity_weights ARRAYS.npz tests/golden/identity_portraits.npz

`ARRAYS.npz` holds face-api's recognition network (dlib's ResNet): kernels HWIO, factors and biases
by their published names; 8-bit ones, `W`, are `W * W:scale + W:min`.
"""

from pathlib import Path

import numpy as np
import tyro

from ddim_embed.console import import_tensorflow
from experiments.toolkit import study

# The published names of the convolutions, from the images on.
_BLOCKS = (
    "conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3",
    "conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2",
    "conv256_down_out",
)  # fmt: skip
NAMES = ("conv32_down", *(f"{block}/conv{i}" for block in _BLOCKS for i in (1, 2)))


def convert(arrays: tyro.conf.Positional[Path], golden: tyro.conf.Positional[Path],
            weights: Path | None = None):  # fmt: skip
    """Converts the published descriptor of faces and records it.

    Args:
        arrays: .npz file of the published arrays.
        golden: .npz file of the `names` of bundled portraits and their `descriptors`.
        weights: folder of weights; None for the shipped one.
    """
    import_tensorflow(one_core_per_operation=False)
    import ddim_embed as de

    identity = de.FaceIdentity()
    with study.open_npz("ARRAYS", arrays) as stored:
        for conv, name in zip(identity.convs, NAMES, strict=True):
            conv.set_weights(_folded(stored, name))
        identity.project.set_weights([_exact(stored, "fc")])
    with study.open_npz("GOLDEN", golden) as stored:
        folder = Path(de.__file__).parent / "samples" / "portraits"
        files = [folder / f"{name}.png" for name in stored["names"]]
        pixels, _, _ = de.read_image_files(files, (64, 64, 3))
        expected = stored["descriptors"]
        exact = _difference(identity, pixels, expected)
    for weight in identity.weights:  # as `record_weights` will store them
        if len(weight.shape) > 1:
            weight.assign(np.float16(weight))
    error = _difference(identity, pixels, expected)
    path, _ = de.record_weights(
        weights,
        "identity",
        "resnet29",
        identity,
        config={"size": identity.size},
        data="about 3 million faces, by dlib; in 8 bits, by face-api (see LICENSES.md)",
        budget={
            "command": f"python -m experiments.identity_weights {arrays.name} {golden.as_posix()}"
        },
        errors={"max_difference": error, "max_difference_float32": exact, "images": len(pixels)},
    )
    print(f"{path}: at most {error:.1e} from the golden descriptors, {exact:.1e} in float32")
    return error


def _folded(stored, name):
    """Kernel and bias of a convolution, times its factors, plus the biases behind them."""
    factors = _exact(stored, f"{name}/scale/weights")
    bias = _exact(stored, f"{name}/conv/bias") * factors + _exact(stored, f"{name}/scale/biases")
    return [_exact(stored, f"{name}/conv/filters") * factors, bias]


def _exact(stored, name):
    values = stored[name]
    if values.dtype == np.uint8:
        return values.astype(np.float32) * stored[f"{name}:scale"] + stored[f"{name}:min"]
    return values


def _difference(identity, pixels, expected):
    return float(np.abs(identity.descriptors(pixels) - expected).max())


def main(arguments=None):
    """The command line; `arguments` is None for the words that the user typed."""
    return study.call(convert, "identity_weights", arguments)


if __name__ == "__main__":
    main()
