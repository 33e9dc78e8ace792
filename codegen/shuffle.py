"""The order of the samples in an epoch: a random permutation that is the same on every platform.

Epoch e of seed s reads the stream of Philox4x64-10 with the key (s, e), that of
``numpy.random.Philox(key=[s, e])``, 32 bits at a time. They become integers below a bound without
bias, and these a permutation. An epoch's order depends on the seed and its number alone.
"""

from __future__ import annotations

import numpy as np

from gradc.codegen.irregular.random.integers import HALF, count_up, shuffle
from gradc.codegen.irregular.random.stream import Stream, window
from gradc.codegen.llvm import Builder, Module

#: how many samples 32-bit indices reach
LARGEST = 1 << 32


def order(samples: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The permutation of ``range(samples)`` that native code makes, in Python."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    places = np.arange(samples - 1, 0, -1)
    out = np.arange(samples, dtype=np.uint32)
    for last, other in zip(places, generator.integers(0, places, endpoint=True), strict=True):
        out[last], out[other] = out[other], out[last]
    return out


def emit_shuffle(module: Module, samples: int) -> None:
    """Add ``void @shuffle(ptr order, i64 seed, i64 epoch)`` to a module.

    ``order`` is given ``samples`` (at most 2³²) 32-bit indices.
    """
    params = [("ptr", "order"), ("i64", "seed"), ("i64", "epoch")]
    b = Builder(module, "shuffle", "void", params, linkage="private")
    out, *key = b.params
    words = window(samples)
    stream = Stream(b, b.alloca("i64", words), key, words, HALF)
    count_up(b, "i32", samples, out)
    shuffle(b, stream, b.i64(0), "i32", samples, 1, out)
    b.ret()
    b.finish()
