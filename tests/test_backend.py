"""The precision in which training is fast, by device."""

import pytest

from ddim_embed import backend


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu amx_tile amx_bf16 avx512_bf16", "bfloat16"),
        ("fpu avx512f avx512_bf16", "bfloat16"),
        ("fpu avx512f avx512_vnni", "float32"),
        ("fpu avx2", "float32"),
    ],
)
def test_processors(flags, precision, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(backend, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    found, reason = backend.fast_precision()
    assert found == precision and ("AMX" if "amx" in flags else "AVX-512") in reason


def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "_CPUINFO", tmp_path / "none")
    assert backend.fast_precision()[0] == "float32"


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16"), ((0, 0), "float32")],
)
def test_gpus(capability, precision, monkeypatch):
    """From Ampere on; Turing, of Colab's T4, has no fast bfloat16."""
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_compute_capability", lambda: capability)
    assert backend.fast_precision()[0] == precision
