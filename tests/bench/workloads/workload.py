"""What a workload is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Loss = Callable[..., Any]
#: NumPy arrays in; the value and the gradients, as NumPy's, out
Contender = Callable[..., tuple[Any, Sequence[Array]]]

#: what a transcendental counts for: a polynomial of degree ten with its range reduction
CALL = 20


def directions(parameters: Sequence[Array]) -> list[Array]:
    """The direction along which a gradient is checked, for each parameter."""
    rng = np.random.default_rng(1)
    return [np.asarray(rng.standard_normal(np.shape(x))) for x in parameters]


@dataclass(frozen=True)
class Workload:
    """A scalar function of parameters (differentiated) and data, as positional arguments.

    ``loss(xp)`` is the function in terms of a namespace: NumPy's names, and ``softmax`` and
    ``logsumexp`` with ``axis`` and ``keepdims``, for which systems have functions of their own.
    ``make`` draws (parameters, data) in float64 and integers. ``by_hand`` is the gradient written
    in NumPy, ``loops`` in the Python that Numba compiles; both take all arguments and return
    (value, gradients). ``flops`` and ``numbers`` are what value and gradient need at least: the
    arithmetic, with transcendentals as ``CALL``, and the floats that are read and written.
    ``scalars`` says that the function may be unrolled to a graph of scalars. Of ``kind`` "hvp" the
    contenders return the inner product of gradient and direction, and the Hessian times the
    direction; parameters are followed by their directions, then by data. Of ``kind`` "kernel" no
    one has written the gradient: ``by_hand`` gives its slope along ``directions``.

    Where JAX wants a loop written otherwise, ``jax(jax module)`` is the loss. ``c`` is C by hand:
    ``double gradient(arguments..., gradients...)``, all of them pointers to doubles. ``systems``
    are those that can do it, all if None. ``primal()`` is the value alone, by Numba.
    """

    name: str
    loss: Callable[[Any], Loss]
    by_hand: Contender
    make: Callable[[np.random.Generator], tuple[Sequence[Array], Sequence[Array]]]
    flops: float
    numbers: float
    loops: Callable[..., Any] | None = None
    scalars: bool = False
    kind: str = "gradient"
    dtypes: Sequence[str] = ("float64", "float32")
    jax: Callable[[Any], Loss] | None = None
    c: str = ""
    systems: Sequence[str] | None = None
    primal: Callable[[], Loss] | None = None

    def arguments(self, dtype: str) -> tuple[list[Array], int]:
        """All arguments, floats in one dtype, and how many are parameters."""
        parameters, data = self.make(np.random.default_rng(0))
        arrays = [
            np.array(a, dtype if np.asarray(a).dtype.kind == "f" else None, order="C")
            for a in (*parameters, *data)
        ]
        return arrays, len(parameters)
