"""Vector math: the elementary functions as inline, branch-free LLVM code.

``emit(b, "exp", [x])`` emits e^x at the builder's position for a value of any number of lanes
of ``double`` or ``float``. Results do not depend on the number of lanes. No library function is
called; the trigonometric functions and fmod branch to a function of the module's own when
some lane has a huge argument, and lgamma, digamma and trigamma around the reflection formula when
none is negative: these leave the builder in a new block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.codegen.llvm import Builder, Val
from gradc.codegen.vecmath import (
    error,
    exponential,
    gamma,
    hyperbolic,
    inverse_trigonometric,
    logarithm,
    power,
    remainder,
    root,
    trigonometric,
)
from gradc.codegen.vecmath.vec import Vec

_EMITTERS: dict[str, Callable[..., Vec]] = {
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "sigmoid": exponential.sigmoid,
    "softplus": exponential.softplus,
    "log": logarithm.log,
    "log1p": logarithm.log1p,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "tan": trigonometric.tan,
    "asin": inverse_trigonometric.asin,
    "acos": inverse_trigonometric.acos,
    "atan": inverse_trigonometric.atan,
    "atan2": inverse_trigonometric.atan2,
    "sinh": hyperbolic.sinh,
    "cosh": hyperbolic.cosh,
    "tanh": hyperbolic.tanh,
    "sech2": hyperbolic.sech2,
    "asinh": hyperbolic.asinh,
    "acosh": hyperbolic.acosh,
    "atanh": hyperbolic.atanh,
    "pow": power.pow_,
    "cube": power.cube,
    "fourth": power.fourth,
    "cbrt": power.cbrt,
    "hypot": power.hypot,
    "sqrt": root.sqrt,
    "fmod": remainder.fmod,
    "erf": error.erf,
    "erfc": error.erfc,
    "gaussian": error.gaussian,
    "lgamma": gamma.lgamma,
    "digamma": gamma.digamma,
    "trigamma": gamma.trigamma,
}

#: The functions that :func:`emit` knows.
FUNCTIONS = frozenset(_EMITTERS)


def emit(b: Builder, name: str, args: Sequence[Val]) -> Val:
    """Emit the function ``name`` of ``args`` (all of one type) and return its value.

    Raises ``KeyError`` for a name not in :data:`FUNCTIONS`.
    """
    return _EMITTERS[name](*(Vec(b, a) for a in args)).val


#: Functions of one argument that cost together about as much as one: name -> (both, which).
PAIRS: dict[str, tuple[Callable[[Vec], tuple[Vec, Vec]], int]] = {
    "sin": (trigonometric.sin_cos, 0),
    "cos": (trigonometric.sin_cos, 1),
    "tanh": (hyperbolic.tanh_sech2, 0),
    "sech2": (hyperbolic.tanh_sech2, 1),
}


def emit_pair(b: Builder, name: str, x: Val) -> tuple[Val, Val]:
    """Emit both functions of the pair that ``name`` of :data:`PAIRS` is in."""
    first, second = PAIRS[name][0](Vec(b, x))
    return first.val, second.val
