"""Converts published arrays to `weights/lpips/alexnet.weights.h5`; measures float16's error.

    python -m experiments.lpips_weights ARRAYS.npz tests/golden/lpips_portraits.npz

`ARRAYS.npz` holds `AlexNet_0/Conv_<i>/kernel` and `bias` (torchvision's AlexNet) and
`NetLinLayer_<i>/Conv_0/kernel` (linear heads of `lpips` 0.1), kernels HWIO, i from 0 to 4.
"""

from pathlib import Path

import numpy as np
import tyro

from ddim_embed.console import import_tensorflow
from experiments.toolkit import study


def convert(arrays: tyro.conf.Positional[Path], golden: tyro.conf.Positional[Path],
            weights: Path | None = None):  # fmt: skip
    """Converts the published weights of LPIPS (AlexNet) and records them.

    Args:
        arrays: .npz file of the published arrays.
        golden: .npz file of uint8 `images` and the `distances` between each two of them.
        weights: folder of weights; None for the shipped one.
    """
    import_tensorflow(one_core_per_operation=False)
    import ddim_embed as de

    distance = de.PerceptualDistance()
    with study.open_npz("ARRAYS", arrays) as stored:
        for i, (conv, head) in enumerate(zip(distance.convs, distance.heads, strict=True)):
            conv.set_weights([stored[f"AlexNet_0/Conv_{i}/{name}"] for name in ("kernel", "bias")])
            head.set_weights([stored[f"NetLinLayer_{i}/Conv_0/kernel"]])
    with study.open_npz("GOLDEN", golden) as stored:
        images, expected = np.float32(stored["images"] / 255), stored["distances"]
    exact = _difference(distance, images, expected)
    for weight in distance.weights:  # as `record_weights` will store them
        if len(weight.shape) > 1:
            weight.assign(np.float16(weight))
    error = _difference(distance, images, expected)
    path, _ = de.record_weights(
        weights,
        "lpips",
        "alexnet",
        distance,
        config={"min_size": distance.min_size},
        data="backbone: ImageNet, by torchvision; heads: BAPPS, by lpips 0.1 (see LICENSES.md)",
        budget={
            "command": f"python -m experiments.lpips_weights {arrays.name} {golden.as_posix()}"
        },
        errors={"max_difference": error, "max_difference_float32": exact, "images": len(images)},
    )
    print(f"{path}: at most {error:.1e} from the golden distances, {exact:.1e} in float32")
    return error


def _difference(distance, images, expected):
    rows, columns = np.indices(expected.shape).reshape(2, -1)
    found = distance([images[rows], images[columns]])
    return float(np.abs(found - expected.ravel()).max())


def main(arguments=None):
    """The command line; `arguments` is None for the words that the user typed."""
    return study.call(convert, "lpips_weights", arguments)


if __name__ == "__main__":
    main()
