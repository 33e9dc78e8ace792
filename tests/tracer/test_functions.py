"""NumPy functions against NumPy: one line a case, over dtypes; wrong calls against their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradc.errors import GradcError, UnsupportedError
from tests.tracer.helpers import check, interpreted

DTYPES = ["f8", "f4", "i8", "i4", "b"]
#: the modes of np.convolve
OVERLAPS = ("full", "same", "valid")


def array(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if dtype == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype[0] == "i":
        return rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype) - 3
    return rng.normal(size=shape).astype(dtype)


#: name -> function of a 3×4 array
OF_A_MATRIX: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: (np.sum(x), x.sum(0), x.sum(axis=-1, keepdims=True), x.sum((0, 1))),
    "sum dtype": lambda x: (np.sum(x, dtype=np.float64), x.sum(0, np.float32)),
    "sum initial where": lambda x: (np.sum(x, initial=5), np.sum(x, axis=0, where=x > 0)),
    "prod": lambda x: (np.prod(x), x.prod(1), np.prod(x, axis=(0,), keepdims=True)),
    "max min": lambda x: (np.max(x), x.max(0), x.min(axis=1, keepdims=True), np.amin(x)),
    "max initial": lambda x: np.max(x, axis=0, initial=0),
    "any all": lambda x: (np.any(x), x.all(), x.any(0), np.all(x, axis=1, keepdims=True)),
    "mean": lambda x: (np.mean(x), x.mean(0), x.mean((0, 1), keepdims=True)),
    "mean where": lambda x: np.mean(x, axis=1, where=np.array([True, True, False, True])),
    "var std": lambda x: (np.var(x), x.var(0, ddof=1), x.std(1, keepdims=True), np.std(x)),
    "average": lambda x: (np.average(x), np.average(x, 0), np.average(x, 1, [1.0, 2, 3, 4])),
    "median": lambda x: (np.median(x), np.median(x, axis=0), np.median(x, 1, keepdims=True)),
    "argmax argmin": lambda x: (np.argmax(x), x.argmax(0), x.argmin(axis=1, keepdims=True)),
    "count_nonzero": lambda x: (np.count_nonzero(x), np.count_nonzero(x, axis=0)),
    "nan reductions": lambda x: (np.nansum(x), np.nanmean(x, 0), np.nanmax(x, 1), np.nanmin(x),
                                 np.nanprod(x), np.nanstd(x), np.nanvar(x, 0)),
    "cumsum cumprod": lambda x: (np.cumsum(x), x.cumsum(0), np.cumprod(x, axis=1), x.cumprod()),
    "diff": lambda x: (np.diff(x), np.diff(x, 2), np.diff(x, axis=0)),
    "reshape": lambda x: (x.reshape(4, 3), np.reshape(x, -1), x.reshape((2, -1)),
                          np.reshape(x, (2, 6), order="F"), x.T.reshape(-1)),
    "ravel": lambda x: (x.ravel(), x.flatten(), np.ravel(x.T), x.ravel("F"), x.T.flatten()),
    "transpose": lambda x: (x.T, np.transpose(x), x.transpose(1, 0), x.transpose((0, 1)),
                            x.swapaxes(0, 1), np.moveaxis(x, 0, -1), np.rollaxis(x, 1)),
    "3d transpose": lambda x: (x.reshape(3, 2, 2).transpose(2, 0, 1), x.reshape(3, 2, 2).T,
                               np.moveaxis(x.reshape(1, 3, 4), [0, 1], [2, 0]),
                               np.rollaxis(x.reshape(1, 3, 4), 2, 1), x.reshape(3, 2, 2).mT),
    "squeeze": lambda x: (x[None].squeeze(), np.squeeze(x[:, None], 1), np.expand_dims(x, (0, 2)),
                          np.expand_dims(x, -1)),
    "atleast": lambda x: (np.atleast_1d(x[0, 0]), np.atleast_2d(x[0]), np.atleast_3d(x)),
    "broadcast": lambda x: (np.broadcast_to(x, (2, 3, 4)), np.broadcast_arrays(x, x[:, :1])),
    "flip": lambda x: (np.flip(x), np.flip(x, 1), np.fliplr(x), np.flipud(x), np.flip(x, (0, 1))),
    "rot90": lambda x: tuple(np.rot90(x, k) for k in range(-1, 5)),
    "roll": lambda x: (np.roll(x, 2), np.roll(x, -1, axis=0), np.roll(x, (1, 2), axis=(0, 1)),
                       np.roll(x, 5, axis=1)),
    "tile": lambda x: (np.tile(x, 2), np.tile(x, (2, 1)), np.tile(x, (2, 1, 3)), np.tile(x[0], 3)),
    "repeat": lambda x: (np.repeat(x, 2), x.repeat(2, axis=0), np.repeat(x, [1, 0, 2], axis=0)),
    "diagonal": lambda x: (np.diagonal(x), x.diagonal(1), np.diag(x), np.diag(x, -1), np.trace(x),
                           np.diagonal(x, -2), np.trace(x, 1), np.diagonal(x, 7)),
    "diag": lambda x: (np.diag(x[0]), np.diag(x[0], 1), np.diag(x[0], -2), np.diagflat(x)),
    "diagonal 3d": lambda x: (x.reshape(3, 2, 2).diagonal(0, 1, 2), x.reshape(2, 2, 3).trace()),
    "triangles": lambda x: (np.triu(x), np.tril(x, -1), np.triu(x, 1), np.tril(x[None])),
    "concatenate": lambda x: (np.concatenate([x, x]), np.concatenate((x, x[:, :1]), axis=1),
                              np.concatenate([x, x], axis=None),
                              np.concatenate([x, np.ones((1, 4))])),
    "stack": lambda x: (np.stack([x, x]), np.stack([x[0], x[1]], axis=1), np.vstack([x, x[0]]),
                        np.hstack([x, x]), np.hstack([x[0], x[1]]), np.dstack([x, x]),
                        np.column_stack([x[:, 0], x])),
    "append": lambda x: (np.append(x, x[0]), np.append(x, x[:1], axis=0), np.delete(x, 1, 0),
                         np.block([[x, x], [x, x]])),
    "split": lambda x: (np.split(x, 3), np.split(x, [1, 2], axis=1), np.array_split(x[0], 3),
                        np.hsplit(x, 2), np.vsplit(x, 3)),
    "pad": lambda x: (np.pad(x, 1), np.pad(x, ((1, 0), (0, 2))), np.pad(x, (1, 2), mode="edge"),
                      np.pad(x, 2, mode="reflect"), np.pad(x, 1, mode="wrap"),
                      np.pad(x, 1, mode="symmetric")),
    "pad values": lambda x: (np.pad(x, 1, constant_values=2), np.pad(x, 1, constant_values=x[0, 0]),
                             np.pad(x, ((1, 0), (2, 1)), constant_values=((1, 2), (3, 4)))),
    "take": lambda x: (np.take(x, [0, 5, -1]), x.take([1, 0], axis=1), np.take(x, 2, axis=0),
                       np.take(x, [7, -9], mode="wrap"), np.take(x, [40, -3], mode="clip")),
    "take_along": lambda x: np.take_along_axis(x, np.argsort(x, axis=1, kind="stable"), axis=1),
    "compress": lambda x: (np.compress([True, False, True], x, axis=0), x.compress([0, 1, 1])),
    "where": lambda x: (np.where(x > 0, x, 0), np.where(x, 1, x), np.where(x[:1] > 0, x, x[:, :1])),
    "select": lambda x: np.select([x > 1, x > 0], [x, x * 2], default=-1),
    "sort": lambda x: (np.sort(x), np.sort(x, axis=0), np.sort(x, axis=None)),
    "argsort": lambda x: (np.argsort(x, kind="stable"), np.argsort(x, axis=0, kind="stable")),
    "like": lambda x: (np.zeros_like(x), np.ones_like(x), np.full_like(x, 3), np.empty_like(x) * 0,
                       np.zeros_like(x, dtype=np.float32), np.ones_like(x, shape=(2,))),
    "copy": lambda x: (np.copy(x), x.copy(), +x if x.dtype != bool else x, x.real, x.conj()),
    "astype": lambda x: (x.astype(np.float32), x.astype(int), x.astype(bool), x.astype("f8")),
    "shape": lambda x: (x.shape[0], x.ndim, x.size, len(x), np.shape(x)[1], np.ndim(x), np.size(x),
                        np.size(x, 1), x.nbytes, x.itemsize),
    "close": lambda x: (np.isclose(x, x), np.isclose(x, 0, atol=1), np.array_equal(x, x)),
    "meshgrid": lambda x: (np.meshgrid(x[0], x[:, 0]), np.meshgrid(x[0], x[1], indexing="ij"),
                           np.meshgrid(x[0], x[1], sparse=True)),
    "nan_to_num": lambda x: np.nan_to_num(x),
    "norm": lambda x: (np.linalg.norm(x), np.linalg.norm(x[0], 1), np.linalg.norm(x, axis=1),
                       np.linalg.norm(x[0], np.inf), np.linalg.norm(x, "fro"),
                       np.linalg.norm(x, 1), np.linalg.norm(x, np.inf), np.linalg.norm(x[0], 3),
                       np.linalg.norm(x, axis=0, keepdims=True), np.linalg.norm(x[0], 0),
                       np.linalg.norm(x, axis=(0, 1)), np.linalg.norm(x[0], -np.inf)),
    "iteration": lambda x: (sum(row.sum() for row in x), [row * 2 for row in x], *reversed(x)),
    "unpacking": lambda x: (lambda a, b, c: (c, a))(*x),
}  # fmt: skip

#: the functions that NumPy refuses, or gives float16, for bools
NOT_FOR_BOOL = {"diff", "nan reductions", "norm", "select", "close", "nan_to_num", "where"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_A_MATRIX)
def test_of_a_matrix(name: str, dtype: str) -> None:
    if dtype == "b" and name in NOT_FOR_BOOL:
        return
    check(OF_A_MATRIX[name], array((3, 4), dtype))


#: functions of floats alone
OF_FLOATS: dict[str, Callable[[Any], Any]] = {
    "clip": lambda x: (np.clip(x, -0.5, 0.5), x.clip(0), x.clip(max=0.1), np.clip(x, x[:1], 9)),
    "round": lambda x: (np.round(x), x.round(2), np.around(x, -1), np.fix(x)),
    "logaddexp": lambda x: np.logaddexp(x, 0),
    "sinc": lambda x: np.sinc(x),
    "gradient": lambda x: (np.gradient(x[0]), np.gradient(x, 0.5), np.gradient(x, axis=1)),
    "trapezoid": lambda x: (np.trapezoid(x), np.trapezoid(x, np.arange(4.0) ** 2, axis=1)),
    "linspace": lambda x: (np.linspace(x[0, 0], x[0, 1], 5), np.linspace(0, x[0], 3),
                           np.linspace(x[0], x[1], 4, endpoint=False, axis=1)),
    "polyval": lambda x: np.polyval([1.0, 2.0, x[0, 0]], x),
    "convolve": lambda x: tuple(np.convolve(x[0], x[1, :3], mode) for mode in OVERLAPS),
    "correlate": lambda x: tuple(np.correlate(x[0, :3], x[1], mode) for mode in OVERLAPS),
    "correlate long": lambda x: tuple(np.correlate(x[0], x[1, :3], mode) for mode in OVERLAPS),
    "interp": lambda x: np.interp(x, [-1.0, 0.0, 0.5, 1.0], [1.0, 2.0, 0.0, 4.0]),
    "interp ends": lambda x: np.interp(x, [-0.3, 0.0], [1.0, 2.0], left=-1.0, right=7.0),
    "cross": lambda x: (np.cross(x[:, :3], x[:, 1:]), np.cross(x[0, :3], x[1, :3])),
    "ptp": lambda x: (np.ptp(x), np.ptp(x, axis=0)),
    "isclose": lambda x: (np.allclose(x, x + 1e-12), np.isclose(x, x[0])),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("name", OF_FLOATS)
def test_of_floats(name: str, dtype: str) -> None:
    check(OF_FLOATS[name], array((3, 4), dtype, seed=1), rtol=1e-11)


def test_nan_among_the_values() -> None:
    x = np.array([[np.nan, 1.0, -np.inf], [2.0, np.nan, np.inf]])
    check(lambda x: (np.nansum(x[:, 1:2]), np.nanmean(x[:, :2], 0), np.nanmax(x, 1), np.nanmin(x),
                     np.nan_to_num(x), np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0),
                     np.isnan(x), np.max(x), np.median(x[:, :2], axis=0),
                     np.isclose(x, x, equal_nan=True), np.isposinf(x), np.isneginf(x)), x)


def test_empty_arrays() -> None:
    x = np.zeros((0, 3))
    check(lambda x: (x.sum(), x.sum(0), x.sum(1), x.prod(0), np.any(x), np.all(x, 0), x.cumsum(0),
                     np.concatenate([x, x]), x.reshape(3, 0), x.T, np.sort(x, 0), x + 1), x)
    check(lambda x: (np.max(x, axis=0, initial=1.0), np.diff(x, axis=0), np.tile(x, 2)), x)


def test_maximum_of_nothing() -> None:
    with pytest.raises(ValueError, match="has no value"):
        interpreted(lambda x: np.max(x, axis=0), np.zeros((0, 3)))


def test_norm_of_zero_has_no_nan() -> None:
    check(lambda x: np.linalg.norm(x), np.zeros(3))


# -- errors --------------------------------------------------------------------------------------

X = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("function", "builtin", "text"),
    [
        (lambda x: np.sum(x, axis=2), ValueError, "axis 2 is out of bounds for array of"),
        (lambda x: x.reshape(4), ValueError, r"cannot reshape array of size 6 into shape \(4,\)"),
        (lambda x: np.concatenate([x, x[0]]), ValueError, "must match"),
        (lambda x: np.stack([x, x[0]]), ValueError, "must have the same shape"),
        (lambda x: np.squeeze(x, 0), ValueError, "size not equal to one"),
        (lambda x: x.sum(dtype=complex), TypeError, "complex128 is not supported"),
        (lambda x: np.split(x, 2, axis=1), ValueError, "equal division"),
        (lambda x: np.where(x > 0), TypeError, "only when the compiled code runs"),
        (lambda x: np.where(x > 0, x), ValueError, "either both or neither"),
        (lambda x: np.unique(x), TypeError, "np.unique is not supported"),
        (lambda x: x.nonzero(), TypeError, "only when the compiled code runs"),
        (lambda x: np.linalg.solve(x, x), TypeError, "np.linalg.solve is not supported"),
        (lambda x: np.linalg.inv(x), TypeError, "no factorisations"),
        (lambda x: np.linalg.norm(x, 2), TypeError, "singular values"),
        (lambda x: np.unique(x), TypeError, "np.unique is not supported"),
        (lambda x: np.searchsorted(x[0], 1.0), TypeError, "np.searchsorted is not supported"),
        (lambda x: np.fft.fft(x), TypeError, "complex numbers are not supported"),
        (lambda x: np.percentile(x, 50), TypeError, "np.sort or np.argsort"),
        (lambda x: x.sum(axis="a"), ValueError, "invalid literal"),
        (lambda x: np.pad(x, 1, mode="linear_ramp"), ValueError, "linear_ramp"),
        (lambda x: x.flags, AttributeError, "the attribute .flags"),
        (lambda x: x.view(np.int64), AttributeError, "the attribute .view"),
        (lambda x: np.sort(x, order="f"), ValueError, "order= is for structured arrays"),
        (lambda x: np.broadcast_to(x, (3, 3)), ValueError, "cannot be broadcast"),
    ],
)  # fmt: skip
def test_errors(function: Any, builtin: type[Exception], text: str) -> None:
    with pytest.raises(builtin, match=text) as info:
        interpreted(function, X)
    assert isinstance(info.value, GradcError)
    assert "test_functions.py" in str(info.value)
    assert "Try: " in str(info.value)


def test_unknown_parameter() -> None:
    with pytest.raises(UnsupportedError, match=r"the parameter weird= of np.sum"):
        interpreted(lambda x: x.sum(weird=3), X)
