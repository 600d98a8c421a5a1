"""CelebA: aligned portraits, at 64x64."""

from experiments.configuration import Experiment
from experiments.runner import main

CELEBA = Experiment(
    name="celeba",
    data="celeba",
    image_size=64,
    channels=3,
    mirror=True,
    widths=(48, 96, 192, 384),
    semantic_dims=256,
    paper_mse={
        "conv1": 0.0189,
        "conv3_16": 0.0101,
        "conv3_64": 0.00829,
        "conv5_128": 0.00396,
        "unet": 0.00147,
    },
    paper_table2=(0.00147, 0.00074),
)

if __name__ == "__main__":
    main(CELEBA)
