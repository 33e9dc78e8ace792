"""Random numbers as functions of a key: two words of 64 bits, the key of Philox4x64-10.

Their meaning is NumPy's: what ``np.random.Generator(np.random.Philox(key=key))``, new and not yet
drawn from, gives. A key's own stream has the counters (·, ·, ·, 0); the keys that are made of it
come from the counters (index, 0, 0, domain), so that no stream overlaps another.

- Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.ops.base import Attrs, Op, Sample
from gradc.ir.types import F64, I64, TensorType

U64 = np.dtype(np.uint64)
KEY = TensorType(U64, (2,))


class ParameterError(ValueError):
    """Parameters of random numbers, known only when the program runs, that are none."""


def _generator(key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))


def _check_key(types: Sequence[TensorType]) -> None:
    if (types[0].dtype, types[0].shape) != (U64, (2,)):
        raise TypeError(f"a key is uint64[2], not {types[0]}")


def _check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if any(d < 0 for d in shape):
        raise ValueError(f"negative dimensions in the shape {tuple(shape)}")
    return tuple(shape)


def _key_of_seed_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (seed,) = types
    if (seed.dtype, seed.shape) != (U64, ()):
        raise TypeError(f"a seed is a uint64, not {seed}")
    return KEY


def _keys_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    if types[1].dtype != U64:
        raise TypeError(f"the numbers of keys are uint64, not {types[1]}")
    return TensorType(U64, (*types[1].shape, 2))


def _keys_numpy(key: Any, index: Any, domain: int) -> Any:
    """The first two words of the block that follows the counter (index, 0, 0, domain)."""
    index = np.asarray(index)
    out = np.empty((index.size, 2), np.uint64)
    for row, i in zip(out, index.reshape(-1), strict=True):
        counter = np.array([i, 0, 0, domain], np.uint64)
        row[:] = np.random.Philox(key=np.array(key, np.uint64), counter=counter).random_raw(2)
    return out.reshape(*index.shape, 2)


def _floats_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    if attrs["dtype"].kind != "f":
        raise TypeError(f"random numbers of {attrs['dtype']}")
    return TensorType(attrs["dtype"], _check_shape(attrs["shape"]))


def _integers_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    low, last = types[1:]
    if low.shape or last.shape or low.dtype != last.dtype or low.dtype.kind not in "iub":
        raise TypeError(f"bounds are two integers of one dtype, not {low} and {last}")
    return TensorType(low.dtype, _check_shape(attrs["shape"]))


def _integers_numpy(key: Any, low: Any, last: Any, shape: tuple[int, ...]) -> Any:
    if low > last:
        raise ParameterError(WRONG["random_integers"])
    generator = _generator(key)
    return generator.integers(int(low), int(last), shape, low.dtype.type, endpoint=True)


def _permutation_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    return TensorType(I64, _check_shape((attrs["n"],)))


def _sample_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    if attrs["size"] > attrs["n"]:
        raise ValueError(f"{attrs['size']} of {attrs['n']} without replacement")
    return TensorType(I64, _check_shape((attrs["size"],)))


def _weighted_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_key(types)
    p, size = types[1], attrs["size"]
    if p.dtype != F64 or p.rank != 1:
        raise TypeError(f"probabilities are a vector of float64, not {p}")
    if size and not (p.size if attrs["replace"] else size <= p.size):
        raise ValueError(f"{size} of {p.size}")
    return TensorType(I64, _check_shape((size,)))


def _weighted_numpy(key: Any, p: Any, size: int, replace: bool) -> Any:
    # NumPy takes weights that sum to one to 1e-8, which traced ones need not do.
    total = p.sum()
    if not (p >= 0).all() or not 0 < total < math.inf:
        raise ParameterError(WRONG["random_weighted"])
    if not replace and np.count_nonzero(p) < size:
        raise ParameterError(WRONG["random_weighted"])
    generator, weights = _generator(key), p.copy()
    found = np.empty(0, np.int64)
    while found.size < size:
        u = generator.random(size - found.size)
        weights[found] = 0 if not replace else weights[found]
        cdf = np.cumsum(weights)
        cdf /= cdf[-1]
        new = cdf.searchsorted(u, side="right")
        if not replace:
            new = new[np.sort(np.unique(new, return_index=True)[1])]
        found = np.concatenate([found, new])
    return found


#: what is wrong with operands that are known only when the program runs
WRONG = {
    "random_integers": "integers are drawn from an empty range: its last is less than its first",
    "random_weighted": "weights are negative, not finite, or too few of them are positive",
}

_WORDS = (0.0, float(1 << 62))


def _samples(*attrs: Attrs) -> tuple[Sample, ...]:
    return tuple(Sample(((2,),), a, (_WORDS,), ("uint64",)) for a in attrs)


random_key = Op(
    name="random_key", family="random", infer=_key_of_seed_type, kinds="u",
    numpy=lambda seed: np.random.SeedSequence(int(seed)).generate_state(2, np.uint64),
    samples=(Sample(((),), {}, (_WORDS,), ("uint64",)),),
)

random_keys = Op(
    name="random_keys", family="random", infer=_keys_type, numpy=_keys_numpy, kinds="u",
    samples=tuple(
        Sample(((2,), shape), {"domain": domain}, (_WORDS, _WORDS), ("uint64", "uint64"))
        for shape, domain in (((), 2), ((5,), 1), ((0,), 1), ((2, 3), 2))
    ),
)

_FLOATS = _samples(*(
    {"shape": shape, "dtype": np.dtype(dtype)}
    for shape in ((), (1,), (7,), (300,), (0, 3), (5, 41)) for dtype in ("float64", "float32")
))

random_uniform = Op(
    name="random_uniform", family="random", infer=_floats_type, kinds="u", samples=_FLOATS,
    numpy=lambda key, shape, dtype: _generator(key).random(shape, dtype.type),
)

random_normal = Op(
    name="random_normal", family="random", infer=_floats_type, kinds="u", samples=_FLOATS,
    numpy=lambda key, shape, dtype: _generator(key).standard_normal(shape, dtype.type),
)

random_integers = Op(
    name="random_integers", family="random", infer=_integers_type, numpy=_integers_numpy,
    kinds="iu", samples=tuple(
        Sample(((2,), (), ()), {"shape": shape}, (_WORDS, (0, 3), (3, 100)), ("uint64", None, None))
        for shape in ((), (7,), (300,), (0,), (5, 41))
    ),
)

random_permutation = Op(
    name="random_permutation", family="random", infer=_permutation_type, kinds="u",
    numpy=lambda key, n: _generator(key).permutation(n),
    samples=_samples({"n": 0}, {"n": 1}, {"n": 2}, {"n": 300}),
)

random_sample = Op(
    name="random_sample", family="random", infer=_sample_type, kinds="u",
    numpy=lambda key, n, size: _generator(key).choice(n, size, replace=False),
    samples=_samples({"n": 9, "size": 0}, {"n": 9, "size": 4}, {"n": 40, "size": 40},
                     {"n": 10001, "size": 3}, {"n": 10001, "size": 900}),
)

random_weighted = Op(
    name="random_weighted", family="random", infer=_weighted_type, numpy=_weighted_numpy,
    kinds="u", samples=tuple(
        Sample(((2,), (n,)), {"size": size, "replace": replace}, (_WORDS, (0.1, 1.0)),
               ("uint64", "float64"))
        for n, size, replace in ((5, 0, True), (5, 40, True), (9, 9, False), (50, 7, False))
    ),
)
