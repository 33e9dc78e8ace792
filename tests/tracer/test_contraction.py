"""Products of matrices and tensors against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.errors import GradcError, ShapeError
from tests.tracer.helpers import check, interpreted, traced

RNG = np.random.default_rng(5)
SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((2, 3), (5, 3, 4)), ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((1, 1), (1, 1)),
]  # fmt: skip


def draw(shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "b":
        return RNG.integers(0, 2, shape).astype(bool)
    return RNG.normal(size=shape).astype(dtype) if dtype[0] == "f" else RNG.integers(
        -4, 5, shape).astype(dtype)


PAIRS = [("f8", "f8"), ("f4", "f4"), ("i4", "i4"), ("f4", "i8"), ("b", "b")]


@pytest.mark.parametrize("dtypes", PAIRS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul_and_dot(shapes: Any, dtypes: tuple[str, str]) -> None:
    a, b = (draw(s, d) for s, d in zip(shapes, dtypes, strict=True))
    check(lambda a, b: a @ b, a, b, rtol=1e-10)
    if a.ndim <= 2 and b.ndim <= 2 or a.shape[-1] == b.shape[-2 if b.ndim > 1 else 0]:
        check(lambda a, b: (np.dot(a, b), a.dot(b)), a, b, rtol=1e-10)


OPERANDS = tuple(RNG.normal(size=shape) for shape in ((2, 3), (3, 4), (2, 3, 4), (3,)))


def test_products() -> None:
    check(lambda a, b, c, v: (
        np.dot(2.0, a), np.dot(a, 3), np.vdot(a, a), np.inner(a, v), np.inner(c, b[0]),
        np.inner(2, a),
        np.inner(c, c),
        np.outer(a, v), np.multiply.outer(v, a), np.kron(a, b), np.kron(v, a), np.trace(a @ a.T),
        np.tensordot(a, b, 1), np.tensordot(a, c, ([0, 1], [0, 1])), np.tensordot(a, a),
        np.tensordot(a, v, 0), np.tensordot(a, c, axes=(1, 1)), np.matmul(c, b.T @ a.T),
        np.vecdot(a, v), np.linalg.multi_dot([a, b, b.T]), np.linalg.matrix_power(a @ a.T, 3),
        np.linalg.matrix_power(a @ a.T, 0), np.linalg.vecdot(a, a), np.linalg.outer(v, v),
    ), *OPERANDS)


@pytest.mark.skipif(not hasattr(np, "matvec"), reason="NumPy is older than 2.2")
def test_matvec_and_vecmat() -> None:
    check(lambda a, b: (np.matvec(a, b[:, 0]), np.vecmat(a[:, 0], a)), *OPERANDS[:2])


SUBSCRIPTS = [
    ("ij,jk->ik", (0, 1)), ("ij,jk", (0, 1)), ("ij->ji", (0,)), ("ij->", (0,)), ("ij->j", (0,)),
    ("ijk->k", (2,)), ("ij,ij->", (0, 0)), ("ij,ij->ij", (0, 0)), ("ij,j->i", (0, 3)),
    ("i,j->ij", (3, 3)), ("i,i", (3, 3)), ("ijk,jk->i", (2, 1)), ("ij,jk,kl->il", (0, 1, "T1")),
    ("ij,kj,kl,li->", (0, 0, 0, "T0")), ("...j,j->...", (2, "c4")), ("...ij,jk->...ik", ("T2", 0)),
    ("ij...,i->j...", (2, "c2")), ("...,...->...", (0, 3)), ("i,j,k->kji", (3, 3, 3)),
    ("ba,bc->ac", (0, 0)), ("ijk,ljk->il", (2, 2)), ("bij,bjk->bik", (2, "S2")),
    ("bij,bij->b", (2, 2)), ("ij,ik,il->jkl", (0, 0, 0)), ("ij, jk -> k i", (0, 1)), ("ji", (0,)),
]  # fmt: skip


def pick(which: Any) -> Any:
    special = {"T0": OPERANDS[0].T, "T1": OPERANDS[1].T,
               "T2": OPERANDS[2].transpose(0, 2, 1)[:, :, :2],
               "S2": OPERANDS[2].transpose(0, 2, 1), "c4": np.arange(4.0), "c2": np.arange(2.0)}
    return special[which] if isinstance(which, str) else OPERANDS[which]


@pytest.mark.parametrize(("subscripts", "which"), SUBSCRIPTS, ids=[s for s, _ in SUBSCRIPTS])
def test_einsum(subscripts: str, which: tuple[Any, ...]) -> None:
    operands = [pick(w) for w in which]
    check(lambda *xs: np.einsum(subscripts, *xs), *operands)
    check(lambda *xs: np.einsum(subscripts, *xs),
          *((x * 4).astype(np.int32) for x in operands))


def test_einsum_of_diagonals() -> None:
    m, c = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2, 3))
    check(lambda m, c: (np.einsum("ii", m), np.einsum("ii->i", m), np.einsum("iji->j", c),
                        np.einsum("ii,i->i", m, m[0]), np.einsum("iij->j", c.transpose(0, 2, 1)),
                        np.einsum("iii->i", np.ones((2, 2, 2)) * m[0, 0])), m, c)


def test_einsum_of_length_one_axes() -> None:
    check(lambda a, b: (np.einsum("ij,ij->ij", a, b), np.einsum("ij,jk->ik", a, b.T)),
          np.ones((2, 1)), RNG.normal(size=(2, 3)))


def test_einsum_of_lists() -> None:
    check(lambda a, b: (np.einsum(a, [0, 1], b, [1, 2], [0, 2]), np.einsum(a, [0, 1], b, [1, 2]),
                        np.einsum(a, [..., 0], [0, ...])), *OPERANDS[:2])


def test_einsum_of_bools() -> None:
    check(lambda a, b: np.einsum("ij,jk->ik", a, b), OPERANDS[0] > 0, OPERANDS[1] > 0)


def test_einsum_options() -> None:
    check(lambda a, b: (np.einsum("ij,jk", a, b, optimize=True),
                        np.einsum("ij,jk", a, b, optimize="optimal", dtype=np.float64)),
          *OPERANDS[:2])


def test_a_long_chain_is_contracted_in_pairs() -> None:
    def f(a: Any, b: Any, v: Any) -> Any:
        return np.einsum("i,ij,jk,kl,l->", v[:2], a, b, b.T, v)

    result, _ = traced(f, *OPERANDS[:2], OPERANDS[3])
    largest = max(n.type.size for n in result.graph.nodes)
    assert largest <= 12
    check(f, *OPERANDS[:2], OPERANDS[3])


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a: a @ a, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"),
        (lambda a: np.dot(a, a), r"shapes \(2, 3\) and \(2, 3\) do not fit"),
        (lambda a: a @ 2.0, "an operand is a scalar"),
        (lambda a: np.einsum("ij,jk", a, a), "the label 'j' stands for axes of lengths 3 and 2"),
        (lambda a: np.einsum("ijk->i", a), "for an operand of 2 axes"),
        (lambda a: np.einsum("ij->ik", a), "not well formed"),
        (lambda a: np.einsum("ij->ii", a), "stands twice in the result"),
        (lambda a: np.tensordot(a, a, 1), "shape-mismatch for sum"),
        (lambda a: np.inner(a, a.T), "inner: shapes"),
    ],
)
def test_errors(function: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as info:
        interpreted(function, OPERANDS[0])
    assert isinstance(info.value, GradcError)
    assert "Try: " in str(info.value)


def test_the_misfit_says_both_types() -> None:
    text = r"with arg\[0\]\[0\]: f64\[2,3\], arg\[0\]\[1\]: f64\[4\]"
    with pytest.raises(ShapeError, match=text):
        interpreted(lambda a, v: a @ v, OPERANDS[0], np.ones(4))
