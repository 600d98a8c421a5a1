"""Embedding images into the latent space of denoising diffusion implicit models.

import ddim_embed as de

generator = de.load_generator("fashion_mnist")
pixels, labels = de.load_images("fashion_mnist", "test", limit=64)
result = de.embed(generator, pixels, method="unet")
"""

from ddim_embed import metrics, sampling, schedules
from ddim_embed.data import load_images, read_image_files, stream_images
from ddim_embed.diffusion import DiffusionModel
from ddim_embed.embedder_training import EmbedderTrainer, LatentPairs, LatentRegression
from ddim_embed.embedders import NETWORKS, ConvEmbedder, build_embedder
from ddim_embed.embedding import Embedding
from ddim_embed.figures import image_grid
from ddim_embed.generator import Generator
from ddim_embed.legacy import load_legacy_weights
from ddim_embed.methods import METHODS, Hybrid, Network, embed
from ddim_embed.pretrained import load_embedder, load_generator
from ddim_embed.schedules import Rates
from ddim_embed.training import train
from ddim_embed.unet import UNet
from ddim_embed.version import __version__
from ddim_embed.weights import load_weights, record_weights, save_weights

__all__ = [
    "METHODS",
    "NETWORKS",
    "ConvEmbedder",
    "DiffusionModel",
    "EmbedderTrainer",
    "Embedding",
    "Generator",
    "Hybrid",
    "LatentPairs",
    "LatentRegression",
    "Network",
    "Rates",
    "UNet",
    "__version__",
    "build_embedder",
    "embed",
    "image_grid",
    "load_embedder",
    "load_generator",
    "load_images",
    "load_legacy_weights",
    "load_weights",
    "metrics",
    "read_image_files",
    "record_weights",
    "sampling",
    "save_weights",
    "schedules",
    "stream_images",
    "train",
]
