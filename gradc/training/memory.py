"""The memory of a training run: everything that its steps carry, in one flat buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.training.epochs import LARGE, Carried

Array = np.ndarray[Any, Any]

#: bytes that every array begins at a multiple of
LINE = 64


class Memory:
    """One buffer with an array for each name of what is carried, each at a multiple of 64 bytes.

    Parameters come first, then the optimizer's state, then numbers of the epoch. What is not part
    of the training's state, as it can be made anew, comes last.
    """

    def __init__(self, what: Carried) -> None:
        from gradc.codegen.addressed import aligned

        self.what = what
        offsets, at = [], 0
        for name, type_ in zip(what.names, what.types, strict=True):
            if name in LARGE:
                self.nbytes = at
            offsets.append(at)
            at += -(-type_.nbytes // LINE) * LINE
        self.buffer = aligned(at)
        self.offsets = tuple(offsets)
        self.arrays: dict[str, Array] = {
            name: self.buffer[start : start + type_.nbytes].view(type_.dtype).reshape(type_.shape)
            for name, type_, start in zip(what.names, what.types, offsets, strict=True)
        }

    @property
    def own(self) -> list[Array]:
        """The parameters and the state."""
        return list(self.arrays.values())[: self.what.own]

    @property
    def params(self) -> list[Array]:
        """The parameters."""
        return list(self.arrays.values())[: self.what.params]

    def fill(self, own: Sequence[Array]) -> None:
        """Take parameters and state."""
        for array, given in zip(self.own, own, strict=True):
            array[...] = given

    @property
    def state(self) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """All that training goes on from, as bytes."""
        return self.buffer[: self.nbytes]
