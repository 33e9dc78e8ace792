"""Static values: each is guarded, on every path, and told from what is merely equal to it."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import pytest

import gradc


@pytest.fixture(params=[True, False], ids=["native", "interpreted"], autouse=True)
def jit(request):
    with gradc.config(jit=request.param):
        yield


def doubled(x, n):
    for _ in range(n):
        x = x * 2
    return x


@pytest.mark.parametrize(
    "integer", [int, np.int64, np.uint8, np.array, lambda k: np.array(k, ">i4")]
)
def test_integers_that_turned_static(integer):
    f = gradc.compile(doubled)
    g = gradc.compile(lambda d: doubled(d["x"], d["n"]))
    for k in (2, 2, 2, 3, 3, 5, 2):
        n = integer(k)
        assert f(1.0, n) == f(1.0, n=n) == f.grad(1.0, n) == 2.0**k
        assert g({"x": 1.0, "n": n}) == 2.0**k


def test_bools_that_turned_static():
    f = gradc.compile(lambda x, flag: x if flag else -x)
    for k in (0, 0, 0, 1, 1, 1, 0):
        for flag in (bool(k), np.bool_(k), np.array(bool(k))):
            assert f(2.0, flag) == f.grad(2.0, flag) * 2.0 == (2.0 if k else -2.0)


def test_strings_of_numpy():
    f = gradc.compile(lambda x, s: x * (s == "ab"))
    for s in ("ab", "cd", "ab", "cd", "ab", "cd"):
        assert f(1.0, np.str_(s)) == (s == "ab")


def test_an_array_changed_in_place():
    f = gradc.compile(doubled)
    n = np.array(2)
    for k in (2, 2, 3, 3, 2):
        n[...] = k
        assert f(1.0, n) == 2.0**k


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: object


ALIKE = [
    (1, 1.0, True, np.int64(1), np.float32(1)),
    ((1,), (1.0,), (True,), (np.int32(1),), ((1,),)),
    (0.0, -0.0, 0, np.float32(0.0), np.float32(-0.0)),
    ((0.0,), (-0.0,), (0,)),
    (Frozen(1), Frozen(1.0), Frozen(True), Frozen((1,)), Frozen((True,))),
    (frozenset([1]), frozenset([1.0]), frozenset([True])),
    (1j, complex(-0.0, 1.0)),
]


@pytest.mark.parametrize("alike", ALIKE, ids=repr)
def test_equal_values_of_different_types_are_different(alike):
    f = gradc.compile(lambda x, s: (seen.append(s), x)[1], static_argnums=1)
    for turn in range(3):  # the first calls trace; later ones must not
        seen = []
        for value in alike:
            f(1.0, value)
        expected = [repr(value) for value in alike] if turn == 0 else []
        assert [repr(value) for value in seen] == expected


def test_the_sign_of_a_static_zero():
    f = gradc.compile(lambda x, s: x * np.copysign(1, s[0]), static_argnums=1)
    for _ in range(3):
        assert f(1.0, (0.0,)) == 1 and f(1.0, (-0.0,)) == -1


def test_slices():
    f = gradc.compile(lambda x, s: x[s])
    x = np.arange(5.0)
    for s in (slice(2), slice(1, None, 2), slice(2), slice(1, 3)) * 2:
        assert f(x, s).tolist() == x[s].tolist()


def test_attributes_that_turned_static():
    class Model:
        @gradc.compile
        def run(self, x):
            return doubled(x, self.n)

    model = Model()
    for n in (2, 2, 2, 3, 3, 5):
        for integer in (int, np.int16, np.array):
            model.n = integer(n)
            assert model.run(1.0) == model.run.grad(1.0) == 2.0**n


def test_a_nan_is_the_same_as_another():
    traces = []
    f = gradc.compile(lambda x, s: (traces.append(1), x)[1], static_argnums=1)
    for _ in range(3):
        f(1.0, (float("nan"),)), f(1.0, Frozen(np.nan))
    assert len(traces) == 2


def test_keys_of_dicts():
    f = gradc.compile(lambda d: [d[k] * (k / 4) if type(k) is float else d[k] for k in d])
    for _ in range(3):
        assert f({1: 2.0}) == [2.0]
        assert f({1.0: 2.0}) == [0.5]
        assert f({True: 2.0}) == [2.0]


def test_the_order_of_keys():
    f = gradc.compile(lambda d: np.subtract(*d.values()))
    g = gradc.compile(lambda **d: np.subtract(*d.values()))
    for _ in range(3):
        for d in ({"a": 1.0, "b": 2.0}, {"b": 5.0, "a": 3.0}):
            assert f(d) == g(**d) == np.subtract(*d.values())


class Color(enum.Enum):
    RED = 1
    DOUBLE = np.float64


def test_types_dtypes_members_and_modules():
    f = gradc.compile(lambda x, dtype=np.float32: x.astype(dtype))
    x = np.ones(2)
    assert f(x).dtype == np.float32
    for dtype in (np.float64, np.dtype("f4"), float, np.int16):
        assert f(x, dtype).dtype == np.dtype(dtype)
    g = gradc.compile(lambda x, color: x * (color is Color.RED))
    assert [g(2.0, color) for color in Color] == [2.0, 0.0]
    h = gradc.compile(lambda x, module: module.sin(x))
    assert h(2.0, np) == np.sin(2.0)


def test_objects_whose_hash_leaves_out_a_field():
    @dataclasses.dataclass(frozen=True)
    class Named:
        name: str
        notes: list = dataclasses.field(default_factory=list, hash=False)

    f = gradc.compile(lambda x, s: x, static_argnums=1)
    with pytest.raises(gradc.GradcError, match="must be hashable"):
        f(1.0, Named("a"))
