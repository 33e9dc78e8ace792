"""From an optimised graph to something that runs on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.ir import interp
from gradc.ir.graph import Graph

Array = np.ndarray[Any, Any]


def compile_graph(graph: Graph) -> Callable[[Sequence[Array]], Sequence[Array]]:
    """A callable from the inputs to new, distinct output arrays."""

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        return [np.array(out) for out in interp.run(graph, inputs)]

    return run
