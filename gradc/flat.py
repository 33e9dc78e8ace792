"""``a.flat``: an array as one row, to read, write and go through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gradc.errors import ReadOnlyError


class Flat:
    """The elements of an array in C order."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def __len__(self) -> int:
        return int(self.base.size)

    def __iter__(self) -> Iterator[Any]:
        return iter(np.ravel(self.base))

    def __getitem__(self, index: Any) -> Any:
        found = np.ravel(self.base)[index]
        return found.copy() if found.ndim else found

    def __setitem__(self, index: Any, values: Any) -> None:
        row = self.base.reshape(-1)
        if row.cell is not self.base.cell:
            raise ReadOnlyError(
                "a write through .flat of a view that has no row of its own",
                remedy="copy the view first (w = w.copy())",
            )
        wanted = np.arange(self.base.size)[index].size
        given = np.ravel(values)
        if given.size and wanted:  # NumPy repeats the values, or leaves some out
            row[index] = given[np.arange(wanted) % given.size] if given.size > 1 else given[0]

    def copy(self) -> Any:
        """The elements as a new array."""
        return self[:]
