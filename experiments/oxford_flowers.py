"""Oxford Flowers 102: photographs of flowers, at 64x64."""

from experiments.configuration import Experiment
from experiments.runner import main

OXFORD_FLOWERS = Experiment(
    name="oxford_flowers",
    data="oxford_flowers102",
    image_size=64,
    channels=3,
    mirror=True,
    widths=(48, 96, 192, 384),
    paper_mse={
        "conv1": 0.0372,
        "conv3_16": 0.0194,
        "conv3_64": 0.0153,
        "conv5_128": 0.00882,
        "unet": 0.00248,
    },
)

if __name__ == "__main__":
    main(OXFORD_FLOWERS)
