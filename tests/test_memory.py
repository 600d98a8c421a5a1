import math
import resource

import pytest

from ddim_embed import memory


def test_what_fits_is_let_through():
    memory.require_memory(1000, "a thousand bytes")


@pytest.mark.parametrize("kind", [ValueError, MemoryError])
def test_what_does_not_fit_is_refused_in_words(kind):
    with pytest.raises(kind, match=r"for 9 elephants: it takes about 1\.0 PiB, and .* available"):
        memory.require_memory(2**50, "9 elephants")


SIZES = {0: "0 bytes", 1023: "1,023 bytes", 1536: "1.5 KiB", 3 * 2**30: "3.0 GiB"}
SIZES |= {2**60: "1,024.0 PiB", 10**999: "1 ZiB or more", math.inf: "1 ZiB or more"}


@pytest.mark.parametrize(("count", "words"), SIZES.items())
def test_sizes_are_read_by_people(count, words):
    assert memory._size(count) == words


def test_every_limit_counts(monkeypatch, tmp_path):
    assert 0 < memory.available_memory() < 2**50
    limit, statistics = tmp_path / "limit", tmp_path / "statistics"
    limit.write_text("5000\n")
    statistics.write_text("anon 2000\nfile 9000\n")
    with monkeypatch.context() as context:
        context.setattr(memory, "_GROUPS", ((limit, statistics, "anon"),))
        assert memory.available_memory() == 3000
        limit.write_text("max\n")
        assert memory.available_memory() > 5000
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1, 1))
    assert memory.available_memory() == 0
