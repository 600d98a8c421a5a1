"""MNIST: 28x28 digits, padded to 32x32; weights and a sample are shipped."""

from experiments.configuration import Experiment
from experiments.runner import main

MNIST = Experiment(
    name="mnist",
    data="mnist",
    report_source="sample",
    padding=2,
    paper_mse={
        "conv1": 0.00704,
        "conv3_16": 0.00271,
        "conv3_64": 0.00206,
        "conv5_128": 0.00121,
        "unet": 0.000361,
    },
)

if __name__ == "__main__":
    main(MNIST)
