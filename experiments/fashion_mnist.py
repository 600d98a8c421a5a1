"""Fashion-MNIST: 28x28 pictures of clothes, padded to 32x32; weights and a sample are shipped."""

from experiments.configuration import Experiment
from experiments.runner import main

FASHION_MNIST = Experiment(
    name="fashion_mnist",
    data="fashion_mnist",
    report_source="sample",
    padding=2,
    paper_mse={
        "conv1": 0.0152,
        "conv3_16": 0.00523,
        "conv3_64": 0.00454,
        "conv5_128": 0.00172,
        "unet": 0.000890,
    },
)

if __name__ == "__main__":
    main(FASHION_MNIST)
