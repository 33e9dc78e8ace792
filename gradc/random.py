"""Random numbers as functions of a key, in compiled code and outside of it: NumPy's, to the bit.

A key is an array of two 64-bit words, the key of NumPy's bit generator Philox. The same key gives
the same numbers, on every machine and on any number of threads; for others, make other keys of it:

>>> import numpy as np, gradc
>>> key = gradc.random.key(42)
>>> @gradc.compile
... def noisy(x, key):
...     return x + 0.1 * gradc.random.normal(key, x.shape)
>>> y = noisy(np.zeros(3), key)
>>> first, second = gradc.random.split(key)     # two keys in place of one
>>> step = gradc.random.fold_in(key, 7)         # the key of step 7; the 7 may be traced

Each function says how to have its numbers of NumPy alone: what a key gives is what is drawn first
from ``np.random.Generator(np.random.Philox(key=key))``.

>>> generator = np.random.Generator(np.random.Philox(key=key))
>>> bool(np.all(y == 0.1 * generator.standard_normal(3)))
True

To differentiation the numbers are constants. Keys come from the counters (index, 0, 0, domain) of
the key that they are made of, numbers from (·, ·, ·, 0): no stream overlaps another of its key.

- Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import DTypeError, OptionError, ShapeError
from gradc.ir import ops
from gradc.ir.ops import Op
from gradc.numpy_api.values import as_tracer, is_traced, shape_of, to_value
from gradc.random_arguments import (
    bound,
    check_key,
    check_shape,
    float_dtype,
    is_number,
    known_integer,
    parameter,
    population,
    shown,
    traced_integer,
)
from gradc.tracer import Tracer, fresh

__all__ = [
    "bernoulli",
    "choice",
    "fold_in",
    "integers",
    "key",
    "normal",
    "permutation",
    "split",
    "uniform",
]

_U64, _F64 = np.dtype(np.uint64), np.dtype(np.float64)
#: what keys are made for: the highest word of the counter
_SPLIT, FOLD_IN = 1, 2


# -- keys ------------------------------------------------------------------------------------------


def key(seed: Any) -> Any:
    """The key of a seed: two 64-bit words, as NumPy derives them.

    seed: an integer that is not negative. One that is traced has 64 bits, and gives the same key
        as when it is known (a negative one, that of ``seed + 2**64``).

    The key is that of ``np.random.Philox(seed)``, which hashes the seed by ``SeedSequence``:

    >>> import numpy as np, gradc
    >>> state = np.random.Philox(42).state["state"]
    >>> bool(np.all(gradc.random.key(42) == state["key"]))
    True

    Raises OptionError for a negative seed, ArgumentError for what is no integer.
    """
    if is_traced(seed):
        return _apply(ops.random_key, (traced_integer(seed, "a seed"), _U64))
    number = known_integer(seed, "a seed")
    if number < 0:
        raise OptionError(f"a seed is not negative: {number}", remedy="gradc.random.key(abs(seed))")
    return np.random.SeedSequence(number).generate_state(2, np.uint64)


def split(key: Any, num: Any = 2) -> Any:
    """``num`` keys in place of one, as an array of shape ``(num, 2)``.

    num: how many, or a shape of keys. Key i does not depend on how many there are.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> first, second = gradc.random.split(key)
    >>> philox = np.random.Philox(key=key, counter=[1, 0, 0, 1])   # the 1 in front: of key 1
    >>> bool(np.all(second == philox.random_raw(2)))
    True

    Raises ArgumentError for what is no key, ShapeError for a negative number.
    """
    shape = check_shape(num)
    index = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
    return _apply(ops.random_keys, (check_key(key), _U64), (index, _U64), domain=_SPLIT)


def fold_in(key: Any, data: Any) -> Any:
    """The key that a key and an integer make: of a step, an epoch, a sample.

    data: an integer, modulo 2⁶⁴; it may be traced, such as the index of a loop.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> philox = np.random.Philox(key=key, counter=[7, 0, 0, 2])   # the 7 in front: data
    >>> bool(np.all(gradc.random.fold_in(key, 7) == philox.random_raw(2)))
    True

    Raises ArgumentError for what is no key, or no integer.
    """
    if is_traced(data):
        index: Any = traced_integer(data, "what is folded into a key")
    else:
        index = np.uint64(known_integer(data, "what is folded into a key") % (1 << 64))
    return _apply(ops.random_keys, (check_key(key), _U64), (index, _U64), domain=FOLD_IN)


# -- numbers ---------------------------------------------------------------------------------------


def uniform(
    key: Any, shape: Any = (), dtype: Any = np.float64, minval: Any = 0.0, maxval: Any = 1.0
) -> Any:
    """Numbers evenly distributed in [minval, maxval), of a shape; float64 or float32.

    minval, maxval: numbers, or arrays that broadcast to the shape; they may be traced, and are
        differentiated: the result is ``minval + (maxval - minval) * u``.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.uniform(key, (3, 4)) == generator.random((3, 4))))
    True

    float32 as ``generator.random(shape, dtype=np.float32)``.

    Raises ArgumentError for what is no key, DTypeError for another dtype, ShapeError for a shape
    that is negative or smaller than that of the bounds, OptionError for known bounds with
    minval > maxval.
    """
    shape, kind = check_shape(shape), float_dtype(dtype)
    numbers = _apply(ops.random_uniform, (check_key(key), _U64), shape=shape, dtype=kind)
    if is_number(minval, 0) and is_number(maxval, 1):
        return numbers
    low, high = parameter(minval, kind, shape, "minval"), parameter(maxval, kind, shape, "maxval")
    if not isinstance(low, Tracer) and not isinstance(high, Tracer) and not np.all(low <= high):
        raise OptionError(
            f"minval is greater than maxval: {shown(minval)} and {shown(maxval)}",
            remedy="exchange the two",
        )
    return low + (high - low) * numbers


def normal(
    key: Any, shape: Any = (), dtype: Any = np.float64, loc: Any = 0.0, scale: Any = 1.0
) -> Any:
    """Normally distributed numbers of a mean and a standard deviation; float64 or float32.

    loc, scale: numbers, or arrays that broadcast to the shape; they may be traced, and are
        differentiated: the result is ``loc + scale * z``.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.normal(key, 5) == generator.standard_normal(5)))
    True

    float32 as ``generator.standard_normal(shape, dtype=np.float32)``. Of numbers beyond ±3.65 (one
    in four thousand) NumPy takes the logarithm from the machine's C library, and compiled code
    from gradc, the same everywhere: they may differ in the last bit, in one number of a million.

    Raises ArgumentError for what is no key, DTypeError for another dtype, ShapeError for a shape
    that is negative or smaller than that of the parameters, OptionError for a known scale below 0.
    """
    shape, kind = check_shape(shape), float_dtype(dtype)
    numbers = _apply(ops.random_normal, (check_key(key), _U64), shape=shape, dtype=kind)
    if not is_number(scale, 1):
        factor = parameter(scale, kind, shape, "scale")
        if not isinstance(factor, Tracer) and not np.all(factor >= 0):
            raise OptionError(
                f"a standard deviation is not negative: scale={shown(scale)}",
                remedy="scale=abs(scale)",
            )
        numbers = factor * numbers
    return numbers if is_number(loc, 0) else parameter(loc, kind, shape, "loc") + numbers


def integers(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = np.int64) -> Any:
    """Integers that are all as likely, from minval to maxval - 1.

    minval, maxval: integers; they may be traced, and shall then be numbers of the dtype.
    dtype: of integers, or bool.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.integers(key, 9, 1, 7) == generator.integers(1, 7, 9)))
    True

    Raises ArgumentError for what is no key or no integer, DTypeError for another dtype, ShapeError
    for a negative shape, OptionError for bounds with minval >= maxval (traced ones: when the
    compiled code runs) or outside the dtype.
    """
    shape, kind = check_shape(shape), np.dtype(dtype)
    if kind.kind not in "iub":
        raise DTypeError(
            f"random integers of {kind}", remedy="dtype=np.int64, or gradc.random.uniform"
        )
    low = bound(minval, "minval", kind, 0)
    last = bound(maxval, "maxval", kind, 1)
    if not isinstance(low, Tracer) and not isinstance(last, Tracer) and low > last:
        raise OptionError(
            f"no integer is at least {shown(minval)} and less than {shown(maxval)}",
            remedy="maxval is one more than the greatest: integers(key, shape, 0, n)",
        )
    operands = (check_key(key), _U64), (low, kind), (last, kind)
    return _apply(ops.random_integers, *operands, shape=shape)


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None) -> Any:
    """True with the probability p, else False.

    p: a number, or an array that broadcasts to the shape; it may be traced.
    shape: that of p if not given.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.bernoulli(key, 0.3, 9) == (generator.random(9) < 0.3)))
    True

    Raises ArgumentError for what is no key, ShapeError for a shape that is negative or smaller
    than that of p, OptionError for a known p outside 0 .. 1.
    """
    size = shape_of(p) if shape is None else check_shape(shape)
    chance = parameter(p, _F64, size, "p")
    if not isinstance(chance, Tracer) and not np.all((chance >= 0) & (chance <= 1)):
        raise OptionError(
            f"a probability is between 0 and 1: p={shown(p)}", remedy="np.clip(p, 0, 1)"
        )
    return _apply(ops.random_uniform, (check_key(key), _U64), shape=size, dtype=_F64) < chance


def permutation(key: Any, x: Any, axis: int = 0) -> Any:
    """The numbers 0 .. x - 1, or the slices of an array along an axis, in random order.

    x: an integer that is known while tracing, or an array, which may be traced.

    >>> import numpy as np, gradc
    >>> key = gradc.random.key(0)
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.permutation(key, 9) == generator.permutation(9)))
    True

    Raises ArgumentError for what is no key, AxisError for an axis that x has not, OptionError for
    a negative number or more than 2³² of them.
    """
    n, array = population(x, axis)
    order = _apply(ops.random_permutation, (check_key(key), _U64), n=n)
    return order if array is None else _taken(array, order, axis)


def choice(
    key: Any, a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0
) -> Any:
    """Random ones of the numbers 0 .. a - 1, or of the slices of an array along an axis.

    a: an integer that is known while tracing, or an array, which may be traced.
    replace: whether the same may come twice.
    p: how likely each is, a vector; they sum to one. If traced, they are divided by their sum.

    >>> import numpy as np, gradc
    >>> key, p = gradc.random.key(0), [0.2, 0.5, 0.3]
    >>> generator = np.random.Generator(np.random.Philox(key=key))
    >>> bool(np.all(gradc.random.choice(key, 3, 9, p=p) == generator.choice(3, 9, p=p)))
    True

    Raises ArgumentError for what is no key, ShapeError for a negative shape or a p of another
    length, AxisError, OptionError for more than there are without replacement, and for
    probabilities that are negative, do not sum to one, or of which too few are positive (traced
    ones: when the compiled code runs).
    """
    n, array = population(a, axis)
    shape = check_shape(shape)
    size = math.prod(shape)
    if size > n and not (replace and n):
        raise OptionError(
            f"{size} were asked of {n}{'' if replace else ' without replacement'}",
            remedy="replace=True, or a smaller shape" if n else "a population that is not empty",
        )
    if p is not None:
        found = _by_weights(key, n, size, replace, p)
    elif replace:
        found = integers(key, (size,), 0, max(n, 1))
    else:
        found = _apply(ops.random_sample, (check_key(key), _U64), n=n, size=size)
    found = np.reshape(found, shape)
    if array is not None:
        return _taken(array, found, axis)
    return found if isinstance(found, Tracer) else found[()]


def _taken(array: Any, found: Any, axis: int) -> Any:
    """The slices of an array that were found; NumPy does not ask whether indices are traced."""
    return np.take(as_tracer(array) if isinstance(found, Tracer) else array, found, axis=axis)


def _by_weights(key: Any, n: int, size: int, replace: bool, p: Any) -> Any:
    weights = as_tracer(p) if is_traced(p) else np.asarray(p, np.float64)
    if weights.shape != (n,):
        raise ShapeError(
            f"p has the shape {weights.shape} for a population of {n}",
            remedy="p holds one probability for each",
        )
    if not isinstance(weights, Tracer):
        # As exact as NumPy asks for.
        if not np.all(weights >= 0) or abs(math.fsum(weights) - 1) > math.sqrt(2.0**-52):
            raise OptionError(
                "probabilities are not negative and sum to one",
                remedy="p=weights / np.sum(weights)",
            )
        if not replace and np.count_nonzero(weights) < size:
            raise OptionError(
                f"{size} were asked of {np.count_nonzero(weights)} that are possible",
                remedy="replace=True, or a smaller shape",
            )
    operands = (check_key(key), _U64), (weights, _F64)
    return _apply(ops.random_weighted, *operands, size=size, replace=bool(replace))


def _apply(op: Op, *operands: tuple[Any, np.dtype[Any]], **attrs: Any) -> Any:
    """The op on operands with their dtypes: a node while tracing, else what NumPy gives now."""
    if current() is None:
        result = op.numpy(*(np.asarray(x, dtype) for x, dtype in operands), **attrs)
        return np.asarray(result)[()]
    return fresh(op(*(to_value(x, dtype) for x, dtype in operands), **attrs))
