"""Wrong arguments, in the same words everywhere; tests of what uses them are beside it."""

import decimal
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ddim_embed import arguments

NO_NUMBERS = [None, math.nan, "3", b"3", True, np.True_, [3], 3j, np.array([3, 4]), object()]
NO_NUMBERS += [np.array("3")]


def refused(words, check, *args, **options):
    with pytest.raises(ValueError, match=words) as caught:
        check("name", *args, **options)
    assert str(caught.value).startswith("`name` must be ") and "\n" not in str(caught.value)


class TestInteger:
    @pytest.mark.parametrize("value", [1, 7, np.int8(7), np.uint64(7), np.array(7), 2**31 - 1])
    def test_good(self, value):
        found = arguments.integer("name", value)
        assert found == value and type(found) is int

    @pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 1.5, 3.0, np.float64(3), math.inf])
    def test_bad(self, value):
        refused("an integer of at least 1. Received: ", arguments.integer, value)

    @pytest.mark.parametrize("value", [2**31, 2**63, 10**999])
    def test_too_large(self, value):
        refused("an integer from 1 to 2147483647. Received: ", arguments.integer, value)

    def test_bounds(self):
        assert arguments.integer("name", 0, least=0) == 0
        assert arguments.integer("name", 5, 2, 5) == 5
        refused("an integer from 2 to 5. Received: 1", arguments.integer, 1, 2, 5)
        refused("an integer from 2 to 5. Received: 6", arguments.integer, 6, 2, 5)

    def test_several(self):
        assert arguments.integers("name", [np.int64(4), 5]) == (4, 5)
        for values in ((), None, 4, "45", b"45", {4: 5}, (4, 0), (4, None), (4, 1.5)):
            refused("a sequence of integers of at least 1. Rec", arguments.integers, values)
        refused(r"3 integers of at least 1. Received: \(4, 5\)", arguments.integers, (4, 5), 3)


class TestSeed:
    @pytest.mark.parametrize("value", [0, 2**32, np.int64(5), 2**63 - 1])
    def test_good(self, value):
        assert arguments.seed(value) == value

    @pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 1.5, 2**63])
    def test_bad(self, value):
        words = r"`seed` must be an integer (of at least 0|from 0 to 9223372036854775807)\. Rec"
        with pytest.raises(ValueError, match=words):
            arguments.seed(value)


class TestNumber:
    @pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(1), decimal.Decimal("0.5")])
    def test_good(self, value):
        assert arguments.number("name", value, above=0, at_most=1) == value

    @pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1.01, -math.inf, math.inf, 10**999])
    def test_bad(self, value):
        words = "a finite number above 0 and at most 1. Received: "
        refused(words, arguments.number, value, above=0, at_most=1)

    def test_bounds(self):
        assert arguments.number("name", -1e300) == -1e300
        assert arguments.number("name", 0, at_least=0, below=1) == 0
        refused("at least 0 and below 1. Received: 1", arguments.number, 1, at_least=0, below=1)
        refused("a finite number. Received: nan", arguments.number, np.nan)


def test_flags():
    assert arguments.flag("name", np.True_) is True and arguments.flag("name", False) is False
    for value in (None, 1, 0.0, "yes", math.nan, np.zeros(2, bool)):
        refused("True or False. Received: ", arguments.flag, value)


class TestChoice:
    choices = ("lbfgs", "descent", "unet")

    def test_good(self):
        assert arguments.choice("name", "unet", self.choices) == "unet"

    @pytest.mark.parametrize("value", [None, 3, ["unet"], np.array(["unet", "unet"]), "zzz", ""])
    def test_bad(self, value):
        refused(
            r"one of \('lbfgs', .*'unet'\), or x. Rec",
            arguments.choice,
            value,
            self.choices,
            ", or x",
        )

    @pytest.mark.parametrize("value", ["lbfg", "LBFGS", "l-bfgs"])
    def test_the_nearest_one_is_named(self, value):
        words = re.escape(f"Received: {value!r}. Did you mean 'lbfgs'?")
        refused(words, arguments.choice, value, self.choices)


class TestArrays:
    def test_good(self):
        for values in ([1, 2], (True, False), np.float16([0.5, np.inf]), np.uint8([3])):
            found = arguments.array("name", values)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, np.asarray(values))
        assert arguments.finite_array("name", [1e99], np.float64)[0] == 1e99

    @pytest.mark.parametrize("values", [None, "a", ["1"], [[1], [1, 2]], [3j], [{}], [None]])
    def test_bad(self, values):
        refused("an array of real numbers. Received: ", arguments.array, values)

    def test_not_finite(self):
        for value in (np.nan, np.inf, 1e99):  # the last one is not finite in float32
            refused("finite; some values are NaN or infinite", arguments.finite_array, [0, value])


def test_paths(tmp_path):
    for value in ("a", tmp_path, "a" * 5000):
        assert arguments.path("name", value) == Path(value)
    for value in (None, 3, "", b"a", os.fsencode(tmp_path), math.nan, "a\0"):
        refused("a path. Received: ", arguments.path, value)


def test_long_arguments_are_shortened():
    assert len(arguments.received("a" * 1000)) < 210
    assert arguments.received(np.zeros((2, 1))) == "array([[0.], [0.]])"
    assert arguments.received(10**9999) == "a value of type int"
