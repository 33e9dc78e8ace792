"""Rules on matrix products: transposes become flags, broadcast batches become rows. All are
exact.
"""

from __future__ import annotations

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.passes.rewriter import Draft, Rule
from gradc.ir.passes.structure import full, is_op, local


def _swaps_last(perm: tuple[int, ...]) -> bool:
    n = len(perm)
    return perm == (*range(n - 2), n - 1, n - 2)


def _untransposed(x: Value) -> Value | None:
    """What x is the matrix transpose of, if it is one."""
    if is_op(x, "transpose") and _swaps_last(x.node.attrs["perm"]):
        return x.operands[0]
    if is_op(x, "reshape") and 1 in x.shape[-2:]:
        source = x.operands[0]
        if source.shape == (*x.shape[:-2], x.shape[-1], x.shape[-2]) != x.shape:
            return source
    return None


@local("matmul")
def matmul_nothing(draft: Draft) -> Value | None:
    """A sum over no products."""
    a, b = draft.operands
    return full(draft, 0) if a.type.size == 0 and b.type.size == 0 else None


@local("matmul")
def matmul_transpose(draft: Draft) -> Value | None:
    """A transposed operand sets a flag."""
    a, b = draft.operands
    ta, tb = draft.attrs["ta"], draft.attrs["tb"]
    left, right = _untransposed(a), _untransposed(b)
    if left is None and right is None:
        return None
    return ops.matmul(left or a, right or b, ta=ta ^ (left is not None),
                      tb=tb ^ (right is not None))


@local("transpose")
def transpose_matmul(draft: Draft) -> Value | None:
    """(A·B)ᵀ = Bᵀ·Aᵀ, when the product is not needed as it is."""
    (x,) = draft.operands
    if not is_op(x, "matmul") or not _swaps_last(draft.attrs["perm"]) or draft.builder.shared(x):
        return None
    a, b = x.operands
    return ops.matmul(b, a, ta=not x.node.attrs["tb"], tb=not x.node.attrs["ta"])


@local("matmul")
def matmul_batch_of_one(draft: Draft) -> Value | None:
    """One matrix times a batch that shares the other: a single product of all rows."""
    a, b = draft.operands
    batch = a.shape[:-2]
    if not batch or draft.attrs["ta"] or not is_op(b, "broadcast"):
        return None
    source = b.operands[0]
    lead = len(b.shape) - len(source.shape)
    if len(source.shape) < 2 or any(d != 1 for d in source.shape[:-2]) or (
        source.shape[-2:] != b.shape[-2:] or lead < 0
    ):
        return None
    rows = draft.type.size // draft.type.shape[-1]
    flat = ops.matmul(ops.reshape(a, shape=(rows, a.shape[-1])),
                      ops.reshape(source, shape=source.shape[-2:]), ta=False, tb=draft.attrs["tb"])
    return ops.reshape(flat, shape=draft.type.shape)


CONTRACTIONS: tuple[Rule, ...] = (
    *matmul_nothing, *matmul_transpose, *matmul_batch_of_one, *transpose_matmul,
)
