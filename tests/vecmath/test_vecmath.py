"""The vector math functions: accuracy, special values, and that nothing outside is called."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from gradc.codegen import vecmath
from gradc.codegen.llvm import Builder
from gradc.codegen.llvm_types import vector
from gradc.codegen.targets import NAMED, Target, host
from tests.export.symbols import undefined
from tests.vecmath.exhaustive import ORACLES
from tests.vecmath.functions import BOUNDS, every_binade, pairs, samples
from tests.vecmath.measure import BINARY, Array, compiled, emit_loop, new_module, ulps
from tests.vecmath.table import record

DTYPES = [np.float64, np.float32]
#: this machine, and one without fused multiply-adds
MACHINES = [host(), dataclasses.replace(host(), width=16, fma=False)]
IDS = ["host", "narrow"]


@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS - {"fmod"}))
def test_accuracy(
    name: str, dtype: type, machine: Target, request: pytest.FixtureRequest
) -> None:
    update = request.config.getoption("--update-goldens") and machine == host()
    dense = 8 if update else 1
    with np.errstate(all="ignore"):
        args = pairs(name, dtype, dense) if name in BINARY else (samples(name, dtype, dense),)
    error = ulps(name, compiled(name, dtype().itemsize, None, machine)(*args), *args)
    worst = int(np.argmax(error))
    bound = BOUNDS[name][dtype is np.float32]
    at = tuple(float(a[worst]) for a in args)
    assert error[worst] <= bound, (error[worst], at)
    if update:
        record(name, np.dtype(dtype).name, bound, float(error[worst]), at, str(len(error)))


@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_multiples_of_half_pi(name: str, machine: Target) -> None:
    """Where reduction cancels most: the doubles next to them, and the worst case known."""
    n = np.random.default_rng(3).integers(1, 2**26, 500)
    x = np.concatenate([n * (math.pi / 2), [6381956970095103.0 * 2.0**797, 1e22, 2.0**40]])
    error = ulps(name, compiled(name, 8, None, machine)(x), x)
    assert error.max() <= BOUNDS[name][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_fmod_is_exact(dtype: type, near: bool, machine: Target) -> None:
    rng = np.random.default_rng(4)
    x, y = (rng.permutation(every_binade(dtype, 2)) for _ in "xy")
    with np.errstate(all="ignore"):
        if near:
            y = (x / rng.uniform(0.5, 1e6, len(x))).astype(dtype)
        got = compiled("fmod", dtype().itemsize, None, machine)(x, y)
        np.testing.assert_array_equal(got, np.fmod(x, y))


def special_values(dtype: type) -> Array:
    info = np.finfo(dtype)
    positive = [0, 0.5, 1, 1.5, 2, 3, 10, 1000, math.inf, float(info.max), float(info.tiny)]
    positive += [float(info.smallest_subnormal), float(info.eps), 1 / float(info.eps) + 1, 1e22]
    x = np.array([*positive, math.nan], dtype)
    with np.errstate(all="ignore"):
        return np.concatenate([x, -x, np.nextafter(x, dtype(math.inf)), np.nextafter(x, dtype(0))])


OF_TWO = {"atan2": np.arctan2, "fmod": np.fmod, "hypot": np.hypot, "pow": np.power}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS))
@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_special_values(name: str, dtype: type, machine: Target) -> None:
    """Zeros, infinities and nan as NumPy and SciPy have them, the rest within the bound."""
    x = special_values(dtype)
    args = [a.ravel() for a in np.meshgrid(x, x)] if name in BINARY else [x]
    with np.errstate(all="ignore"):
        if name in BINARY:
            expected = OF_TWO[name](*args)
        else:
            expected = ORACLES[name](x.astype(float)).astype(dtype)
    got = compiled(name, dtype().itemsize, None, machine)(*args)
    plain = np.isfinite(expected) & (expected != 0) & (name != "fmod")
    for a in args:
        plain &= np.isfinite(a) & (a != 0)  # mpmath has no -0
    exact = 4 * float(np.finfo(dtype).eps)  # angles of infinite points
    np.testing.assert_allclose(got[~plain], expected[~plain], rtol=exact)
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))
    error = ulps(name, got[plain], *(a[plain] for a in args))
    # Without fused multiply-adds the residual of a quotient as small as this is not exact.
    small = (not machine.fma) & (name == "atan2") & (np.abs(expected[plain]) < 2.0**-960)
    assert error[small].max(initial=0) <= 2
    assert error[~small].max(initial=0) <= BOUNDS.get(name, (0, 0))[dtype is np.float32]


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
@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_overflow_and_underflow_begin_where_they_should(
    name: str, dtype: type, machine: Target
) -> None:
    """One step before and after the last argument with a finite (a nonzero) result."""
    maximum = float(np.finfo(dtype).max)
    least = float(np.finfo(dtype).smallest_subnormal)
    top = {"exp2": math.log2(maximum), "sinh": math.asinh(maximum), "cosh": math.asinh(maximum)}
    ends = [top.get(name, math.log(maximum))]
    if name in ("exp", "exp2"):
        ends.append(math.log(least / 2**0.5) if name == "exp" else math.log2(least) - 0.5)
    x = np.concatenate([np.linspace(e - 1e-4, e + 1e-4, 400) for e in ends]).astype(dtype)
    error = ulps(name, compiled(name, dtype().itemsize, None, machine)(x), x)
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
    """By one element, by vectors of the machine's width, and by two of them at a time."""
    machine = NAMED[target]
    module = new_module(machine)
    for name in sorted(vecmath.FUNCTIONS):
        for lanes in {1, machine.lanes(size), 2 * machine.lanes(size)}:
            emit_loop(module, f"{name}_{lanes}", name, size, lanes)
    assert not undefined(str(module), target)


@pytest.mark.parametrize("target", sorted(NAMED))
@pytest.mark.parametrize("lanes", [1, 4])
def test_a_call_of_the_library_would_be_seen(target: str, lanes: int) -> None:
    module = new_module(NAMED[target])
    ty = vector("float", lanes)
    b = Builder(module, "kernel", ty, [(ty, "x")])
    b.ret(b.intrinsic("exp", ty, b.params))
    b.finish()
    assert undefined(str(module), target) == {"expf"}


def test_unknown_function() -> None:
    with pytest.raises(KeyError):
        emit_loop(new_module(host()), "kernel", "gamma", 8, 1)
