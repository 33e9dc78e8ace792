"""Object code into memory without LLVM: x86-64 ELF, as this package emits it.

LLVM's linker would do the same, but a process that finds all its code in the cache need not load
LLVM at all, which takes as long as the rest of the first call. Emitted modules refer to nothing
outside themselves (globals are ``dso_local``): a loader has to place sections and fill in
addresses, no more (System V ABI, AMD64 supplement, 4.4). Whatever else an object holds is left to
LLVM.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from typing import Any, NamedTuple

_HEAD = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_RELOCATABLE, _X86_64 = 1, 62
_NOBITS, _SYMTAB, _RELA, _UNWIND = 8, 2, 4, 0x70000001
_ALLOC, _EXECUTABLE, _THREAD_LOCAL = 0x2, 0x4, 0x400
_GLOBAL = 1
_ABSOLUTE_64, _RELATIVE_32, _CALL_32 = 1, 2, 4  # R_X86_64_64, _PC32, _PLT32


class Unsupported(Exception):
    """The object, or the platform, needs a real linker."""


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class Loaded:
    """Code in memory, as long as this is referenced; ``names`` are the addresses of its symbols."""

    def __init__(self, object_code: bytes) -> None:
        if not supported():
            raise Unsupported("only Linux on x86-64")
        sections = _sections(object_code)
        places, executable, size = _layout(sections)
        self._memory = mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # As long as this view of it is alive, the memory cannot be unmapped.
        self._view = ctypes.c_char.from_buffer(self._memory)
        self._base = ctypes.addressof(self._view)
        for k, at in places.items():
            section = sections[k]
            if section.type != _NOBITS:
                end = section.offset + section.size
                self._memory[at : at + section.size] = object_code[section.offset : end]
        self.names = self._relocate(object_code, sections, places)
        if executable and _protect()(self._base, executable, mmap.PROT_READ | mmap.PROT_EXEC):
            raise Unsupported("memory cannot be made executable")

    def _relocate(
        self, code: bytes, sections: list[_Section], places: dict[int, int]
    ) -> dict[str, int]:
        names: dict[str, int] = {}
        for section in sections:
            if section.type == _SYMTAB:
                values, names = self._symbols(code, section, sections, places)
        for section in sections:
            if section.type != _RELA or section.info not in places:
                continue
            start = places[section.info]
            data = code[section.offset : section.offset + section.size]
            for offset, info, addend in struct.iter_unpack("<QQq", data):
                value = values[info >> 32]
                if value is None:
                    raise Unsupported("a symbol without a place")
                kind, at = info & 0xFFFFFFFF, start + offset
                if kind == _ABSOLUTE_64:
                    struct.pack_into("<Q", self._memory, at, value + addend)
                elif kind in (_RELATIVE_32, _CALL_32):
                    struct.pack_into("<i", self._memory, at, value + addend - self._base - at)
                else:
                    raise Unsupported(f"a relocation of type {kind}")
        return names

    def _symbols(
        self, code: bytes, table: _Section, sections: list[_Section], places: dict[int, int]
    ) -> tuple[list[int | None], dict[str, int]]:
        """The addresses of all symbols by number, and of the global ones by name."""
        values: list[int | None] = []
        names: dict[str, int] = {}
        text = sections[table.link].offset
        data = code[table.offset : table.offset + table.size]
        for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", data):
            at = places.get(section)
            values.append(None if at is None else self._base + at + value)
            if info >> 4 == _GLOBAL and at is not None:
                end = code.index(b"\0", text + name)
                names[code[text + name : end].decode()] = self._base + at + value
        return values, names


def supported() -> bool:
    """Whether objects of this platform are what is loaded here."""
    if sys.platform != "linux":
        return False
    return os.uname().machine == "x86_64" and sys.maxsize > 1 << 32


def loads(triple: str) -> bool:
    """Whether objects for a machine are of the format that is loaded here."""
    return triple.startswith("x86_64") and "linux" in triple


def _sections(code: bytes) -> list[_Section]:
    if code[:7] != _HEAD or struct.unpack_from("<HH", code, 16) != (_RELOCATABLE, _X86_64):
        raise Unsupported("no relocatable ELF file for x86-64")
    (start,) = struct.unpack_from("<Q", code, 0x28)
    entry, count = struct.unpack_from("<HH", code, 0x3A)
    found = [
        _Section(*struct.unpack_from("<IIQQQQIIQQ", code, start + k * entry)) for k in range(count)
    ]
    if any(s.flags & _THREAD_LOCAL for s in found):
        raise Unsupported("thread-local data")
    return found


def _layout(sections: list[_Section]) -> tuple[dict[int, int], int, int]:
    """Offsets of the sections in memory, the bytes that are executable, and all bytes."""
    places: dict[int, int] = {}
    at = executable = 0
    for wanted in (_EXECUTABLE, 0):
        for k, section in enumerate(sections):
            # Nothing is ever thrown through this code, so that tables for unwinding are not needed.
            if not section.flags & _ALLOC or section.type == _UNWIND:
                continue
            if section.flags & _EXECUTABLE == wanted:
                align = max(section.alignment, 1)
                if align > mmap.PAGESIZE:
                    raise Unsupported("an alignment beyond a page")
                at = -(-at // align) * align
                places[k] = at
                at += section.size
        if wanted:
            at = executable = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
    return places, executable, at


def _protect() -> Any:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
