"""Embeddings in files: what is read again, and what makes another key."""

import numpy as np
import pytest
from conftest import make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.methods import cache
from ddim_embed.methods.cache import cache_key, cached_embed, embed_in_chunks

FIELDS = ("latents", "reconstruction", "mse", "evaluations", "seconds", "partner", "single_mse")


@pytest.fixture
def calls(monkeypatch):
    """The number of images, and the method, of each call of `embed`."""
    calls, original = [], cache.embed

    def embed(generator, pixels, method, **options):
        calls.append((len(pixels), method, options["seed"]))
        return original(generator, pixels, method, **options)

    monkeypatch.setattr(cache, "embed", embed)
    return calls


@pytest.mark.parametrize("method", [de.Descent(num_steps=2), de.EDICT()], ids=["trace", "pair"])
def test_what_is_read_is_what_was_computed(tmp_path, tiny_generator, tiny_pixels, method, calls):
    path = tmp_path / "folder" / "one.npz"
    first = cached_embed(path, tiny_generator, tiny_pixels, method)
    again = cached_embed(path, tiny_generator, tiny_pixels, method)
    assert len(calls) == 1
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    if first.trace is not None:
        np.testing.assert_array_equal(again.trace.mse, first.trace.mse)
    assert (first.partner is None) == (again.partner is None)
    np.testing.assert_array_equal(de.embed(tiny_generator, tiny_pixels, method).mse, first.mse)


def test_a_file_of_something_else_is_replaced(tmp_path, tiny_generator, tiny_pixels, calls):
    path = tmp_path / "one.npz"
    np.savez(path, identity="of an earlier version")
    with pytest.warns(UserWarning, match=f"{path} is damaged, or of an earlier version"):
        cached_embed(path, tiny_generator, tiny_pixels, "implicit", seed=4)
    calls.clear()
    for _ in range(2):
        cached_embed(path, tiny_generator, tiny_pixels, "ddim_inversion")
        cached_embed(path, tiny_generator, tiny_pixels, "ddim_inversion")
        cached_embed(path, tiny_generator, tiny_pixels, "implicit", seed=4)
    assert [(method, seed) for _, method, seed in calls] == 2 * [
        ("ddim_inversion", 0),
        ("implicit", 4),
    ]


def test_chunks_that_are_missing_are_computed(tmp_path, tiny_generator, tiny_pixels, calls):
    method, warm_up = de.LBFGS(num_steps=2), de.LBFGS(num_steps=1)
    options = {"seed": 5, "chunk_size": 2, "folder": tmp_path, "warm_up": warm_up}
    whole = embed_in_chunks(tiny_generator, tiny_pixels, method, **options)
    # The warm-up comes before the first chunk of each size; each chunk has its own seed.
    assert [(n, m, s) for n, m, s in calls] == [
        (2, warm_up, 5), (2, method, 5), (2, method, 7), (1, warm_up, 9), (1, method, 9),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npz", "2.npz", "4.npz"]
    parts = [
        de.embed(tiny_generator, tiny_pixels[i : i + 2], method, seed=5 + i) for i in (0, 2, 4)
    ]
    np.testing.assert_array_equal(whole.latents, np.concatenate([p.latents for p in parts]))
    calls.clear()
    (tmp_path / "2.npz").unlink()
    again = embed_in_chunks(tiny_generator, tiny_pixels, method, **options)
    assert calls == [(2, warm_up, 7), (2, method, 7)]
    np.testing.assert_array_equal(again.latents, whole.latents)


def test_damaged_chunks_are_computed_again(tmp_path, tiny_generator, tiny_pixels, calls):
    """A line of warning names each; the others are read."""
    rng, options = np.random.default_rng(0), {"chunk_size": 2, "folder": tmp_path}
    whole = embed_in_chunks(tiny_generator, tiny_pixels, "ddim_inversion", **options)
    for damage in ("bit", "bit", "bit", "cut"):
        path = tmp_path / "2.npz"
        content = bytearray(path.read_bytes())
        if damage == "cut":
            del content[1000:]
        else:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        calls.clear()
        with pytest.warns(UserWarning, match=f"{path} is damaged.*It is computed again"):
            again = embed_in_chunks(tiny_generator, tiny_pixels, "ddim_inversion", **options)
        assert [seed for _, _, seed in calls] == [2]
        np.testing.assert_array_equal(again.latents, whole.latents)


def test_chunks_start_from_given_latents(tiny_generator, tiny_pixels):
    latents = tiny_generator.latents(5, seed=8)
    result = embed_in_chunks(
        tiny_generator, tiny_pixels, de.LBFGS(num_steps=1), latents=latents, chunk_size=2
    )
    np.testing.assert_array_equal(result.latents, latents)


class TestKey:
    def test_everything_that_an_embedding_depends_on_is_in_it(self, tiny_generator, tiny_pixels):
        arguments = {
            "generator": tiny_generator, "pixels": tiny_pixels, "method": "lbfgs", "seed": 0,
            "latents": tiny_pixels,
        }  # fmt: skip
        changes = {
            "generator": make_generator(seed=1),
            "pixels": 0.5 * tiny_pixels,
            "method": de.LBFGS(num_steps=3),
            "seed": 1,
            "latents": None,
        }
        keys = [cache_key(**arguments)]
        keys += [cache_key(**arguments | {name: value}) for name, value in changes.items()]
        keys.append(cache_key(**arguments | {"generator": make_generator(precision="bfloat16")}))
        keys.append(cache_key(**arguments | {"generator": make_generator(num_steps=2)}))
        assert len(set(keys)) == len(keys)
        assert cache_key(**arguments | {"method": de.LBFGS()}) == keys[0]
        assert cache_key(**arguments | {"generator": make_generator()}) == keys[0]

    def test_the_condition_is_in_it(self, tiny_pixels):
        generator, keys = make_generator(), set()
        for condition in (None, {"semantic": np.zeros((5, 2))}, {"semantic": np.ones((5, 2))}):
            generator.condition = condition
            keys.add(cache_key(generator, tiny_pixels, "lbfgs", 0))
        assert len(keys) == 3

    def test_the_weights_of_the_networks_are_in_it(self, tmp_path, tiny_generator):
        """By their checksums, for those that a method, or a part of it, loads."""
        sizes = generator_config(tiny_generator)
        notes = {"data": "", "budget": {}, "errors": {}}
        de.record_weights(tmp_path, "x", "generator", tiny_generator, config=sizes, **notes)
        generator, pixels = de.load_generator("x", tmp_path), make_pixels(1, (16, 16, 1))
        methods = {
            "network": "conv1",
            "hybrid": de.Hybrid("conv1", de.LBFGS()),
            "nested": de.Hybrid(de.Hybrid("conv1", de.LBFGS()), de.LBFGS()),
            "other": "conv3_16",
            "none": de.LBFGS(),
        }

        def record(name, seed=0):
            model = set_random_weights(de.build_embedder(name), seed)
            de.record_weights(tmp_path, "x", name, model, config={"channels": 1}, **notes)

        def keys(seed):
            record("conv1", seed)
            return {name: cache_key(generator, pixels, m, 0) for name, m in methods.items()}

        record("conv3_16")
        before, after = keys(1), keys(2)
        changed = {name for name in methods if before[name] != after[name]}
        assert changed == {"network", "hybrid", "nested"}

    def test_the_weights_of_a_given_network_are_in_it(self, tiny_generator, tiny_pixels):
        models = [set_random_weights(de.build_embedder("conv1"), seed) for seed in (0, 0, 1)]
        keys = [
            cache_key(tiny_generator, tiny_pixels, de.Network("conv1", embedder=model), 0)
            for model in models
        ]
        assert keys[0] == keys[1] != keys[2]
