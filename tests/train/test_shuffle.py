"""The order of samples against a reference that shares nothing with the implementation."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest

from gradc.codegen import jit
from gradc.codegen.llvm import Module
from gradc.codegen.shuffle import emit_shuffle, order
from gradc.codegen.targets import host

WORD, HALF = (1 << 64) - 1, (1 << 32) - 1


def philox(counter, key):
    """Philox4x64-10 as in the paper (Salmon et al., 2011, figure 3)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [
            (second >> 64) ^ c[1] ^ k[0], second & WORD,
            (first >> 64) ^ c[3] ^ k[1], first & WORD,
        ]
        k = [(k[0] + 0x9E3779B97F4A7C15) & WORD, (k[1] + 0xBB67AE8584CAA73B) & WORD]
    return c


def reference(samples, seed, epoch):
    """Fisher-Yates with Lemire's integers from 32-bit halves."""
    counter, halves = 0, []

    def draw():
        nonlocal counter
        if not halves:
            counter += 1
            for word in philox((counter, 0, 0, 0), (seed, epoch)):
                halves.extend((word & HALF, word >> 32))
        return halves.pop(0)

    out = list(range(samples))
    for last in range(samples - 1, 0, -1):
        bound = last + 1
        while (product := draw() * bound) & HALF < (HALF + 1 - bound) % bound:
            pass
        other = product >> 32
        out[last], out[other] = out[other], out[last]
    return out


def native(samples, seed, epoch):
    module = Module(host())
    emit_shuffle(module, samples)
    text = str(module).replace("define private void @shuffle", "define void @shuffle")
    library = jit.load(text, ("shuffle",))
    shuffle = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64
    )(library.address("shuffle"))
    out = np.empty(samples, np.uint32)
    shuffle(out.ctypes.data, seed, epoch)
    return out.tolist()


def test_philox_of_the_paper():
    """The known answers that come with the authors' Random123 library."""
    assert philox((0, 0, 0, 0), (0, 0)) == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    ]
    assert philox((WORD,) * 4, (WORD,) * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 1797])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (7, 3), (WORD, 10**6)])
def test_all_forms_agree(samples, seed, epoch):
    expected = reference(samples, seed, epoch)
    assert sorted(expected) == list(range(samples))
    assert order(samples, seed, epoch).tolist() == expected
    assert native(samples, seed, epoch) == expected


def test_the_order_never_changes():
    """What is trained with a seed today can be trained again on another platform, years on."""
    assert order(10, 0, 0).tolist() == [3, 5, 6, 7, 8, 2, 1, 4, 9, 0]
    assert order(10, 0, 1).tolist() == [6, 8, 1, 4, 3, 0, 5, 2, 7, 9]
    assert order(10, 1, 0).tolist() == [6, 3, 9, 1, 0, 8, 7, 5, 2, 4]


def test_every_permutation_is_as_likely():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for epoch in range(2400):
        counts[tuple(order(4, 5, epoch).tolist())] += 1
    chi2 = sum((n - 100) ** 2 / 100 for n in counts.values())
    assert chi2 < 60  # 23 degrees of freedom: above with probability 4e-5
