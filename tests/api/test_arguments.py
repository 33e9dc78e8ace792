"""Arguments: pytrees, scalars, layouts, static values, binding, and what is refused."""

from __future__ import annotations

import dataclasses
from collections import namedtuple

import numpy as np
import pytest

import gradc

pytestmark = pytest.mark.usefixtures("jit")

rng = np.random.default_rng(1)
Layer = namedtuple("Layer", "weights bias")


@dataclasses.dataclass
class Params:
    scale: float
    layers: list
    name: str = "net"


@gradc.compile
def energy(x):
    return np.sum(np.sin(x) * x)


def expected(x):
    x = np.asarray(x)
    return np.sum(np.sin(x) * x), np.cos(x) * x + np.sin(x)


# -- layouts -------------------------------------------------------------------------------------

BASE = rng.normal(size=(6, 8))
READ_ONLY = BASE.copy()
READ_ONLY.flags.writeable = False
UNALIGNED = np.frombuffer(b"\0" + BASE.tobytes(), np.uint8)[1:].view(np.float64).reshape(6, 8)


@pytest.mark.parametrize(
    "x",
    [
        BASE, np.asfortranarray(BASE), BASE.T, BASE[::2, ::-3], BASE[:, 2], BASE[0:0],
        np.zeros((3, 0, 2)), np.array(0.7), READ_ONLY, BASE.astype(">f8"), UNALIGNED,
        np.broadcast_to(BASE[0], (4, 8)), BASE.reshape(2, 3, 8)[:, ::-1],
    ],
    ids=["C", "F", "T", "strided", "column", "empty", "no elements", "0-d", "read-only",
         "big-endian", "unaligned", "broadcast", "negative strides"],
)
def test_layouts(x):
    before = x.copy()
    value, gradient = energy.value_and_grad(x)
    want, slope = expected(x.astype(np.float64))
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12)
    np.testing.assert_allclose(energy(x), want, rtol=1e-12)
    assert gradient.dtype == np.float64 and gradient.dtype.isnative
    np.testing.assert_array_equal(x, before)
    if x.ndim:
        assert gradient.flags.writeable and gradient.flags.c_contiguous


def test_arrays_mapped_from_files(tmp_path):
    np.arange(4.0).tofile(tmp_path / "data")
    x = np.memmap(tmp_path / "data", dtype=float)
    f = gradc.compile(lambda p: np.sum(p["x"] ** 2))
    for _ in range(3):
        assert f({"x": x}) == f({"x": np.arange(4.0)}) == 14.0
        assert f.grad({"x": x})["x"].tolist() == [0.0, 2.0, 4.0, 6.0]


def test_layouts_share_a_specialisation():
    seen = []

    @gradc.compile
    def f(x):
        seen.append(x.shape)
        return np.sum(x)

    for x in (BASE, np.asfortranarray(BASE), BASE.astype(">f8"), READ_ONLY, UNALIGNED):
        f(x)
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_keep_the_dtype(dtype):
    x = BASE.astype(dtype)
    value, gradient = energy.value_and_grad(x)
    assert value.dtype == gradient.dtype == dtype
    assert type(value) is dtype
    scalar = energy.grad(dtype(0.5))
    assert type(scalar) is dtype


# -- scalars -------------------------------------------------------------------------------------


def test_scalars_come_back_as_numpy_scalars():
    assert type(energy(0.5)) is np.float64
    assert type(energy.grad(0.5)) is np.float64
    assert type(gradc.compile(lambda n: n + 1)(2)) is np.int64
    assert type(gradc.compile(lambda n: n > 1)(2)) is np.bool_


def test_python_numbers_are_weak():
    f = gradc.compile(lambda x, s: x * s)
    x = np.ones(3, np.float32)
    assert f(x, 2.0).dtype == np.float32
    assert f(x, 2).dtype == np.float32
    assert f(x, np.float64(2)).dtype == np.float64
    assert f(np.arange(3, dtype=np.int8), 2).dtype == np.int8


def test_python_ints_are_differentiated_as_floats():
    value, gradient = gradc.value_and_grad(lambda x, n: x**2 * n, argnums=(0, 1))(3, 2)
    assert (value, gradient) == (18.0, (12.0, 9.0))
    assert all(type(g) is np.float64 for g in gradient)


def test_large_ints_are_static():
    assert gradc.compile(lambda x, n: x * float(n % 7))(2.0, 2**80) == 2.0 * (2**80 % 7)


# -- pytrees -------------------------------------------------------------------------------------


def test_gradient_has_the_structure_of_its_argument():
    params = {
        "a": (BASE, 2.0),
        "b": [Layer(BASE[0], np.float32(3)), None],
        "c": Params(1.5, [np.ones(2)]),
    }

    @gradc.compile
    def f(p):
        layer = p["b"][0]
        total = np.sum(p["a"][0] ** 2) * p["a"][1] + np.sum(layer.weights) * layer.bias
        return total + p["c"].scale * np.sum(p["c"].layers[0] ** 3)

    gradient = f.grad(params)
    assert list(gradient) == ["a", "b", "c"]
    np.testing.assert_allclose(gradient["a"][0], 4 * BASE)
    np.testing.assert_allclose(gradient["a"][1], np.sum(BASE**2))
    assert type(gradient["b"][0]) is Layer
    np.testing.assert_allclose(gradient["b"][0].weights, np.full(8, 3.0))
    assert gradient["b"][0].bias.dtype == np.float32
    assert gradient["b"][1] is None
    assert type(gradient["c"]) is Params and gradient["c"].name is None
    np.testing.assert_allclose(gradient["c"].scale, 2.0)
    np.testing.assert_allclose(gradient["c"].layers[0], 4.5 * np.ones(2))


def test_results_may_be_pytrees():
    f = gradc.compile(lambda x: {"twice": 2 * x, "both": (x, [x + 1, None]), "layer": Layer(x, 1)})
    out = f(np.arange(3.0))
    np.testing.assert_array_equal(out["twice"], [0, 2, 4])
    np.testing.assert_array_equal(out["both"][1][0], [1, 2, 3])
    assert out["both"][1][1] is None and type(out["layer"]) is Layer


def test_lists_of_numbers_are_arrays_where_differentiated():
    f = gradc.compile(lambda w, x: np.sum(np.dot(w, x)))
    gradient = f.grad([[1, 2], [3, 4]], np.array([1.0, 10.0]))
    assert isinstance(gradient, np.ndarray) and gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, [[1, 10], [1, 10]])
    assert f([[1, 2], [3, 4]], np.array([1.0, 10.0])) == 64
    nested = gradc.grad(lambda p: np.sum(p["w"] ** 2) + p["n"])({"w": [1, 2], "n": 3})
    np.testing.assert_array_equal(nested["w"], [2, 4])
    assert nested["n"] == 1.0


def test_lists_of_arrays_stay_lists():
    gradient = gradc.grad(lambda ws: np.sum(ws[0]) + np.sum(ws[1] ** 2))([np.ones(2), np.ones(3)])
    assert isinstance(gradient, list)
    np.testing.assert_array_equal(gradient[1], [2, 2, 2])
    ragged = gradc.grad(lambda rows: rows[0][1] * rows[1][0])([[1.0, 2.0], [3.0]])
    assert [list(row) for row in ragged] == [[0.0, 3.0], [2.0]]


# -- results never alias -------------------------------------------------------------------------


def test_results_are_fresh():
    f = gradc.compile(lambda x: (x, x, x * 1.0, x.T))
    x = np.ones((2, 2))
    outs = f(x)
    for out in outs:
        out[0, 0] = 7
    assert x[0, 0] == 1
    for k, a in enumerate(outs):
        assert not any(np.shares_memory(a, b) for b in outs[k + 1 :])


def test_constant_results_are_fresh():
    table = np.arange(3.0)
    f = gradc.compile(lambda x: table)
    f(1.0)[0] = 9
    assert f(1.0)[0] == 0 and table[0] == 0


# -- argnums -------------------------------------------------------------------------------------


def test_argnums():
    def f(x, y, z=1.0, *rest, scale=2.0):
        return (x * y + z * np.sum(np.asarray(rest[0] if rest else 0.0))) * scale

    assert gradc.grad(f, argnums=1)(2.0, 3.0) == 4.0
    assert gradc.grad(f, argnums="y")(2.0, y=3.0) == 4.0
    assert gradc.grad(f, argnums=("x", 1))(2.0, 3.0) == (6.0, 4.0)
    assert gradc.grad(f, argnums="scale")(2.0, 3.0) == 6.0
    assert gradc.grad(f, argnums=(0,))(2.0, 3.0) == (6.0,)
    assert gradc.grad(f, argnums=-1)(2.0, 3.0, 4.0) == 0.0
    assert gradc.grad(f, argnums=3)(2.0, 3.0, 4.0, 5.0) == 8.0


def test_argnums_that_name_nothing():
    with pytest.raises(TypeError, match=r"argnums=2 names no parameter of <lambda>\(x, y\)"):
        gradc.grad(lambda x, y: x, argnums=2)
    with pytest.raises(TypeError, match="argnums='z' names no parameter"):
        gradc.compile(lambda x, y: x, argnums="z")
    with pytest.raises(TypeError, match="argnums must be an int"):
        gradc.grad(lambda x: x, argnums=1.5)
    with pytest.raises(TypeError, match="static_argnums=5 names no parameter"):
        gradc.compile(lambda x: x, static_argnums=5)
    with pytest.raises(TypeError, match="which this call has not"):
        gradc.grad(lambda *xs: xs[0], argnums=2)(1.0)


def test_keywords_and_defaults():
    offset = np.array([1.0, 2.0])

    @gradc.compile
    def f(x, y=offset, *, power=2, **extra):
        return np.sum((x + y) ** power) + sum(extra.values())

    x = np.ones(2)
    assert f(x) == 13
    assert f(x=x) == 13
    assert f(x, power=3) == 35
    assert f(x, y=x, more=1.0, still=2.0) == 11
    np.testing.assert_array_equal(f.grad(x, power=1), [1, 1])
    with pytest.raises(TypeError, match=r"f\(\): missing a required argument: 'x'"):
        f()
    with pytest.raises(TypeError, match="too many positional arguments"):
        f(1.0, 2.0, 3.0)


# -- static arguments ----------------------------------------------------------------------------


def test_ints_and_bools_turn_static_when_needed():
    seen = []

    @gradc.compile
    def f(x, n, train=True):
        seen.append(1)
        for _ in range(n):
            x = x * 2
        return np.sum(x) if train else x

    x = np.ones(2)
    assert f(x, 3) == 16
    traces = len(seen)
    assert f(x, 3) == 16 and f(x, n=3, train=True) == 16
    assert len(seen) == traces
    assert f(x, 2) == 8
    np.testing.assert_array_equal(f(x, 2, False), [4, 4])
    traces = len(seen)
    np.testing.assert_array_equal(f(x, 2, train=False), [4, 4])
    assert f(x, 3) == 16
    assert len(seen) == traces
    np.testing.assert_array_equal(f.grad(x, 3), [8, 8])


def test_an_int_that_repeats_a_list_is_static():
    f = gradc.compile(lambda x, n: [n * (x,), [x, x] * n])
    assert f(2.0, 2) == [(2.0, 2.0), [2.0] * 4]
    assert f(2.0, np.int64(1)) == [(2.0,), [2.0] * 2]


def test_numpy_ints_turn_static_too():
    f = gradc.compile(lambda x, n: x * len(range(n)))
    assert f(2.0, np.int64(3)) == 6 and f(2.0, np.array(4)) == 8


def test_an_int_not_branched_on_is_traced():
    seen = []

    @gradc.compile
    def f(x, n):
        seen.append(n)
        return x * n

    assert [f(2.0, n) for n in range(5)] == [0, 2, 4, 6, 8]
    assert len(seen) == 1


def test_strings_none_and_functions_are_static():
    @gradc.compile
    def f(x, kind="sum", then=None):
        out = {"sum": np.sum, "mean": np.mean}[kind](x)
        return out if then is None else then(out)

    x = np.arange(4.0)
    assert f(x) == 6
    assert f(x, "mean") == 1.5
    assert f(x, "sum", np.sqrt) == np.sqrt(6)
    assert f(x, then=lambda t: 2 * t) == 12


def test_static_argnums():
    seen = []

    @gradc.compile(static_argnums=(1, "mode"))
    def f(x, axes, mode=0.5):
        assert isinstance(axes, tuple) and type(mode) is float
        seen.append(mode)
        return np.sum(x, axis=axes) * mode

    x = np.ones((2, 3, 4))
    np.testing.assert_array_equal(f(x, (0, 2)), np.full(3, 4.0))
    np.testing.assert_array_equal(f(x, (0, 2), mode=0.5), np.full(3, 4.0))
    assert len(seen) == 1
    np.testing.assert_array_equal(f(x, (0, 1), 0.0), np.zeros(4))
    out = f(x, (0, 1), -0.0)
    assert np.all(np.signbit(out))
    with pytest.raises(TypeError, match="`axes` is no array.*: unhashable type: 'list'"):
        f(x, [0, 1])


# -- refused -------------------------------------------------------------------------------------


class Holder:
    def __init__(self):
        self.w = np.ones(3)


class Foreign:
    def __array__(self, dtype=None, copy=None):
        return np.ones(3)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([1, "a", None], object), r"`x\['a'\]\[1\]` has dtype object"),
        (np.array([1 + 2j]), r"has dtype complex128\n.*\n  Try: pass x\['a'\]\[1\]\.real"),
        (np.array(["a"]), "has dtype <U1"),
        (np.array(["2020-01-01"], "M8[D]"), r"has dtype datetime64\[D\]"),
        (np.float16(1), r"float16\n.*\n  Try: x\['a'\]\[1\]\.astype\(np.float64\)"),
        (1j, "is complex"),
        (np.ones((1, 1)).view(np.matrix), "is a numpy.matrix"),
        (np.ma.masked_array([1.0], [True]), "MaskedArray.*\n.*\n  Try: pass a plain array"),
        ({1, 2}, "is no array or number, and .* must be hashable"),
        (Holder(), r"its array `x\['a'\]\[1\]\.w` would be frozen"),
        (Foreign(), "Foreign, not a NumPy array"),
    ],
)
def test_refused_arguments(bad, message):
    f = gradc.compile(lambda x, y: x["a"][0] * y)
    with pytest.raises(TypeError, match=message) as caught:
        f({"a": [1.0, bad]}, 2.0)
    assert isinstance(caught.value, gradc.GradcError)
    assert "Try:" in str(caught.value)
    assert __file__ in str(caught.value)


def test_integers_are_not_differentiated():
    f = gradc.compile(lambda p, n: np.sum(p["w"]) * n)
    with pytest.raises(TypeError, match=r"argument `p\['w'\]`, which is int64") as caught:
        f.grad({"w": np.arange(3)}, 2.0)
    assert "p['w'].astype(np.float64)" in str(caught.value)
    with pytest.raises(TypeError, match="which is bool"):
        f.grad({"w": np.array([True])}, 2.0)
    with pytest.raises(TypeError, match="static, no number"):
        gradc.grad(lambda s, x: x, argnums=0)("mean", 1.0)


def test_gradient_of_a_non_scalar():
    def vector(x):
        return x * 2

    with pytest.raises(TypeError, match=r"a scalar result, not one of shape \(3,\)") as caught:
        gradc.grad(vector)(np.ones(3))
    assert "np.sum" in str(caught.value) and "in vector" in str(caught.value)
    with pytest.raises(TypeError, match="one scalar result, not"):
        gradc.grad(lambda x: (x, x))(1.0)
    with pytest.raises(TypeError, match="needs a floating result, not int64"):
        gradc.grad(lambda x: np.argmax(x))(np.ones(3))
