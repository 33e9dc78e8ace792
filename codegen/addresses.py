"""Arithmetic of indices and addresses: nothing twice in a block, and constants added last.

Code generation folds a constant that is added last into the instruction that reads memory; what is
left is then the same for all rows of a tile, and the passes over loops have little to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradc.codegen.llvm import Val


class Addresses:
    """Adds, multiplies and indexes i64; ``op(type, text)`` emits an instruction."""

    def __init__(self, op: Callable[[str, str], Val]) -> None:
        self._op = op
        self._known: dict[str, Val] = {}  # of this block, by their text
        self._sums: dict[str, tuple[Val, int]] = {}
        self._places: dict[str, tuple[Val, str, int]] = {}

    def begin(self) -> None:
        """A block begins: what others computed may not have been on the way to it."""
        self._known.clear()

    def _once(self, ty: str, text: str) -> Val:
        if text not in self._known:
            self._known[text] = self._op(ty, text)
        return self._known[text]

    def _split(self, x: Val) -> tuple[Val, int]:
        """What is not constant in an i64, and the constant added to it."""
        return self._sums.get(x.ref, (x, 0))

    def add(self, x: Val, y: Val) -> Val:
        """x + y."""
        if _constant(x):
            x, y = y, x
        if not _constant(y):
            (p, m), (q, n) = self._split(x), self._split(y)
            return self._plus(self._once("i64", f"add i64 {p.ref}, {q.ref}"), m + n)
        if _constant(x):
            return x._replace(ref=str(_wrapped(int(x.ref) + int(y.ref))))
        base, offset = self._split(x)
        return self._plus(base, offset + int(y.ref))

    def _plus(self, base: Val, offset: int) -> Val:
        offset = _wrapped(offset)
        if not offset:
            return base
        total = self._once("i64", f"add i64 {base.ref}, {offset}")
        self._sums[total.ref] = base, offset
        return total

    def mul(self, x: Val, y: Val) -> Val:
        """x · y."""
        if _constant(x):
            x, y = y, x
        base, offset = self._split(x)
        if _constant(x) or not (offset and _constant(y)):
            return self._once("i64", f"mul i64 {x.ref}, {y.ref}")
        return self._plus(self.mul(base, y), offset * int(y.ref))

    def gep(self, base: Val, ty: str, index: Val) -> Val:
        """The address of element ``index`` of the ``ty`` array at ``base``."""
        root, element, offset = self._places.get(base.ref, (base, ty, 0))
        if element != ty:
            root, offset = base, 0
        if _constant(index):
            offset += int(index.ref)
        else:
            along, constant = self._split(index)
            root = self._once("ptr", f"getelementptr {ty}, ptr {root.ref}, {along}")
            offset += constant
        if not offset:
            return root
        place = self._once("ptr", f"getelementptr {ty}, ptr {root.ref}, i64 {offset}")
        self._places[place.ref] = root, ty, offset
        return place


def _constant(x: Val) -> bool:
    return not x.ref.startswith("%")


def _wrapped(n: int) -> int:
    """As a signed integer of 64 bits."""
    return (n + (1 << 63)) % (1 << 64) - (1 << 63)
