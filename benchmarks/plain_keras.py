"""The way of the published code: functional Keras models, Keras' own layers, one tf.function."""

import math

import keras
import tensorflow as tf
from keras import layers

from benchmarks.work import NUM_STEPS

START, END = math.acos(0.95), math.acos(0.02)


def make(piece, size, batch, precision):
    """See `benchmarks.work`."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    denoiser = _unet(size, conditioned=True)
    pixels = tf.random.stateless_uniform((batch, *size.image_shape), (0, 1))
    latents = tf.random.stateless_normal((batch, *size.image_shape), (0, 2))
    optimizer = keras.optimizers.Adam(1e-4)

    if piece == "denoiser_step":

        @tf.function
        def step():
            angles = START + tf.random.uniform((batch, 1, 1, 1)) * (END - START)
            noises = tf.random.normal(tf.shape(pixels))
            signal, noise = tf.cos(angles), tf.sin(angles)
            with tf.GradientTape() as tape:
                predicted = denoiser([signal * pixels + noise * noises, noise**2], training=True)
                loss = tf.reduce_mean(tf.abs(noises - predicted))
            variables = denoiser.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        return lambda: float(step())

    def decode(noisy):
        for i in range(NUM_STEPS):
            angle = START + (1 - i / NUM_STEPS) * (END - START)
            after = START + (1 - (i + 1) / NUM_STEPS) * (END - START)
            variances = tf.fill((batch, 1, 1, 1), math.sin(angle) ** 2)
            noises = denoiser([noisy, variances], training=False)
            images = (noisy - math.sin(angle) * noises) / math.cos(angle)
            noisy = math.cos(after) * images + math.sin(after) * noises
        return images

    if piece == "decode":
        compiled = tf.function(decode)
        return lambda: compiled(latents).numpy()
    if piece == "gradient":

        @tf.function
        def gradient(latents):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                loss = tf.reduce_mean((decode(latents) - pixels) ** 2)
            return tape.gradient(loss, latents)

        return lambda: gradient(latents).numpy()

    embedder = _unet(size, conditioned=False)
    denoiser.trainable = False

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(decode(embedder(pixels, training=True)) - pixels))
        variables = embedder.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: float(step())


def _unet(size, conditioned):
    images = keras.Input(size.image_shape)
    x = layers.Conv2D(size.widths[0], 1)(images)
    inputs = images
    if conditioned:
        variances = keras.Input((1, 1, 1))
        frequencies = [math.exp(k * math.log(1000) / 31) for k in range(32)]

        def embed(variances):
            angles = 2 * math.pi * tf.constant(frequencies, variances.dtype) * variances
            return tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)

        embedding = layers.Lambda(embed, output_shape=(1, 1, 64))(variances)
        x = layers.Concatenate()([x, layers.UpSampling2D(size.image_size)(embedding)])
        inputs = [images, variances]
    skips = []
    for width in size.widths[:-1]:
        for _ in range(size.block_depth):
            x = _block(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(size.block_depth):
        x = _block(x, size.widths[-1])
    for width in reversed(size.widths[:-1]):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(size.block_depth):
            x = _block(layers.Concatenate()([x, skips.pop()]), width)
    outputs = layers.Conv2D(
        size.channels, 1, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02)
    )(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32")(outputs))


def _block(x, width):
    residual = x if x.shape[-1] == width else layers.Conv2D(width, 1)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.Conv2D(width, 3, padding="same", activation="swish")(x)
    x = layers.Conv2D(width, 3, padding="same")(x)
    return layers.Add()([x, residual])
