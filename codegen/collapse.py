"""Loops that every index walks as one become one loop; loops of one iteration go."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from gradc.codegen.loops import Nest, Phase
from gradc.codegen.statements import Accumulate, Affine, Gather, Guard, Load, Statement, Store


def collapse(nest: Nest) -> Nest:
    """Drop loops of one iteration and join adjacent loops that every index walks as one."""
    extents = nest.outer + nest.inner
    affines: list[Affine] = []
    for phase in nest.phases:
        for s in (*phase.row, *phase.body):
            affines.extend(affines_of(s))
    outer = _joined(nest.outer, 0, extents, affines)
    inner = _joined(nest.inner, len(nest.outer), extents, affines)
    last = [loop[-1] for loop in (*outer, *inner)]

    def remap(affine: Affine) -> Affine:
        return Affine(affine.offset, tuple(affine.coefficients[a] for a in last))

    phases = tuple(
        Phase(
            tuple(remapped(s, remap) for s in phase.row),
            tuple(remapped(s, remap) for s in phase.body),
        )
        for phase in nest.phases
    )

    def size(loops: list[list[int]]) -> tuple[int, ...]:
        return tuple(math.prod(extents[a] for a in loop) for loop in loops)

    return replace(nest, outer=size(outer), inner=size(inner), phases=phases)


def _joined(
    part: Sequence[int], first: int, extents: Sequence[int], affines: Sequence[Affine]
) -> list[list[int]]:
    """Runs of axes that make one loop each."""
    loops: list[list[int]] = []
    for axis in range(first, first + len(part)):
        if extents[axis] == 1:
            continue
        if loops and all(
            a.coefficients[loops[-1][-1]] == a.coefficients[axis] * extents[axis]
            for a in affines
        ):
            loops[-1].append(axis)
        else:
            loops.append([axis])
    return loops


def affines_of(statement: Statement) -> list[Affine]:
    """The indices of a statement, over the loops of its nest."""
    match statement:
        case Load():
            return [statement.index, *(g.index for g in statement.guards)]
        case Store() | Accumulate():
            return [statement.index]
        case Gather():
            return [statement.rest]
    return []


def remapped(statement: Statement, remap: Callable[[Affine], Affine]) -> Statement:
    """The statement in a nest with other loops, where its indices are what ``remap`` gives."""
    match statement:
        case Load():
            guards = tuple(Guard(remap(g.index), g.extent) for g in statement.guards)
            return replace(statement, index=remap(statement.index), guards=guards)
        case Store() | Accumulate():
            return replace(statement, index=remap(statement.index))
        case Gather():
            return replace(statement, rest=remap(statement.rest))
    return statement
