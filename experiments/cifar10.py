"""CIFAR-10: 32x32 colour photographs of ten classes."""

from experiments.configuration import Experiment
from experiments.runner import main

CIFAR10 = Experiment(
    name="cifar10",
    data="cifar10",
    channels=3,
    mirror=True,
    widths=(48, 96, 192, 384),
    semantic_dims=128,
    paper_mse={
        "conv1": 0.0303,
        "conv3_16": 0.0090,
        "conv3_64": 0.0061,
        "conv5_128": 0.0038,
        "unet": 0.0012,
    },
)

if __name__ == "__main__":
    main(CIFAR10)
