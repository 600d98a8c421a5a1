"""Where a semantic encoder starts: it learns to tell the principal components of images."""

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.networks.blocks import Normalizer, deserialized, register
from ddim_embed.training.trained import TrainedModel


@register
class PrincipalComponents(keras.layers.Layer):
    """The coordinates of images along their principal components, each of unit variance.

    Args:
        image_shape: (height, width, channels).
        dims: components, those of the largest variance.

    Call: images `(batch, *image_shape)` -> `(batch, dims)`, float32.
    """

    def __init__(self, image_shape, dims, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.image_shape = arguments.integers("image_shape", image_shape, count=3)
        self.dims = arguments.integer("dims", dims)
        size = int(np.prod(self.image_shape))

        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.mean = weight("mean", size)
        self.components = weight("components", size, self.dims)
        self.deviations = weight("deviations", self.dims)
        self.built = True

    def adapt(self, images, seed=0):
        """Sets the components to those of images, an array `(n, *image_shape)`.

        Raises:
            ValueError: for images of another shape, or that vary in fewer than `dims` directions.
        """
        from sklearn.decomposition import PCA  # not at the top: few need it

        images = np.asarray(images, "float32")
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"`images` must have shape (n, {', '.join(map(str, self.image_shape))}). "
                f"Received shape: {images.shape}"
            )
        most = min(len(images) - 1, self.mean.shape[0])
        if most < self.dims:
            raise ValueError(
                f"{len(images)} images of shape {self.image_shape} have {max(most, 0)} principal "
                f"components: too few for vectors of {self.dims} numbers. More images are needed, "
                "or shorter vectors."
            )
        pca = PCA(self.dims, svd_solver="randomized", random_state=seed)
        pca.fit(images.reshape(len(images), -1))
        self.mean.assign(pca.mean_)
        self.components.assign(pca.components_.T)
        # Of no variance where all images are equal in a direction; divided by it, noise would grow.
        deviations = np.sqrt(pca.explained_variance_)
        self.deviations.assign(np.maximum(deviations, 1e-3 * deviations[0]))

    def call(self, images):
        flat = ops.reshape(ops.cast(images, "float32"), (-1, self.mean.shape[0]))
        return ops.matmul(flat - self.mean, self.components) / self.deviations

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dims)

    def get_config(self):
        return super().get_config() | {"image_shape": self.image_shape, "dims": self.dims}


@register
class EncoderModel(TrainedModel):
    """Trains a semantic encoder alone, to tell the principal components of images.

    A start for the joint training of an `AutoencoderModel`. There the encoder's gradient comes
    through a decoder that does not use the vector yet, and of many noise levels few need it. The
    principal components, the best code that is linear, are a direct target, and the encoder's own
    pass is a small part of the decoder's.

    The loss is the mean over components k of s_k (z_k - c_k / s_k)^2 / mean(s), where z is the
    vector, c the image's coordinates, and s their deviations over the data. The weights s_k lie
    between equal ones and those of the images' squared error, s_k^2, in which few count.

    Args:
        encoder: a `SemanticEncoder`, or any `keras.Model` with `dims` from images to vectors.
        normalizer: the adapted `Normalizer` of the images.
        image_shape: (height, width, channels).

    `fit` and `train` take batches of pixels `(batch, *image_shape)` in [0, 1]; call `adapt(pixels)`
    first.

    Raises:
        ValueError: as `TrainedModel`; on `fit` for components that are not adapted.

    Example:
        >>> encoder = de.SemanticEncoder(channels=1, widths=(4, 8), block_depth=1, dims=3)
        >>> pixels, _ = de.load_images("fashion_mnist", "test", limit=8, source="sample")
        >>> generator = de.load_generator("fashion_mnist")
        >>> model = de.EncoderModel(encoder, generator.normalizer, (32, 32, 1))
        >>> model.adapt(pixels)
        >>> model.compile("adam")
        >>> history = model.fit(pixels, batch_size=8, verbose=0)
    """

    def __init__(self, encoder, normalizer, image_shape):
        arguments.instance("encoder", encoder, keras.Model)
        arguments.instance("normalizer", normalizer, Normalizer)
        super().__init__(encoder)
        self.encoder = encoder
        self.normalizer = normalizer
        self.principal = PrincipalComponents(image_shape, encoder.dims, name="principal")
        self.loss_tracker = keras.metrics.Mean(name="loss", dtype="float32")
        self.built = True

    @property
    def trained(self):
        return self.encoder

    @property
    def image_shape(self):
        return self.principal.image_shape

    @property
    def metrics(self):
        return [self.loss_tracker]

    def adapt(self, pixels, seed=0):
        """Sets the target to the principal components of pixels `(n, *image_shape)` in [0, 1].

        Raises:
            ValueError: for fewer images than the vectors have dimensions, or of another shape.
        """
        images = ops.convert_to_numpy(self.normalizer(ops.convert_to_tensor(pixels, "float32")))
        self.principal.adapt(images, seed)

    def call(self, images, training=None):
        """The vectors of normalised images."""
        return self.encoder(images, training=training)

    def check_batch(self, data):
        super().check_batch(data)
        if not ops.convert_to_numpy(self.principal.deviations.value).all():
            raise ValueError(
                "The principal components are not known: call `model.adapt(pixels)` with pixels "
                "of the data to train on."
            )

    def compute_losses(self, pixels, seed, training, constants):
        images = self.normalizer(pixels)
        errors = ops.cast(self.encoder(images, training=training), "float32")
        errors = errors - self.principal(images)
        deviations = ops.convert_to_tensor(self.principal.deviations)
        weights = deviations / ops.mean(deviations)
        return ops.mean(weights * ops.square(errors)), {}

    def get_config(self):
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "normalizer": keras.saving.serialize_keras_object(self.normalizer),
            "image_shape": self.image_shape,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**deserialized(config, ("encoder", "normalizer"), custom_objects))
