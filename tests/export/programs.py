"""Functions to export, with the types and values of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import gradc


class Program(NamedTuple):
    function: Callable[..., Any]
    types: tuple[Any, ...]
    args: tuple[Any, ...]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def network(params: Any, x: Any, y: Any, scale: float = 1.0) -> Any:
    hidden = np.tanh(x @ params["W1"] + params["b"][0])
    return scale * np.mean((hidden @ params["W2"] - y) ** 2)


def statistics(x: Any, k: Any) -> Any:
    """Results of several dtypes, in a structure."""
    return {"mean": x.mean(axis=0), "large": x > 1.0, "at": x[k, 0], "order": np.argsort(x[:, 1])}


TABLE = rng().normal(size=(200, 60))


def with_table(x: Any) -> Any:
    """An array from outside that is too large to stand among the instructions."""
    return np.sum(np.exp(-((x @ TABLE) ** 2)))


def newton(a: Any) -> Any:
    """A loop whose trip count no one knows, so that its gradient needs memory of its own."""
    y = a
    while abs(y * y - a) > 1e-12:
        y = (y + a / y) / 2
    return y


def first_above(x: Any, bound: Any) -> Any:
    for k in gradc.range(4):
        if x[k] > bound:
            found = x[k]
            break
    return found * 2.0


def limited(a: Any) -> Any:
    def test(y: Any) -> Any:
        return y < 1e9

    return gradc.while_loop(test, lambda y: y + a, a, max_trips=20)


def picked(x: Any, k: Any) -> Any:
    return np.sum(np.take(x, k) ** 2)


def printed(x: Any) -> Any:
    gradc.debug_print("{}", x)
    return np.sum(x)


def product(a: Any, b: Any) -> Any:
    return a @ b


def _network_args() -> tuple[Any, ...]:
    r = rng()
    params = {"W1": r.normal(size=(4, 8)), "b": [r.normal(size=8)], "W2": r.normal(size=8)}
    return params, r.normal(size=(5, 4)), r.normal(size=5), 0.5


PROGRAMS = {
    "network": Program(
        network,
        ({"W1": "f64[4,8]", "b": ["f64[8]"], "W2": "f64[8]"}, "f64[5,4]", "f64[5]", "f64"),
        _network_args(),
    ),
    "single": Program(
        lambda x, w: np.sum(np.log1p(x * x) @ w), ("f32[33,7]", "f32[7]"),
        (rng().normal(size=(33, 7)).astype("f4"), rng().normal(size=7).astype("f4")),
    ),
    "statistics": Program(
        statistics, ("f64[9,3]", "i64[]"), (rng().normal(size=(9, 3)), np.int64(4))
    ),
    "with_table": Program(with_table, ("f64[200]",), (rng().normal(size=200) / 10,)),
    "newton": Program(newton, ("f64",), (2.0,)),
    "picked": Program(picked, ("f64[5]", "i32[3]"), (rng().normal(size=5), np.int32([4, 0, 4]))),
    "printed": Program(printed, ("f64[3]",), (np.ones(3),)),
    "large": Program(
        lambda x: np.sum(np.sin(x)), ("f64[300000]",), (rng().normal(size=300000),)
    ),
    "product": Program(
        product, ("f64[100,100]", "f64[100,100]"),
        (rng().normal(size=(100, 100)), rng().normal(size=(100, 100))),
    ),
}
