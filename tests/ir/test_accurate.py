"""No accurate rule loses what the naive form had, held against exact values (mpmath).

Over inputs of all magnitudes, value and gradient of the rewritten program are as near to the truth
as those of the naive one, or within a few units in the last place. Where the naive form gives an
infinity or NaN, the rewritten gives the same or the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.passes import Rewriter, optimize, stabilize
from gradc.ir.passes.accurate import ACCURATE
from gradc.ir.types import F32, F64, TensorType
from tests.sampling import Array

#: units in the last place that any form may be wrong by, and times the naive form's error
FEW, TIMES = 12, 64
TERMS = 3


@dataclass(frozen=True)
class Form:
    """A naive program: of values of the graph, and of numbers of mpmath (lists for rows).

    A shift rounds z − m: a result e^(z − m) is known to ``shift`` units, |z − m| or so. The
    logarithm of a sum that is nearly 1 is known to a unit of ``floor``. ``parts`` is 1 where the
    gradient of the naive form cancels.
    """

    values: Callable[..., Value]
    truth: Callable[..., Any]
    arity: int = 1
    shift: Callable[..., Any] = lambda *_: 0
    floor: float = 0
    parts: int | None = None


def elementwise(f: Callable[..., Any], arity: int = 1, **options: Any) -> Form:
    """A form written once for both: its first argument is the module of functions."""
    return Form(lambda *x: f(ops, *x), lambda *x: f(mpmath, *x), arity, **options)


def sigmoid(m: Any, x: Any) -> Any:
    return 1 / (m.exp(-x) + 1)


def kahan(m: Any, x: Any) -> Any:
    u = x + 1
    return m.log(u) * x / (u - 1)


def kahan_written_twice(m: Any, x: Any) -> Any:
    return m.log(x + 1) * x / ((x + 1) - 1)


def kahan_below(m: Any, x: Any) -> Any:
    u = 1 - x
    return m.log(u) * x / (u - 1)


def kahan_corrected(m: Any, x: Any) -> Any:
    u = x + 1
    return m.log(u) - ((u - 1) - x) / u


def kahan_of_exp(m: Any, x: Any) -> Any:
    e = m.exp(x)
    u = e + 1
    return m.log(u) * e / (u - 1)


def kahan_expm1(m: Any, x: Any) -> Any:
    u = m.exp(x)
    return (u - 1) / m.log(u)


def kahan_of_sigmoid(m: Any, x: Any) -> Any:
    p = sigmoid(m, x)
    return m.log(p) / (p - 1)


def entropy(m: Any, p: Any) -> Any:
    q = 1 - p
    return q * m.log(q)


def total(x: Value) -> Value:
    return ops.sum_(x, axes=(1,))


def spread(x: Value, like: Value) -> Value:
    return ops.spread(x, like, (1,))


def exps(z: Sequence[Any]) -> list[Any]:
    return [mpmath.exp(x) for x in z]


def across(z: Sequence[Any]) -> Any:
    return max(z) - min(z) + 1


CONSTANT = np.array([1.0, 0.5, 3.0])
ELEMENTWISE = {
    "log(exp)": elementwise(lambda m, x: m.log(m.exp(x))),
    "log(1 + exp)": elementwise(lambda m, x: m.log(m.exp(x) + 1)),
    "log(sigmoid)": elementwise(lambda m, x: m.log(sigmoid(m, x))),
    "log(1 - sigmoid)": elementwise(lambda m, x: m.log(1 - sigmoid(m, x))),
    "1 - sigmoid": elementwise(lambda m, x: 1 - sigmoid(m, x)),
    "sigmoid - 1": elementwise(lambda m, x: sigmoid(m, x) - 1),
    "sigmoid": elementwise(sigmoid),
    "exp/(1 + exp)": elementwise(lambda m, x: m.exp(x) / (m.exp(x) + 1)),
    "x/(1 + exp)": elementwise(lambda m, x: x / (m.exp(x) + 1)),
    "y/(1 + exp)": elementwise(lambda m, x, y: y / (m.exp(x) + 1), 2),
    "(1 + exp)^-1": elementwise(lambda m, x: (m.exp(x) + 1) ** -1),
    "exp - 1": elementwise(lambda m, x: m.exp(x) - 1),
    "1 - exp": elementwise(lambda m, x: 1 - m.exp(x)),
    "-1 + exp": elementwise(lambda m, x: m.exp(x) + -1),
    "log(1 - exp)": elementwise(lambda m, x: m.log(1 - m.exp(x))),
    "log1p(exp)": elementwise(lambda m, x: m.log1p(m.exp(x))),
    "log(where)": Form(
        lambda x: ops.log(ops.where(x > 1, sigmoid(ops, x), 1 - sigmoid(ops, x))),
        lambda x: mpmath.log(sigmoid(mpmath, x) if x > 1 else 1 - sigmoid(mpmath, x))),
    "log2(1 + exp)": Form(lambda x: ops.log2(ops.exp(x) + 1),
                          lambda x: mpmath.log(mpmath.exp(x) + 1, 2)),
    "log10(1 + exp)": Form(lambda x: ops.log10(ops.exp(x) + 1),
                           lambda x: mpmath.log10(mpmath.exp(x) + 1)),
    "log(1 + x)": elementwise(lambda m, x: m.log(x + 1)),
    "log(1 - x)": elementwise(lambda m, x: m.log(1 - x)),
    "tanh": elementwise(
        lambda m, x: (m.exp(x) - m.exp(-x)) / (m.exp(x) + m.exp(-x))),
    "tanh by one exp": elementwise(lambda m, x: (m.exp(x) - 1) / (m.exp(x) + 1)),
    "tanh by falling exp": elementwise(lambda m, x: (1 - m.exp(x)) / (m.exp(x) + 1)),
    "log(exp·exp)": elementwise(lambda m, x, y: m.log(m.exp(x) * m.exp(y)), 2),
    "log(exp/exp)": elementwise(lambda m, x, y: m.log(m.exp(x) / m.exp(y)), 2),
    "log(exp·y)": elementwise(lambda m, x, y: m.log(m.exp(x) * y), 2),
    "log(exp/y)": elementwise(lambda m, x, y: m.log(m.exp(x) / y), 2),
    "log(exp·c)": elementwise(lambda m, x: m.log(m.exp(x) * 0.3989422804014327)),
    "log(exp·large)": elementwise(lambda m, x: m.log(m.exp(x) * 1e20)),
    "log(exp + exp)": elementwise(lambda m, x, y: m.log(m.exp(x) + m.exp(y)), 2,
                                   shift=lambda x, y: abs(x - y)),
    "log(exp + c)": elementwise(lambda m, x: m.log(m.exp(x) + 0.25),
                                 shift=lambda x: abs(x) + 2),
    "log(exp + tiny)": elementwise(lambda m, x: m.log(m.exp(x) + 1e-30),
                                    shift=lambda x: abs(x) + 70),
    "exp/(exp + exp)": elementwise(
        lambda m, x, y: m.exp(x) / (m.exp(x) + m.exp(y)), 2,
        shift=lambda x, y: abs(x - y)),
    "y·(1/x)": elementwise(lambda m, x, y: y * (1 / x), 2),
    "(x·c)·c": elementwise(lambda m, x: (x * 3) * 0.25),
    "entropy": elementwise(entropy),
    "Kahan's log1p": elementwise(kahan),
    "Kahan's log1p, written twice": elementwise(kahan_written_twice),
    "Kahan's log1p of -x": elementwise(kahan_below),
    "log1p by correction": elementwise(kahan_corrected),
    "Kahan's log1p of exp": elementwise(kahan_of_exp),
    "Kahan's expm1": elementwise(kahan_expm1, parts=1),
    "log p/(p - 1)": elementwise(kahan_of_sigmoid, parts=1),
}
ROWS = {
    "log-sum-exp": Form(
        lambda z: ops.log(total(ops.exp(z))), lambda z: mpmath.log(sum(exps(z))), shift=across),
    "log-mean-exp": Form(
        lambda z: ops.log(total(ops.exp(z)) / TERMS),
        lambda z: mpmath.log(sum(exps(z)) / TERMS), shift=across),
    "log-mean-exp by product": Form(
        lambda z: ops.log(total(ops.exp(z)) * 0.25),
        lambda z: mpmath.log(sum(exps(z)) * 0.25), shift=across),
    "softmax": Form(
        lambda z: total(ops.const(z.builder, np.tile([1.0, 0, 0], (z.shape[0], 1)), z.dtype)
                        * (ops.exp(z) / spread(total(ops.exp(z)), z))),
        lambda z: exps(z)[0] / sum(exps(z)), shift=across),
    "softmax by reciprocal": Form(
        lambda z: total(ops.slice_(ops.exp(z) * spread(1 / total(ops.exp(z)), z),
                                   starts=(0, 0), sizes=(z.shape[0], 1), steps=(1, 1))),
        lambda z: exps(z)[0] / sum(exps(z)), shift=across),
    "log-softmax": Form(
        lambda z: total(ops.log(ops.slice_(
            ops.exp(z) / spread(total(ops.exp(z)), z),
            starts=(0, 0), sizes=(z.shape[0], 1), steps=(1, 1)))),
        lambda z: mpmath.log(exps(z)[0] / sum(exps(z))), shift=across, floor=1),
    "log-softmax of the first": Form(
        lambda z: ops.log(ops.reshape(
            ops.slice_(ops.exp(z), starts=(0, 0), sizes=(z.shape[0], 1), steps=(1, 1)),
            shape=z.shape[:1]) / total(ops.exp(z))),
        lambda z: mpmath.log(exps(z)[0] / sum(exps(z))), shift=across, floor=1),
    "log-sum-exp, mildly weighted": Form(
        lambda z: ops.log(total(
            ops.const(z.builder, np.tile(CONSTANT, (z.shape[0], 1)), z.dtype) * ops.exp(z))),
        lambda z: mpmath.log(sum(w * e for w, e in zip(CONSTANT, exps(z), strict=True))),
        shift=across),
    "log-sum-exp, weighted": Form(
        lambda z, w: ops.log(total(w * ops.exp(z))),
        lambda z, w: mpmath.log(sum(u * e for u, e in zip(w, exps(z), strict=True))), 2),
    "softmax, weighted": Form(
        lambda z, w: total(ops.slice_(ops.exp(z) / spread(total(w * ops.exp(z)), z),
                                      starts=(0, 1), sizes=(z.shape[0], 1), steps=(1, 1))),
        lambda z, w: exps(z)[1] / sum(u * e for u, e in zip(w, exps(z), strict=True)), 2),
    "log-sum-exp, masked": Form(
        lambda z, w: ops.log(total(
            ops.where(w > 1, ops.exp(z), ops.full_like(z, 0)))),
        lambda z, w: mpmath.log(
            sum(e if u > 1 else 0 for u, e in zip(w, exps(z), strict=True))), 2),
    "log-sum-exp, masked by constants": Form(
        lambda z: ops.log(total(
            ops.const(z.builder, np.tile([0.0, 1, 1], (z.shape[0], 1)), z.dtype) * ops.exp(z))),
        lambda z: mpmath.log(sum(exps(z)[1:])), shift=across),
}


def wide(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Both signs, magnitudes from subnormal to twice the largest exponent, many moderate."""
    top = 3.2 if dtype == F64 else 2.3
    low = -320 if dtype == F64 else -44
    spans = [(low, -20), (-20, 0), (-2, 1), (0, top), (1, top)]
    low_, high = np.array(spans)[rng.integers(len(spans), size=shape)].transpose(
        -1, *range(len(shape)))
    return np.asarray(10 ** rng.uniform(low_, high) * rng.choice([-1, 1], shape)).astype(dtype)


def samples(name: str, form: Form, dtype: np.dtype[Any]) -> list[Array]:
    """Inputs that are wide, nearly cancel, or lie near where results overflow or vanish."""
    rng = np.random.default_rng(sum(map(ord, name)))
    edges = np.log([np.finfo(dtype).max, np.finfo(dtype).tiny, 2.0**-60, 2.0**-24, 2, 1e-30])
    if name in ROWS:
        z = wide(rng, (40, TERMS), dtype)
        z[20:28] = z[20:28, :1] + rng.normal(size=(8, TERMS))
        z[28:36] = rng.normal(size=(8, TERMS)) * np.array([1e-12, 1e-3, 1, 30]).repeat(2)[:, None]
        z[36] = 700 if dtype == F64 else 80, -50, -50
        z[37] = 700 if dtype == F64 else 80, -500 if dtype == F64 else -60, 0
        w = wide(rng, z.shape, dtype)
        w[::2] = np.abs(w[::2])
        w[1::7, 0] = 0
        w[36], w[37] = (0, 1, 1), (1e-30, 1e30, 0)
        return [z, w][: form.arity]
    x = np.concatenate([wide(rng, (40,), dtype), edges.astype(dtype), -edges.astype(dtype)])
    if form.arity == 1:
        return [x]
    y = wide(rng, x.shape, dtype)
    with np.errstate(all="ignore"):
        y[:8] = -x[:8] + rng.normal(size=8) * 10.0 ** -np.arange(8)
        y[8:16] = x[8:16] + rng.normal(size=8) * 10.0 ** -np.arange(8)
        for k, sign in ((16, -1), (24, 1)):  # products with exp(x) that are about 1
            x[k : k + 8] = rng.uniform(-80, 80, 8)
            y[k : k + 8] = np.exp(sign * x[k : k + 8]) * (1 + 10.0 ** -np.arange(1, 9))
    return [x, y]


def traced(form: Form, inputs: Sequence[Array]) -> Graph:
    builder = Builder("f")
    given = [builder.input(f"x{k}", TensorType(x.dtype, x.shape)) for k, x in enumerate(inputs)]
    return builder.build([form.values(*given)])


def with_gradient(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The values, and each one's gradient."""
    (out,) = graph.output_types
    pulled = autodiff.vjp(graph, range(len(inputs)))
    return run(optimize(pulled), [*inputs, np.ones(out.shape, out.dtype)])


def naive_gradient(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    (out,) = graph.output_types
    pulled = autodiff.vjp(graph, range(len(inputs)))
    return run(pulled, [*inputs, np.ones(out.shape, out.dtype)])


def slope(f: Callable[[Any], Any], x: Any) -> Any:
    """f′(x) by a difference whose error is far below what a float can tell."""
    h = mpmath.mpf(10) ** -40 * (abs(x) or 1)
    return (f(x + h) - f(x - h)) / (2 * h)


def exact(form: Form, arguments: list[Any]) -> list[Any]:
    """The value and the partial derivatives at one point; None where there is none."""
    def at(k: int, j: int | None, x: Any) -> Any:
        new = list(arguments)
        new[k] = x if j is None else [*new[k][:j], x, *new[k][j + 1 :]]
        return form.truth(*new)

    out: list[Callable[[], Any]] = [lambda: form.truth(*arguments)]
    for k, argument in enumerate(arguments):
        if isinstance(argument, list):
            out += [lambda k=k, j=j, x=x: slope(lambda t: at(k, j, t), x)
                    for j, x in enumerate(argument)]
        else:
            out.append(lambda k=k, x=argument: slope(lambda t: at(k, None, t), x))
    results = []
    for f in out[: form.parts]:
        try:
            result = f()
        except (ZeroDivisionError, ValueError):
            result = None
        results.append(None if isinstance(result, mpmath.mpc) else result)
    return results


def digits(inputs: Sequence[Array]) -> int:
    """How many tell 1 + exp(−x) from 1 where exp(−x) is not 0, at x and the points near it."""
    x = np.abs(np.concatenate([np.ravel(v) for v in inputs]).astype(F64))
    small = -np.log10(x[x > 0].min(initial=1))
    return int(100 + small + x[x < 1600].max(initial=0))


def error(got: float, truth: Any, dtype: np.dtype[Any], floor: float = 0) -> float:
    """In units in the last place of the truth; overflow is right where the truth overflows."""
    info = np.finfo(dtype)
    if np.isinf(got) and abs(truth) > float(info.max) * 0.999 and (got > 0) == (truth > 0):
        return 0.0
    if not np.isfinite(got):
        return float("inf")
    unit = max(max(abs(truth), floor) * float(info.eps), mpmath.mpf(float(info.smallest_subnormal)))
    return float(min(abs(mpmath.mpf(float(got)) - truth) / unit, mpmath.mpf(1e300)))


def points(form: Form, inputs: Sequence[Array]) -> list[list[Any]]:
    """The arguments of each element or row, as numbers of mpmath."""
    def number(x: Any) -> Any:
        return [mpmath.mpf(float(v)) for v in x] if np.ndim(x) else mpmath.mpf(float(x))

    return [[number(x[i]) for x in inputs] for i in range(len(inputs[0]))]


def flat(results: Sequence[Array], i: int) -> list[float]:
    return [float(v) for r in results for v in np.atleast_1d(r[i])]


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("name", [*ELEMENTWISE, *ROWS])
def test_never_worse_than_the_naive_form(name: str, dtype: np.dtype[Any]) -> None:
    form = ELEMENTWISE.get(name) or ROWS[name]
    inputs = samples(name, form, dtype)
    graph = traced(form, inputs)
    naive = naive_gradient(graph, inputs)
    stable = with_gradient(stabilize(graph), inputs)
    late = run(optimize(graph), inputs)
    for i, arguments in enumerate(points(form, inputs)):
        with mpmath.workdps(digits([x[i] for x in inputs])):
            truths = exact(form, arguments)
            if truths[0] is None:
                truths = [None]  # slopes of a NaN are anybody's
            slack = float(form.shift(*arguments))
            for part, (truth, old, new) in enumerate(
                zip(truths, flat(naive, i), flat(stable, i), strict=False)
            ):
                for got in (new, flat(late, i)[0]) if part == 0 else (new,):
                    same = got == old or (np.isnan(got) and np.isnan(old))
                    if same or truth is None:
                        assert same or not np.isfinite(old), (arguments, part, old, got)
                        continue
                    allowed, floor = FEW + 2 * slack, form.floor
                    if np.isfinite(old):
                        allowed = max(allowed, TIMES * error(old, truth, dtype))
                        floor = 0
                    elif np.isinf(got) and abs(truth) > float(np.finfo(dtype).max) / 1000:
                        continue  # a step on the way to the result overflows in truth
                    wrong = error(got, truth, dtype, floor)
                    assert wrong <= allowed, (
                        f"{name} of {[np.array(a, float) for a in arguments]}, part {part}: "
                        f"{old} became {got}, truth {mpmath.nstr(truth, 20)}, {wrong:.3g} units")


def test_every_accurate_rule_fires_on_some_form() -> None:
    fired: set[str] = set()
    for name, form in {**ELEMENTWISE, **ROWS}.items():
        graph = traced(form, samples(name, form, F64))
        for source in (graph, autodiff.vjp(graph, [0])):
            rewriter = Rewriter("f", ACCURATE)
            rewriter.rewrite(source)
            fired |= set(rewriter.fired)
    assert {r.name for r in ACCURATE} - fired == set()
