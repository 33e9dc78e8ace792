"""np.einsum: pairs of operands at a time, each pair a matrix product or a product and a sum.

The order is NumPy's own greedy one (np.einsum_path), found on arrays that take no memory.
"""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from gradc.errors import ShapeError, UnsupportedError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.numpy_api.contraction import arranged, finish, work_dtype
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.values import as_tracer, check_dtype, promoted, to_value

_BATCH = "".join(chr(0x3B1 + k) for k in range(24))


def _parse(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, the ellipsis spelt out in Greek letters."""
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum: {len(terms)} subscripts for {len(ranks)} operands")
    widths = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    for term, width, rank in zip(terms, widths, ranks, strict=True):
        if width < 0 or width and "..." not in term:
            raise ValueError(f"einsum: subscripts '{term}' for an operand of {rank} axes")
    most = max((w for t, w in zip(terms, widths, strict=True) if "..." in t), default=0)
    spelt = [t.replace("...", _BATCH[most - w : most]) for t, w in zip(terms, widths, strict=True)]
    if arrow:
        result = output.replace("...", _BATCH[:most])
    else:
        letters = "".join(spelt)
        once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in _BATCH)
        result = _BATCH[:most] + "".join(once)
    known = set("".join(spelt))
    if not set("".join(spelt)) <= set(string.ascii_letters + _BATCH) or not set(result) <= known:
        raise ValueError(f"einsum: the subscripts '{subscripts}' are not well formed")
    if len(set(result)) != len(result):
        raise ValueError(f"einsum: a label stands twice in the result of '{subscripts}'")
    return spelt, result


def _from_lists(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The form einsum(a, [0, 1], b, [1, 2], [0, 2]) as subscripts."""
    def spell(labels: Any) -> str:
        return "".join("..." if k is Ellipsis else string.ascii_letters[k] for k in labels)

    pairs = len(operands) // 2
    terms = [spell(operands[2 * k + 1]) for k in range(pairs)]
    arrow = "->" + spell(operands[-1]) if len(operands) % 2 else ""
    return ",".join(terms) + arrow, [operands[2 * k] for k in range(pairs)]


@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None,
           order: str = "K", casting: str = "safe") -> Any:
    """Any number of operands, ellipsis, repeated labels. Raises ShapeError, UnsupportedError."""
    if not operands:
        raise UnsupportedError("einsum without operands", remedy="np.einsum('ij,jk->ik', a, b)")
    if isinstance(operands[0], str):
        subscripts, given = operands[0], list(operands[1:])
    else:
        subscripts, given = _from_lists(operands)
    tracers = [as_tracer(x) for x in given]
    chosen = promoted(tracers) if dtype is None else check_dtype(dtype)
    terms, result = _parse(subscripts, [t.ndim for t in tracers])
    values = [to_value(t, work_dtype(chosen)) for t in tracers]
    sizes = _sizes(terms, values)
    factors = [_distinct(v, t, sizes) for v, t in zip(values, terms, strict=True)]
    for pair in _order(factors, result, sizes):
        chosen_factors = [factors[k] for k in pair]
        factors = [f for k, f in enumerate(factors) if k not in pair]
        needed = set(result).union(*(labels for _, labels in factors))
        factors.append(_contract(chosen_factors, needed))
    ((value, labels),) = factors
    value, labels = _sum_out(value, labels, set(result))
    perm = [labels.index(c) for c in result]
    out = finish(arranged(value, perm, tuple(sizes[c] for c in result)), chosen)
    if len(terms) == 1 and set(terms[0]) == set(result):
        out.cell.guard = "a view that gradc does not follow"
        out.cell.rescue = "copy it first (w = w.copy())"
    return out


def _sizes(terms: list[str], values: list[Value]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, value in zip(terms, values, strict=True):
        for label, d in zip(term, value.shape, strict=True):
            before = sizes.setdefault(label, d)
            if 1 not in (before, d) and before != d:
                raise ShapeError(
                    f"einsum: the label '{label}' stands for axes of lengths {before} and {d}",
                    types=[str(v.type) for v in values], remedy="check the subscripts")
            sizes[label] = d if before == 1 else before
    return sizes


def _distinct(value: Value, term: str, sizes: dict[str, int]) -> tuple[Value, str]:
    """Broadcast axes of length one; take the diagonal of labels that stand twice."""
    shape = tuple(sizes[c] for c in term)
    if value.shape != shape:
        value = ops.broadcast(value, shape=shape)
    for label in dict.fromkeys(term):
        while term.count(label) > 1:
            first = term.index(label)
            second = term.index(label, first + 1)
            n = sizes[label]
            rest = [k for k in range(len(term)) if k not in (first, second)]
            others = tuple(value.shape[k] for k in rest)
            flat = arranged(value, (*rest, first, second), (*others, n * n))
            value = ops.slice_(
                flat, starts=(0,) * len(flat.shape), sizes=(*others, n),
                steps=(*(1 for _ in rest), n + 1 if n > 1 else 1))
            term = "".join(term[k] for k in rest) + label
    return value, term


def _sum_out(value: Value, labels: str, needed: set[str]) -> tuple[Value, str]:
    axes = tuple(k for k, c in enumerate(labels) if c not in needed)
    if not axes:
        return value, labels
    return ops.sum_(value, axes=axes), "".join(c for c in labels if c in needed)


def _order(
    factors: list[tuple[Value, str]], result: str, sizes: dict[str, int]
) -> list[tuple[int, ...]]:
    """Which factors to contract, step by step; a step takes them out and appends the product."""
    n = len(factors)
    if n == 1:
        return []
    if n == 2:
        return [(0, 1)]
    names = {c: string.ascii_letters[k] for k, c in enumerate(sizes)}
    spelt = ["".join(names[c] for c in labels) for _, labels in factors]
    dummies = [np.broadcast_to(np.float64(0), value.shape) for value, _ in factors]
    text = ",".join(spelt) + "->" + "".join(names[c] for c in result)
    path, _ = np.einsum_path(text, *dummies, optimize="greedy")
    steps: list[tuple[int, ...]] = []
    count = n
    for step in path[1:]:
        step = tuple(sorted(step))
        # The greedy path may end in one step of many; take them two by two.
        while len(step) > 2:
            steps.append((step[0], step[1]))
            count -= 1
            step = (*(k - 2 for k in step[2:]), count - 1)
        steps.append(step)
        count -= len(step) - 1
    return steps


def _contract(factors: list[tuple[Value, str]], needed: set[str]) -> tuple[Value, str]:
    """The product of two factors, summed over the labels that nobody needs any more."""
    if len(factors) == 1:
        return factors[0]
    (x, a), (y, b) = factors
    x, a = _sum_out(x, a, needed | set(b))
    y, b = _sum_out(y, b, needed | set(a))
    batch = [c for c in a if c in b and c in needed]
    summed = [c for c in a if c in b and c not in needed]
    only_a, only_b = [c for c in a if c not in b], [c for c in b if c not in a]
    labels = "".join((*batch, *only_a, *only_b))
    size = dict(zip(a + b, x.shape + y.shape, strict=True))

    def extent(names: list[str]) -> int:
        return math.prod(size[c] for c in names)

    if not summed or not (only_a or only_b):
        return _multiply(x, a, y, b, batch + only_a + only_b + summed, size, len(summed)), labels
    lead = tuple(size[c] for c in batch)
    rows = arranged(x, [a.index(c) for c in (*batch, *only_a, *summed)],
                    (*lead, extent(only_a), extent(summed)))
    columns = arranged(y, [b.index(c) for c in (*batch, *summed, *only_b)],
                       (*lead, extent(summed), extent(only_b)))
    out = ops.matmul(rows, columns, ta=False, tb=False)
    shape = tuple(size[c] for c in labels)
    return (out if out.shape == shape else ops.reshape(out, shape=shape)), labels


def _multiply(x: Value, a: str, y: Value, b: str, order: list[str], size: dict[str, int],
              summed: int) -> Value:
    """The elementwise product over all labels, the last of them summed."""
    whole = tuple(size[c] for c in order)
    parts = []
    for value, labels in ((x, a), (y, b)):
        held = [c for c in order if c in labels]
        shape = tuple(size[c] if c in labels else 1 for c in order)
        part = arranged(value, [labels.index(c) for c in held], shape)
        parts.append(part if shape == whole else ops.broadcast(part, shape=whole))
    product = parts[0] * parts[1]
    rank = len(order)
    return ops.sum_(product, axes=tuple(range(rank - summed, rank))) if summed else product
