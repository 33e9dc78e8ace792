"""The blocks of a loop, in SSA form."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm import Builder, Val


class Head:
    """The blocks of a loop: a head with phi nodes, a body, what comes after."""

    def __init__(self, b: Builder, starts: Sequence[Val]) -> None:
        self.b = b
        self.starts = starts
        self.labels = b.label("head"), b.label("body"), b.label("done")
        self.before = b.block
        b.br(self.labels[0])
        b.place(self.labels[0])
        self.line = len(b.lines)
        self.phis = [b.later(start.ty) for start in starts]

    def go(self, condition: Val) -> None:
        """Go on with the body where the condition holds."""
        self.b.cond_br(condition, *self.labels[1:])
        self.b.place(self.labels[1])

    def close(self, again: Sequence[Val]) -> None:
        """Close the body, with the values of the next iteration."""
        b = self.b
        tail = b.block
        b.br(self.labels[0])
        b.lines[self.line : self.line] = [
            f"  {phi.ref} = phi {phi.ty} [ {start.ref}, %{self.before} ], [ {next_.ref}, %{tail} ]"
            for phi, start, next_ in zip(self.phis, self.starts, again, strict=True)
        ]
        b.place(self.labels[2])
