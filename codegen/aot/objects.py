"""Object code, assembly and checked LLVM text for machines that are not this process."""

from __future__ import annotations

import functools
import threading

import llvmlite.binding as llvm

from gradc.codegen.targets import Target

_lock = threading.Lock()


@functools.cache
def _machine(target: Target) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    static = target.triple.startswith("wasm")
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2,
        reloc="static" if static else "pic", codemodel="default",
    )


def compile(text: str, target: Target) -> bytes:
    """Position-independent object code of a module's text."""
    with _lock:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.verify()
        code: bytes = _machine(target).emit_object(module)
        return code


def exported(target: Target) -> str:
    """The linkage of functions that a library shows."""
    return "dllexport" if "windows" in target.triple else "external"
