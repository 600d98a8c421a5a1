"""Embedding images into the latent space of denoising diffusion implicit models.

import ddim_embed as de

generator = de.load_generator("fashion_mnist")
pixels, labels = de.load_images("fashion_mnist", "test", limit=64)
result = de.embed(generator, pixels, method="unet")
"""

from ddim_embed import clouds, metrics, sampling, schedules
from ddim_embed.agreement import Agreement, agreement
from ddim_embed.clouds import LatentCloud
from ddim_embed.correction import DefectCorrection
from ddim_embed.coupled import BDIA, EDICT
from ddim_embed.data import load_images, read_image_files, stream_images
from ddim_embed.denoising import DenoisingErrors, denoising_errors
from ddim_embed.descent import Descent
from ddim_embed.diffusion import DiffusionModel
from ddim_embed.directions import (
    class_direction,
    edit_effect,
    edit_strip,
    first_layer_directions,
    principal_directions,
)
from ddim_embed.editing import interpolate, lerp, path_length, project, slerp
from ddim_embed.embedder_training import EmbedderTrainer, LatentPairs, LatentRegression
from ddim_embed.embedders import NETWORKS, ConvEmbedder, build_embedder
from ddim_embed.embedding import Embedding, Found, Method
from ddim_embed.exact import EmpiricalDenoiser
from ddim_embed.figures import image_grid
from ddim_embed.frechet import (
    FeatureClassifier,
    fid,
    frechet_distance,
    train_feature_classifier,
)
from ddim_embed.gauss_newton import GaussNewton
from ddim_embed.generator import Generator
from ddim_embed.inversion import DDIMInversion, ImplicitInversion
from ddim_embed.jacobian import principal_angles, singular_vectors
from ddim_embed.legacy import load_legacy_weights
from ddim_embed.methods import METHODS, Hybrid, Network, embed
from ddim_embed.parallel import use_one_core_per_operation
from ddim_embed.perceptual import PerceptualDistance, load_perceptual_distance, lpips
from ddim_embed.pretrained import load_embedder, load_feature_classifier, load_generator
from ddim_embed.quasi_newton import LBFGS
from ddim_embed.schedules import Rates
from ddim_embed.training import train
from ddim_embed.unet import UNet
from ddim_embed.version import __version__
from ddim_embed.weights import load_weights, record_weights, save_weights

__all__ = [
    "BDIA",
    "EDICT",
    "LBFGS",
    "METHODS",
    "NETWORKS",
    "Agreement",
    "ConvEmbedder",
    "DDIMInversion",
    "DefectCorrection",
    "DenoisingErrors",
    "Descent",
    "DiffusionModel",
    "EmbedderTrainer",
    "Embedding",
    "EmpiricalDenoiser",
    "FeatureClassifier",
    "Found",
    "GaussNewton",
    "Generator",
    "Hybrid",
    "ImplicitInversion",
    "LatentCloud",
    "LatentPairs",
    "LatentRegression",
    "Method",
    "Network",
    "PerceptualDistance",
    "Rates",
    "UNet",
    "__version__",
    "agreement",
    "build_embedder",
    "class_direction",
    "clouds",
    "denoising_errors",
    "edit_effect",
    "edit_strip",
    "embed",
    "fid",
    "first_layer_directions",
    "frechet_distance",
    "image_grid",
    "interpolate",
    "lerp",
    "load_embedder",
    "load_feature_classifier",
    "load_generator",
    "load_images",
    "load_legacy_weights",
    "load_perceptual_distance",
    "load_weights",
    "lpips",
    "metrics",
    "path_length",
    "principal_angles",
    "principal_directions",
    "project",
    "read_image_files",
    "record_weights",
    "sampling",
    "save_weights",
    "schedules",
    "singular_vectors",
    "slerp",
    "stream_images",
    "train",
    "train_feature_classifier",
    "use_one_core_per_operation",
]
