"""The decoder of diffusion autoencoders: its parts as published, and its frozen form."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, set_random_weights

import ddim_embed as de
from ddim_embed.backend import compiled
from ddim_embed.networks.adaptive_unet import AdaptiveBlock, AdaptiveUNet, _parts
from ddim_embed.networks.group_normalized import GroupNorm
from ddim_embed.process.sampling import sample, time_grid
from ddim_embed.process.schedules import SCHEDULES, continuous_cosine, linear, linear_times

GRID = time_grid(continuous_cosine, 2)
SIZES = {"channels": 1, "widths": (4, 8), "block_depth": 1, "image_size": 8}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(n=2, shape=(8, 8, 1), dims=3, variance=0.3):
    return [normal(n, *shape), np.full((n, 1, 1, 1), variance, np.float32), normal(n, dims, seed=1)]


def trained(model, seed=0):
    """With random weights, and normalisations that do not make everything small."""
    set_random_weights(model, seed)
    for weight in model.weights:
        if weight.name == "gamma":
            weight.assign_add(tf.ones(weight.shape))
    return model


@pytest.fixture(scope="module")
def network():
    """With random weights; attention at 4x4, besides the middle."""
    return trained(AdaptiveUNet(3, **SIZES | {"attention_resolutions": (4,)}))


@pytest.fixture(scope="module")
def small():
    """One level: of what a network has, only resampling is missing."""
    return trained(AdaptiveUNet(3, **SIZES | {"widths": (4,)}))


class TestCounts:
    """The published sizes, by a count from the description that small networks agree with."""

    @staticmethod
    def block(before, after, time_dims=None, semantic_dims=None):
        count = 2 * before + 9 * before * after + after
        count += (before * after + after) * (before != after)
        if time_dims:
            count += 2 * after + 9 * after**2 + after  # second normalisation and convolution
            count += (time_dims + 1) * 2 * after
        return count + (semantic_dims + 1) * after if semantic_dims else count

    @staticmethod
    def attention(width):
        return 2 * width + (width + 1) * 3 * width + (width + 1) * width

    def decoder(self, channels, widths, depth, size, attended, time_dims, semantic_dims):
        dims = time_dims, semantic_dims
        count = 9 * channels * widths[0] + widths[0]
        count += (widths[0] + 1) * time_dims + (time_dims + 1) * time_dims
        width, skips = widths[0], [widths[0]]
        for level, after in enumerate(widths):
            if level:
                count += self.block(width, width, *dims)
                skips.append(width)
            for _ in range(depth):
                count += self.block(width, after, *dims)
                count += self.attention(after) * (size // 2**level in attended)
                skips.append(width := after)
        count += 2 * self.block(width, width, *dims) + self.attention(width)
        for level, after in reversed(list(enumerate(widths))):
            for _ in range(depth + 1):
                count += self.block(width + skips.pop(), after, *dims)
                count += self.attention(after) * (size // 2**level in attended)
                width = after
            count += self.block(width, width, *dims) * (level > 0)
        return count + 2 * width + 9 * width * channels + channels

    def encoder(self, channels, widths, depth, size, attended, dims):
        count, width = 9 * channels * widths[0] + widths[0], widths[0]
        for level, after in enumerate(widths):
            count += self.block(width, width) * (level > 0)
            for _ in range(depth):
                count += self.block(width, after)
                count += self.attention(after) * (size // 2**level in attended)
                width = after
        count += 2 * self.block(width, width) + self.attention(width)
        return count + 2 * width + (width + 1) * dims

    @pytest.mark.parametrize(
        "channels, widths, depth, size, attended, time_dims, semantic_dims",
        [
            (3, (4, 8, 6), 2, 16, (8,), 12, 5),
            (1, (4, 4), 1, 8, (), 16, None),
            (1, (6,), 3, 8, (8, 4), 7, 2),
        ],
    )
    def test_small_ones(self, channels, widths, depth, size, attended, time_dims, semantic_dims):
        made = AdaptiveUNet(semantic_dims, channels, widths, depth, size, attended, time_dims)
        expected = self.decoder(channels, widths, depth, size, attended, time_dims, semantic_dims)
        assert made.count_params() == expected
        encoder = de.SemanticEncoder(channels, widths, depth, 5, size, attended)
        assert encoder.count_params() == self.encoder(channels, widths, depth, size, attended, 5)

    def test_the_published_ones(self):
        """FFHQ-256, whose count the published notebooks print, and CelebA-64 (Table 5)."""
        widths = [128 * factor for factor in (1, 1, 2, 2, 4, 4)]
        count = self.decoder(3, widths, 2, 256, (16,), 512, 512)
        count += self.encoder(3, [*widths, 512], 2, 256, (16,), 512)
        assert round(count / 2**20, 2) == 160.69
        widths = [64 * factor for factor in (1, 2, 4, 8)]
        count = self.decoder(3, widths, 2, 64, (16,), 512, 512)
        assert count == 71_518_723

    def test_four_times_the_first_width_are_the_dims_of_time(self, network):
        assert network.time_dims == network.get_config()["time_dims"] == 16


class TestBlock:
    def block(self, width=64, channels=64, random=True, **options):
        options = {"time_dims": 4, "semantic_dims": 3, "dtype": "float32"} | options
        block = AdaptiveBlock(width, **options)
        block.build((None, None, None, channels))
        return trained(block) if random else block

    def test_with_neutral_vectors_it_is_plain_group_normalisation(self):
        block = self.block(8, 12)
        for layer in (block.time, block.semantic):
            layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
        x, plain = normal(2, 4, 6, 12), []
        for norm in (block.norm1, block.norm2):
            layer = GroupNorm()
            layer.build((None, None, None, norm.gamma.shape[0]))
            layer.set_weights(norm.get_weights())
            plain.append(lambda x, layer=layer: tf.nn.silu(layer(x)))
        expected = block.conv2(plain[1](block.conv1(plain[0](x)))) + block.projection(x)
        found = block([x, normal(2, 4), normal(2, 3)])
        assert_close(found, expected, 1e-5)  # float32

    def test_the_order_of_the_modulations_is_that_of_the_published_code(self):
        """On one pixel with given numbers: (1 + z_s) ((1 + t_s) GN(x) + t_b)."""
        block = self.block(random=False)
        rng = np.random.default_rng(0)
        t_s, t_b, z_s, gamma, beta, x = rng.normal(size=(6, 64)).astype(np.float32)
        block.norm2.set_weights([gamma, beta])
        block.time.set_weights([np.zeros((4, 128)), np.concatenate([t_s, t_b])])
        block.semantic.set_weights([np.zeros((3, 64)), z_s])
        identity = np.zeros((3, 3, 64, 64), np.float32)
        identity[1, 1] = np.eye(64)
        for conv in (block.conv1, block.conv2):
            conv.set_weights([identity, np.zeros(64)])

        def silu(x):
            return x / (1 + np.exp(-x))

        def normalised(x):  # 32 groups of two channels
            pairs = x.reshape(32, 2) - x.reshape(32, 2).mean(1, keepdims=True)
            return (pairs / np.sqrt((pairs**2).mean(1, keepdims=True) + 1e-5)).ravel()

        gn = normalised(silu(normalised(x))) * gamma + beta
        published = x + silu((1 + z_s) * ((1 + t_s) * gn + t_b))
        swapped = x + silu((1 + t_s) * (1 + z_s) * gn + t_b)
        found = block([x[None, None, None], normal(1, 4), normal(1, 3)])[0, 0, 0]
        assert_close(found, published, 1e-5)  # float32
        assert np.abs(swapped - published).max() > 0.1

    def test_the_vectors_are_linear_maps_of_what_the_network_activates(self):
        block = self.block()
        time, semantic = normal(2, 4), normal(2, 3)
        scale, shift = block._adapted(time, semantic)
        kernel, bias = block.time.get_weights()
        t_s, t_b = np.split(time @ kernel + bias, 2, axis=1)
        kernel, bias = block.semantic.get_weights()
        z_s = semantic @ kernel + bias
        gamma, beta = block.norm2.get_weights()
        assert_close(scale[:, 0, 0], (1 + z_s) * (1 + t_s) * gamma, 1e-5)
        assert_close(shift[:, 0, 0], (1 + z_s) * ((1 + t_s) * beta + t_b), 1e-5)

    def test_at_first_it_passes_its_input_through(self):
        x, vectors = normal(2, 4, 4, 6), (normal(2, 4), normal(2, 3))
        block = self.block(6, 6, random=False, attention=True)
        np.testing.assert_array_equal(block([x, *vectors]), x)
        block = self.block(6, 6, random=False, resample="down")
        np.testing.assert_array_equal(block([x, *vectors]), tf.nn.avg_pool2d(x, 2, 2, "VALID"))
        block = self.block(6, 6, random=False, resample="up")
        np.testing.assert_array_equal(block([x, *vectors]), x.repeat(2, 1).repeat(2, 2))

    @pytest.mark.parametrize("resample", ["down", "up"])
    def test_resampling_comes_before_the_first_convolution(self, resample):
        block, x, vectors = self.block(8, 8, resample=resample), normal(2, 4, 4, 8), inputs()[2]
        change = {
            "down": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
            "up": lambda x: tf.repeat(tf.repeat(x, 2, 1), 2, 2),
        }[resample]
        time = normal(2, 4)
        h = block.conv1(change(tf.nn.silu(block.norm1(x))))
        h = block.conv2(block.norm2.swish(h, *block._adapted(time, vectors)))
        found = block([x, time, vectors])
        assert_close(found, change(x) + h, 1e-5)  # float32
        assert block.compute_output_shape([x.shape, time.shape, vectors.shape]) == found.shape

    def test_dropout_is_of_training_alone(self):
        block, x = self.block(6, 6, dropout=0.5), normal(2, 4, 4, 6)
        vectors = normal(2, 4), normal(2, 3)
        np.testing.assert_array_equal(block([x, *vectors]), block([x, *vectors]))
        dropped = [block([x, *vectors], training=True) for _ in range(2)]
        assert np.abs(dropped[0] - dropped[1]).max() > 0.1
        again = self.block(6, 6, dropout=0.5)  # draws the same, as resuming needs
        np.testing.assert_array_equal(again([x, *vectors], training=True), dropped[0])
        other = self.block(6, 6, dropout=0.5, number=1)
        assert np.abs(other([x, *vectors], training=True) - dropped[0]).max() > 0.1


class TestTime:
    def test_the_time_step_is_that_of_the_linear_schedule(self):
        times = np.linspace(0, 1, 21)
        found = linear_times(linear(times).noise ** 2)
        # At t=1 a float32 variance is within 6e-8 of 1, of which 4e-5 are missing.
        np.testing.assert_allclose(found, times, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_it_grows_with_time_in_every_schedule(self, name):
        found = linear_times(SCHEDULES[name](np.linspace(0, 1, 50)).noise ** 2).numpy()
        assert (np.diff(found) > 1e-5).all() and found[0] >= 0 and found[-1] < 1.2

    def test_noise_alone_has_a_time(self):
        assert 1 < float(linear_times(np.float32(1))) < 1.4

    def test_is_embedded_as_published(self):
        network = trained(AdaptiveUNet(3, **SIZES | {"widths": (7,)}))  # three sines and cosines
        variance = linear(np.array([0.25])).noise[0] ** 2
        found = network.embed_times(np.full((1, 1, 1, 1), variance, np.float32))
        angles = 250 * 10_000.0 ** (-np.arange(3) / 3)
        x = np.concatenate([np.cos(angles), np.sin(angles)])
        for kernel, bias in (layer.get_weights() for layer in network.time_layers):
            x = x @ kernel + bias
            x = x / (1 + np.exp(-x))
        assert_close(found[0], x, 1e-4)  # float32, of an angle of 250

    def test_is_not_rounded_in_bfloat16(self):
        made = [
            trained(AdaptiveUNet(3, **SIZES | {"widths": (4,), "dtype": dtype}))
            for dtype in ("float32", "mixed_bfloat16")
        ]
        variances = np.linspace(0.1, 0.9, 5, dtype=np.float32).reshape(5, 1, 1, 1)
        exact, rounded = (network.embed_times(variances) for network in made)
        np.testing.assert_array_equal(exact, rounded)
        time, semantic = normal(2, 16), normal(2, 3)
        pairs = zip(*(network.blocks[0]._adapted(time, semantic) for network in made), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


class TestNetwork:
    def test_equals_its_parts_in_the_order_of_the_paper(self, network):
        """A second account of the forward pass: skips are joined last in, first out."""
        batch = inputs()
        images, variances, semantic = batch
        time, semantic = network.embed_times(variances), tf.nn.silu(semantic)
        first, halved, last, *middle, up1, up2, doubled, up3, up4 = (
            lambda *pair, block=block: block([tf.concat(pair, -1), time, semantic])
            for block in network.blocks
        )
        skip0 = network.input_conv(images)
        skip1 = first(skip0)
        skip2 = halved(skip1)
        skip3 = last(skip2)
        h = middle[1](middle[0](skip3))
        x = doubled(up2(up1(h, skip3), skip2))
        x = up4(up3(x, skip1), skip0)
        expected = network.output_conv(tf.nn.silu(network.norm(x)))
        found = network(batch)
        assert found.dtype == tf.float32 and np.std(found) > 0.1
        assert_close(found, expected, 1e-5)  # float32

    def test_attention_is_at_its_resolutions_and_in_the_middle(self):
        down, middle, up = _parts((3, 4, 5), 2, lambda level: level == 1)
        first, second, third = ((width, None, width == 4) for width in (3, 4, 5))
        assert down == [first] * 2 + [(3, "down", False)] + [second] * 2 + [
            (4, "down", False), *[third] * 2
        ]  # fmt: skip
        assert middle == [(5, None, True), (5, None, False)]
        assert up == [third] * 3 + [(5, "up", False)] + [second] * 3 + [
            (4, "up", False), *[first] * 3
        ]  # fmt: skip

    def test_the_resolution_of_a_level_follows_from_the_size_of_images(self, network):
        assert [block.attends for block in network.blocks] == [
            False, False, True, True, False, True, True, False, False, False
        ]  # fmt: skip

    @pytest.mark.parametrize("n", [1, 3])
    def test_every_image_of_a_batch_is_treated_alone(self, network, n):
        images, variances, semantic = inputs(n)
        together = network([images, variances, semantic])
        alone = [network([images[i : i + 1], variances[:1], semantic[i : i + 1]]) for i in range(n)]
        assert_close(together, tf.concat(alone, 0), 1e-5)  # float32

    def test_noise_variance_and_vector_matter(self, network):
        batch = inputs()
        for index, other in ((1, 0.6 * batch[1]), (2, -batch[2])):
            changed = [*batch[:index], other, *batch[index + 1 :]]
            assert np.abs(network(batch) - network(changed)).max() > 0.1

    def test_learns_from_the_vector_at_the_third_step_and_not_before(self):
        """Two layers of zeros lie in front: the output's, then the second ones of the blocks."""
        made = AdaptiveUNet(3, **SIZES | {"widths": (4,)})
        images, variances, semantic = (tf.constant(values) for values in inputs())
        np.testing.assert_array_equal(made([images, variances, semantic]), 0)
        optimizer, seen = keras.optimizers.SGD(0.1), []
        for _ in range(3):
            with tf.GradientTape() as tape:
                tape.watch(semantic)
                loss = tf.reduce_mean((made([images, variances, semantic]) - images) ** 2)
            *gradients, of_semantic = tape.gradient(loss, [*made.trainable_variables, semantic])
            optimizer.apply(gradients, made.trainable_variables)
            seen.append(np.abs(of_semantic).max())
        assert seen[:2] == [0, 0] and seen[2] > 0

    def test_a_constant_image_has_finite_values_and_gradients(self, network):
        images, variances, semantic = inputs()
        images = tf.constant(np.full_like(images, 5))
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = network([images, variances, semantic])
        gradients = tape.gradient(output, [images, *network.trainable_variables])
        assert all(np.isfinite(value).all() for value in [output, *gradients])

    def test_widths_that_32_does_not_divide(self):
        made = trained(AdaptiveUNet(3, **SIZES | {"widths": (6, 35)}))
        assert made.blocks[-1].norm1.groups == 12 and made.norm.groups == 6
        assert made.blocks[3].norm1.groups == 7  # 35 channels: the largest divisor up to 32
        assert np.isfinite(made(inputs())).all()

    def test_without_a_vector_it_is_the_ddim(self):
        made = trained(AdaptiveUNet(None, **SIZES | {"widths": (4,)}))
        images, variances, _ = inputs()
        output = made([images, variances])
        frozen = made.freeze(GRID, (8, 8))
        variances = np.full_like(variances, GRID[1].noise ** 2)
        assert output.shape == images.shape
        assert_close(frozen(images, 1), made([images, variances]), 1e-5)  # float32
        with pytest.raises(ValueError, match="takes no condition"):
            frozen(images, 1, [])

    def test_splits_at_the_bottleneck(self, network):
        batch = inputs()
        h, skips = network.encode(batch)
        assert h.shape == (2, 4, 4, 8) and len(skips) == 4
        np.testing.assert_array_equal(network.decode(h, skips, batch), network(batch))
        shifted = network(batch, hook=lambda h: h * h)  # normalisation takes constants away
        np.testing.assert_array_equal(network.decode(h * h, skips, batch), shifted)
        assert np.abs(shifted - network(batch)).max() > 1e-3

    def test_bfloat16_is_near_float32_and_returns_it(self, network):
        rounded = AdaptiveUNet.from_config(network.get_config() | {"dtype": "mixed_bfloat16"})
        rounded.set_weights(network.get_weights())
        output, expected = rounded(inputs(4)), network(inputs(4))
        assert output.dtype == tf.float32
        assert all(weight.dtype == "float32" for weight in rounded.weights)
        assert_close(output, expected, 0.1)  # 8 bits, some 20 roundings in a row
        assert np.abs(output - expected).max() > 1e-4  # it did compute in bfloat16

    def test_a_weights_file_makes_the_same_network(self, small, tmp_path):
        small.save_weights(tmp_path / "network.weights.h5")
        again = AdaptiveUNet.from_config(small.get_config())
        again.load_weights(tmp_path / "network.weights.h5")
        np.testing.assert_array_equal(again(inputs()), small(inputs()))
        assert small.compute_output_shape([(2, 8, 8, 1), (2, 1, 1, 1), (2, 3)]) == (2, 8, 8, 1)

    @pytest.mark.parametrize(
        "change, words",
        [
            (lambda i, v, z: [i, v], r"`\[images, noise_variances, semantic\]`.*list of 2"),
            (lambda i, v, z: i, "called on.*Received: EagerTensor"),
            (lambda i, v, z: [i, v, z[:, :2]], r"must have shape \(n, 3\).*\(2, 2\)"),
            (lambda i, v, z: [i[:, 1:], v, z], r"2 divides.*\(2, 7, 8, 1\)"),
            (lambda i, v, z: [i[0], v, z], r"\(batch, height, width, channels\).*\(8, 8, 1\)"),
        ],
    )
    def test_wrong_inputs_are_named(self, network, change, words):
        with pytest.raises(ValueError, match=words):
            network(change(*inputs()))

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"semantic_dims": 0}, "semantic_dims.*Received: 0"),
            ({"widths": ()}, "widths"),
            ({"block_depth": 0}, "block_depth.*Received: 0"),
            ({"channels": 1.5}, "channels.*Received: 1.5"),
            ({"image_size": 0}, "image_size.*Received: 0"),
            ({"attention_resolutions": (0,)}, "attention_resolutions"),
            ({"time_dims": 0}, "time_dims.*Received: 0"),
            ({"dropout": 1}, "dropout.*Received: 1"),
            ({"widths": (2**20, 2**20)}, "not enough memory"),
        ],
    )
    def test_sizes_that_cannot_be_built_are_named(self, options, words):
        with pytest.raises(ValueError, match=words):
            AdaptiveUNet(**({"semantic_dims": 3} | SIZES | options))


class TestFrozen:
    @pytest.mark.parametrize("step", range(len(GRID)))
    def test_equals_the_network_and_so_do_its_gradients(self, network, step):
        n, size = (3, (8, 8)) if step else (1, (4, 6))
        frozen = network.freeze(GRID, size)
        variances = np.full((n, 1, 1, 1), GRID[step].noise ** 2, np.float32)
        upstream, results = normal(n, *size, 1, seed=2), []
        for evaluate in (
            lambda x, z: network([x, variances, z]),
            lambda x, z: frozen(x, step, frozen.conditioned(z)),
        ):
            given = [tf.constant(normal(n, *size, 1)), tf.constant(normal(n, 3, seed=step))]
            with tf.GradientTape() as tape:
                tape.watch(given)
                output = evaluate(*given)
            gradients = tape.gradient(output, given, output_gradients=upstream)
            results.append([output, *gradients])
        for found, expected in zip(*results, strict=True):
            assert_close(found, expected, 1e-4)  # float32

    def test_products_with_the_jacobian_differentiate_its_gradient(self, small):
        frozen = small.freeze(GRID, (8, 8))
        images, upstream, direction = (normal(1, 8, 8, 1, seed=seed) for seed in range(3))
        condition = frozen.conditioned(normal(1, 3))
        x, upstream = tf.constant(images), tf.constant(upstream)
        with tf.GradientTape() as outer:
            outer.watch(upstream)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = frozen(x, 1, condition)
            pulled = inner.gradient(y, x, output_gradients=upstream)
        product = outer.gradient(pulled, upstream, output_gradients=direction)
        ends = [frozen(images + step * direction, 1, condition) for step in (1e-3, -1e-3)]
        assert_close(product, (ends[0] - ends[1]) / 2e-3, 2e-3)  # differences of float32

    def test_is_a_snapshot_attention_included(self, small):
        made = AdaptiveUNet.from_config(small.get_config())
        made.set_weights(small.get_weights())
        frozen = made.freeze(GRID, (8, 8))
        images, semantic = normal(1, 8, 8, 1), normal(1, 3)

        def output(frozen):
            return frozen(images, 0, frozen.conditioned(semantic)).numpy()

        before = output(frozen)
        trained(made, seed=8)
        np.testing.assert_array_equal(output(frozen), before)
        # With the other weights in their place it is the other one.
        other = made.freeze(GRID, (8, 8))
        np.testing.assert_array_equal(output(frozen.replace(other.weights)), output(other))
        np.testing.assert_array_equal(output(frozen), before)

    def test_bfloat16_is_near_float32(self, network):
        images, semantic = normal(2, 8, 8, 1), normal(2, 3)
        exact, rounded = (network.freeze(GRID, (8, 8), p) for p in ("float32", "bfloat16"))
        for step in range(len(GRID)):
            expected = exact(images, step, exact.conditioned(semantic))
            condition = rounded.conditioned(semantic)
            assert {vector.dtype for vector in condition} == {tf.float32}
            found = rounded(images, step, condition)
            assert found.dtype == tf.float32
            assert_close(found, expected, 0.1)  # 8 bits, some 20 roundings in a row
            assert np.abs(found - expected).max() > 1e-4

    def test_splits_at_the_bottleneck_as_the_network_does(self, network):
        frozen = network.freeze(GRID, (8, 8))
        images, _, semantic = inputs()
        batch = [images, np.full((2, 1, 1, 1), GRID[1].noise ** 2, np.float32), semantic]
        condition = frozen.conditioned(semantic)
        h, skips = frozen.encode(images, 1, condition)
        expected_h, expected_skips = network.encode(batch)
        for found, expected in zip([h, *skips], [expected_h, *expected_skips], strict=True):
            assert_close(found, expected, 1e-5)  # float32
        shifted = frozen(images, 1, condition, hook=lambda h: 2 * h)
        np.testing.assert_array_equal(frozen.decode(2 * h, skips, 1, condition), shifted)
        assert_close(shifted, network(batch, hook=lambda h: 2 * h), 1e-5)

    def test_what_it_cannot_take_is_named(self, network):
        frozen = network.freeze(GRID, (8, 8))
        with pytest.raises(ValueError, match="takes a condition"):
            frozen(normal(1, 8, 8, 1), 0)
        with pytest.raises(ValueError, match=r"shape \(n, 3\).*Received shape: \(1, 4\)"):
            frozen.conditioned(normal(1, 4))
        with pytest.raises(ValueError, match="2 divides"):
            network.freeze(GRID, (7, 8))

    def test_decodes_as_sampling_with_the_network(self, small):
        process = de.Process(num_steps=2)
        generator = de.Generator(small, process=process, image_shape=(8, 8, 1))
        latents, semantic = generator.latents(3, seed=4), normal(3, 3)

        def denoise(images, rates):
            variances = tf.fill((3, 1, 1, 1), np.float32(rates.noise**2))
            return small([images, variances, semantic], training=False)

        expected = sample(denoise, continuous_cosine, latents, 2)
        given = generator.given(semantic)
        # Two steps, the first of which multiplies rounding errors by 35 (signal .02 to .71).
        assert_close(given.decode(latents), expected, 1e-4)
        loop = compiled(lambda latents: given.decode_tensor(latents, scan=True))  # as on a GPU
        assert_close(loop(latents), expected, 1e-4)
