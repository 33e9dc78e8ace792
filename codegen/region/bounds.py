"""Indices that the loops' bounds prove to be inside: they are neither checked nor wrapped.

``a[i + j]`` is inside where ``j < n - i``, though neither ``i`` nor ``j`` alone says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradc.codegen.region.forms import Forms, rewritten
from gradc.codegen.region.straight import Address, Element, Known, Straight, Update, View
from gradc.ir.forms import Form


def proved(stages: Sequence[Any]) -> list[Any]:
    """Stages that check no more indices than they must."""
    return rewritten(stages, Forms(), straight=_straight)


def _straight(stage: Straight, forms: Forms) -> Straight:
    return Straight(tuple(
        replace(s, address=_address(s.address, forms))
        if isinstance(s, (Element, Update, View)) else s
        for s in stage.statements
    ))


def _address(address: Address, forms: Forms) -> Address:
    if all(known is Known.PLAIN for known in address.known):
        return address
    known = tuple(
        _known(forms[index], extent, before)
        for index, extent, before in zip(
            address.indices, address.extents, address.known, strict=True)
    )
    return replace(address, known=known)


def _known(form: Form, extent: int, before: Known) -> Known:
    if before is Known.PLAIN:
        return before
    low, high = form.least(), form.most()
    if low is None or low < -extent or (before is Known.NOTHING and high is None):
        return before
    if before is Known.NOTHING and high is not None and high >= extent:
        return before
    return Known.PLAIN if low >= 0 else Known.INSIDE
