"""The machines code is generated for: triple, CPU, features, and what the vector code may use."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gradc.codegen.machine import l2_bytes


@dataclass(frozen=True)
class Target:
    """A machine as the emitters see it.

    ``width`` is the width of a vector register in bytes: 64 (AVX-512), 32 (AVX2) or 16
    (NEON, SSE, wasm). ``fma`` says whether a fused multiply-add is one instruction, ``blas``
    whether large products may call BLAS.
    """

    triple: str
    cpu: str
    features: str
    width: int
    fma: bool
    l2: int = 1 << 20
    blas: bool = True

    def lanes(self, itemsize: int) -> int:
        """How many elements of ``itemsize`` bytes one register holds."""
        return self.width // itemsize

    @property
    def attributes(self) -> str:
        """Function attributes, so that full-width registers are used."""
        return f'nounwind "prefer-vector-width"="{self.width * 8}"'


@functools.cache
def host() -> Target:
    """The machine this process runs on."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    x86 = triple.startswith(("x86_64", "amd64"))
    if x86:
        width = 64 if features.get("avx512f") and features.get("avx512vl") else 32
        width = width if features.get("avx2") else 16
        fma = bool(features.get("fma"))
    else:
        width, fma = 16, True
    name = llvm.get_host_cpu_name()
    return Target(triple, name, features.flatten(), width, fma, l2_bytes())


_LINUX = "x86_64-unknown-linux-gnu"
_WASM = "+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint"
_WINDOWS = "x86_64-pc-windows-gnu"

#: Machines that code can be generated for from anywhere.
NAMED = {
    "x86-64-v2": Target(_LINUX, "x86-64-v2", "", 16, False),
    "x86-64-v3": Target(_LINUX, "x86-64-v3", "", 32, True),
    "x86-64-v4": Target(_LINUX, "x86-64-v4", "", 64, True),
    "x86-64-windows": Target(_WINDOWS, "x86-64-v3", "", 32, True),
    "aarch64-linux": Target("aarch64-unknown-linux-gnu", "generic", "+neon", 16, True),
    "arm64-macos": Target("arm64-apple-macosx11.0.0", "apple-m1", "", 16, True),
    "wasm32": Target("wasm32-unknown-unknown", "generic", _WASM, 16, False),
}
