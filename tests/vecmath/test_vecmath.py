"""The vector math functions: accuracy, special values, and that nothing outside is called."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from gradc.codegen import jit, vecmath
from gradc.codegen.targets import NAMED, host
from tests.vecmath.measure import BINARY, Array, compiled, emit_loop, new_module, ulps

# What is promised, in ulps: float64, float32. Everything stays below one.
BOUNDS = {
    "acos": (0.7, 0.7),
    "acosh": (0.9, 0.9),
    "asin": (0.7, 0.7),
    "asinh": (0.9, 0.95),
    "atan": (1.0, 1.0),
    "atan2": (1.0, 1.0),
    "atanh": (0.95, 0.95),
    "cbrt": (0.51, 0.51),
    "cos": (0.8, 0.8),
    "cosh": (0.7, 0.7),
    "exp": (0.9, 0.9),
    "exp2": (0.9, 0.9),
    "expm1": (0.95, 0.8),
    "hypot": (0.8, 0.8),
    "log": (0.85, 0.85),
    "log10": (0.75, 0.75),
    "log1p": (0.9, 0.9),
    "log2": (0.8, 0.8),
    "pow": (1.0, 0.51),
    "sech2": (4.0, 4.0),
    "sigmoid": (1.0, 1.0),
    "sin": (0.8, 0.8),
    "sinh": (0.8, 0.8),
    "softplus": (0.9, 0.95),
    "sqrt": (0.5, 0.5),
    "tan": (0.95, 0.95),
    "tanh": (0.95, 0.95),
}
# Where results are finite and do not saturate: float64, float32.
DOMAINS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "acos": ((-1, 1), (-1, 1)),
    "acosh": ((1, 1e308), (1, 1e38)),
    "asin": ((-1, 1), (-1, 1)),
    "atanh": ((-1 + 1e-16, 1 - 1e-16), (-1 + 1e-7, 1 - 1e-7)),
    "cosh": ((-710.4, 710.4), (-89.4, 89.4)),
    "exp": ((-745, 709.7), (-103, 88.7)),
    "exp2": ((-1074, 1023.9), (-149, 127.9)),
    "expm1": ((-40, 709.7), (-20, 88.7)),
    "log": ((0, 1e308), (0, 1e38)),
    "log10": ((0, 1e308), (0, 1e38)),
    "log1p": ((-1 + 1e-16, 1e308), (-1 + 1e-7, 1e38)),
    "log2": ((0, 1e308), (0, 1e38)),
    "sech2": ((-350, 350), (-43, 43)),
    "sigmoid": ((-745, 40), (-103, 20)),
    "sinh": ((-710.4, 710.4), (-89.4, 89.4)),
    "softplus": ((-745, 1e308), (-103, 1e38)),
    "sqrt": ((0, 1e308), (0, 1e38)),
}
# Where the polynomials, not the exponents, are at work.
HOT = {"acosh": (1, 4), "log": (0.4, 3), "log2": (0.4, 3), "log10": (0.4, 3)}
DTYPES = [np.float64, np.float32]
NUMPY = {
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "pow": np.power,
}


def every_binade(dtype: type, per_binade: int) -> Array:
    """Random numbers of either sign in every binade, the subnormals included."""
    info = np.finfo(dtype)
    exponents = np.repeat(np.arange(0, 2 * info.maxexp - 1, dtype=np.uint64), per_binade)
    fractions = np.random.default_rng(0).integers(0, 2**info.nmant, len(exponents), dtype=np.uint64)
    bits = (exponents << np.uint64(info.nmant)) | fractions
    x = bits.astype(f"u{info.bits // 8}").view(dtype)
    return np.concatenate([x, -x])


def samples(name: str, dtype: type) -> Array:
    single = dtype is np.float32
    least, most = DOMAINS.get(name, ((-np.inf, np.inf),) * 2)[single]
    low, high = HOT.get(name, (max(least, -3), min(most, 3)))
    middle = np.random.default_rng(1).uniform(low, high, 3000).astype(dtype)
    x = np.concatenate([every_binade(dtype, 12 if single else 2), middle])
    return x[(x >= least) & (x <= most) & (x != 0)]


def pairs(name: str, dtype: type) -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    x, y = (rng.permutation(every_binade(dtype, 12 if dtype is np.float32 else 2)) for _ in "xy")
    near = x * rng.uniform(0.2, 5, len(x)).astype(dtype)
    if name == "pow":
        x = np.abs(np.concatenate([x, rng.uniform(0.5, 2, 2000).astype(dtype)]))
        x = x[(x > 0) & (x != 1)]
        reach = 87.0 if dtype is np.float32 else 708.0
        y = (rng.uniform(-reach, reach, len(x)) / np.log(x.astype(float))).astype(dtype)
        return x, y
    x, y = np.concatenate([x, x]), np.concatenate([y, near])
    keep = (x != 0) & (y != 0) & np.isfinite(y)
    return x[keep], y[keep]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS - {"fmod"}))
def test_accuracy(name: str, dtype: type) -> None:
    with np.errstate(all="ignore"):
        args = pairs(name, dtype) if name in BINARY else (samples(name, dtype),)
    error = ulps(name, compiled(name, dtype().itemsize)(*args), *args)
    worst = int(np.argmax(error))
    bound = BOUNDS[name][dtype is np.float32]
    assert error[worst] <= bound, (error[worst], [a[worst] for a in args])


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_multiples_of_half_pi(name: str) -> None:
    """Where reduction cancels most: the doubles next to them, and the worst case known."""
    n = np.random.default_rng(3).integers(1, 2**26, 500)
    x = np.concatenate([n * (math.pi / 2), [6381956970095103.0 * 2.0**797, 1e22, 2.0**40]])
    error = ulps(name, compiled(name, 8)(x), x)
    assert error.max() <= BOUNDS[name][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("near", [False, True])
def test_fmod_is_exact(dtype: type, near: bool) -> None:
    rng = np.random.default_rng(4)
    x, y = (rng.permutation(every_binade(dtype, 2)) for _ in "xy")
    with np.errstate(all="ignore"):
        if near:
            y = (x / rng.uniform(0.5, 1e6, len(x))).astype(dtype)
        np.testing.assert_array_equal(compiled("fmod", dtype().itemsize)(x, y), np.fmod(x, y))


def special_values(dtype: type) -> Array:
    info = np.finfo(dtype)
    positive = [0, 0.5, 1, 1.5, 2, 3, 10, 1000, math.inf, float(info.max), float(info.tiny)]
    positive += [float(info.smallest_subnormal), float(info.eps), 1 / float(info.eps) + 1, 1e22]
    x = np.array([*positive, math.nan], dtype)
    with np.errstate(all="ignore"):
        return np.concatenate([x, -x, np.nextafter(x, dtype(math.inf)), np.nextafter(x, dtype(0))])


def assert_same(got: Array, expected: Array, relative: float, context: str) -> None:
    """Equal to a few ulps, and to the sign of zeros."""
    tiny = float(np.finfo(got.dtype).smallest_subnormal)
    np.testing.assert_allclose(got, expected, rtol=relative, atol=tiny, err_msg=context)
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]), context)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS - {"sech2", "sigmoid", "softplus"}))
def test_special_values_are_numpys(name: str, dtype: type) -> None:
    x = special_values(dtype)
    args = [a.ravel() for a in np.meshgrid(x, x)] if name in BINARY else [x]
    reference = NUMPY.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        expected = reference(*args)
    got = compiled(name, dtype().itemsize)(*args)
    assert_same(got, expected, 4 * float(np.finfo(dtype).eps), name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_of_the_logistic_family(dtype: type) -> None:
    x = np.array([0, -0.0, math.inf, -math.inf, math.nan, 1000, -1000, 1e-30], dtype)
    size = dtype().itemsize
    sigmoid = np.array([0.5, 0.5, 1, 0, math.nan, 1, 0, 0.5], dtype)
    np.testing.assert_array_equal(compiled("sigmoid", size)(x), sigmoid)
    sech2 = np.array([1, 1, 0, 0, math.nan, 0, 0, 1], dtype)
    np.testing.assert_array_equal(compiled("sech2", size)(x), sech2)
    log2 = dtype(math.log(2))
    softplus = np.array([log2, log2, math.inf, 0, math.nan, 1000, 0, log2], dtype)
    np.testing.assert_array_equal(compiled("softplus", size)(x), softplus)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "sinh", "cosh"])
def test_overflow_and_underflow_begin_where_they_should(name: str, dtype: type) -> None:
    """One step before and after the last argument with a finite (a nonzero) result."""
    maximum = float(np.finfo(dtype).max)
    least = float(np.finfo(dtype).smallest_subnormal)
    top = {"exp2": math.log2(maximum), "sinh": math.asinh(maximum), "cosh": math.asinh(maximum)}
    ends = [top.get(name, math.log(maximum))]
    if name in ("exp", "exp2"):
        ends.append(math.log(least / 2**0.5) if name == "exp" else math.log2(least) - 0.5)
    x = np.concatenate([np.linspace(e - 1e-4, e + 1e-4, 400) for e in ends]).astype(dtype)
    error = ulps(name, compiled(name, dtype().itemsize)(x), x)
    assert error.max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS))
def test_any_lane_count_gives_the_same_bits(name: str, dtype: type) -> None:
    size = dtype().itemsize
    x = np.concatenate([special_values(dtype), samples(name, dtype)[::5]])
    args = [x, np.roll(x, 7)] if name in BINARY else [x]
    wide = compiled(name, size)(*args)
    for lanes in (1, 2):
        np.testing.assert_array_equal(compiled(name, size, lanes)(*args), wide)
    assert host().lanes(size) > 1


@pytest.mark.parametrize("target", sorted(NAMED))
@pytest.mark.parametrize("size", [8, 4])
def test_no_library_is_called(target: str, size: int) -> None:
    machine = NAMED[target]
    module = new_module(machine)
    for name in sorted(vecmath.FUNCTIONS):
        for lanes in {1, machine.lanes(size)}:
            emit_loop(module, f"{name}_{lanes}", name, size, lanes)
    text = jit.assembly(str(module), machine)
    called = re.findall(r"^\s+(?:callq?|jmp|bl?)\s+([A-Za-z_]\w*)", text, re.MULTILINE)
    addressed = re.findall(r"\$([A-Za-z_]\w*)", text)
    own = {"gradc_reduce_huge_angles", "gradc_remainder", "gradc_two_over_pi"}
    assert set(called) | set(addressed) <= own
    assert own - {"gradc_two_over_pi"} <= set(called) | set(addressed)


def test_unknown_function() -> None:
    with pytest.raises(KeyError):
        emit_loop(new_module(host()), "kernel", "gamma", 8, 1)
