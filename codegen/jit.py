"""From LLVM text to addresses: parse, generate code for this machine, link, keep alive."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping

import llvmlite.binding as llvm

from gradc.codegen import elf
from gradc.codegen.link import Library
from gradc.codegen.link import link as link_library
from gradc.codegen.targets import Target, host

_lock = threading.Lock()


@functools.cache
def _machine(target: Target) -> llvm.TargetMachine:
    if target == host():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple)
    if elf.loads(target.triple):
        # All sections lie side by side. Addresses relative to the code are part of the
        # instructions that use them; absolute ones take an instruction of ten bytes each.
        return machine.create_target_machine(
            cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
        )
    return machine.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, jit=True, codemodel="jitdefault"
    )


@functools.cache
def _jit() -> llvm.LLJIT:
    target = host()
    machine = _machine(target)
    return llvm.create_lljit_compiler(machine, suppress_errors=True)


_serial = 0


def parse(text: str, target: Target | None = None) -> llvm.ModuleRef:
    """Parse and verify LLVM text for the target (host by default)."""
    target = target or host()
    module = llvm.parse_assembly(f'target triple = "{target.triple}"\n' + text)
    module.verify()
    return module


def assembly(text: str, target: Target | None = None) -> str:
    """The target's assembly of a module."""
    with _lock:
        target = target or host()
        return str(_machine(target).emit_assembly(parse(text, target)))


def compile(text: str, target: Target | None = None) -> bytes:
    """Object code from a module's text, for this machine or another."""
    target = target or host()
    with _lock:
        # A context of its own, so that types and constants go with the module.
        text = f'target triple = "{target.triple}"\n' + text
        module = llvm.parse_assembly(text, llvm.create_context())
        object_code: bytes = _machine(target).emit_object(module)
        return object_code


def link(object_code: bytes, names: tuple[str, ...]) -> tuple[object, dict[str, int]]:
    """Load object code with LLVM's linker: what it belongs to, and the addresses of names."""
    global _serial
    with _lock:
        _serial += 1
        builder = llvm.JITLibraryBuilder().add_object_img(object_code)
        for name in names:
            builder.export_symbol(name)
        tracker = builder.link(_jit(), f"gradc{_serial}")
        return tracker, {name: tracker[name] for name in names}


def load(
    text: str, exports: tuple[str, ...], externals: Mapping[str, int] | None = None
) -> Library:
    """Compile a module for this machine and return the addresses of its exports."""
    return link_library(compile(text), exports, externals)
