"""The packages of a wheel: every room of the library, its samples and the shipped weights."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["ddim_embed", "ddim_embed.*"]),
        "ddim_embed.samples",
        "ddim_embed.pretrained_weights",
    ]
)
