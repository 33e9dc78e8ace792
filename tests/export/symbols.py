"""The symbols of object files: ELF, Mach-O and COFF of 64 bits, and WebAssembly."""

from __future__ import annotations

import struct
from typing import NamedTuple

from gradc.codegen import jit
from gradc.codegen.targets import NAMED

#: what objects may ask of any linker: its own, and what exported libraries define for themselves
OWN = {
    "wasm32": {"__stack_pointer", "__multi3", "__ashlti3"}, "x86-64-windows": {"___chkstk_ms"},
}


class Symbols(NamedTuple):
    """The names that an object shows to a linker, and those that it leaves to one."""

    defined: set[str]
    undefined: set[str]


def undefined(text: str, name: str) -> set[str]:
    """The symbols that the code of a module for a named target leaves to libraries."""
    found = symbols(jit.compile(text, NAMED[name])).undefined - OWN.get(name, set())
    return {symbol.removeprefix("_") for symbol in found} if "macos" in name else found


def symbols(code: bytes) -> Symbols:
    if code.startswith(b"\x7fELF"):
        return _elf(code)
    if code.startswith(b"\xcf\xfa\xed\xfe"):
        return _mach_o(code)
    if code.startswith(b"\0asm"):
        return _wasm(code)
    assert struct.unpack_from("<H", code)[0] in (0x8664, 0xAA64)
    return _coff(code)


def _text(code: bytes, at: int) -> str:
    return code[at : code.index(0, at)].decode()


def _elf(code: bytes) -> Symbols:
    (start,) = struct.unpack_from("<Q", code, 0x28)
    entry, count = struct.unpack_from("<HH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, start + k * entry) for k in range(count)]
    found = Symbols(set(), set())
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != 2:  # no table of symbols
            continue
        table = code[offset : offset + size]
        for at, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
            if info >> 4:  # not local
                name = _text(code, sections[link][4] + at)
                (found.defined if section else found.undefined).add(name)
    return found


def _mach_o(code: bytes) -> Symbols:
    (commands,) = struct.unpack_from("<I", code, 16)
    at, found = 32, Symbols(set(), set())
    for _ in range(commands):
        kind, size = struct.unpack_from("<II", code, at)
        if kind == 2:
            table, count, strings, _ = struct.unpack_from("<IIII", code, at + 8)
            for k in range(count):
                name, info, *_ = struct.unpack_from("<IBBHQ", code, table + 16 * k)
                if info & 1:  # external
                    some = found.defined if info & 0x0E else found.undefined
                    some.add(_text(code, strings + name))
        at += size
    return found


def _coff(code: bytes) -> Symbols:
    table, count = struct.unpack_from("<II", code, 8)
    strings, k, found = table + 18 * count, 0, Symbols(set(), set())
    while k < count:
        at = table + 18 * k
        zero, offset = struct.unpack_from("<II", code, at)
        _, section, _, kind, more = struct.unpack_from("<IhHBB", code, at + 8)
        name = code[at : at + 8].rstrip(b"\0").decode() if zero else _text(code, strings + offset)
        if kind in (2, 105):  # external, weak
            (found.defined if section else found.undefined).add(name)
        k += 1 + more
    return found


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bytes(self) -> bytes:
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at]


def _wasm(code: bytes) -> Symbols:
    reader, imported, linking = _Reader(code, 8), [], b""
    while reader.at < len(code):
        kind, content = reader.byte(), reader.bytes()
        section = _Reader(content)
        if kind == 2:
            for _ in range(section.number()):
                section.bytes()
                name, what = section.bytes().decode(), section.byte()
                if what == 0:
                    imported.append(name)
                    section.number()
                elif what == 1:  # a table: its element type and limits
                    section.byte()
                    section.at += 1 + (section.data[section.at] & 1)
                    section.number()
                elif what == 2:  # a memory: its limits
                    limits = section.byte()
                    section.number()
                    if limits & 1:
                        section.number()
                else:  # a global: its type, whether it changes
                    section.at += 2
        elif kind == 0 and section.bytes() == b"linking":
            linking = content[section.at :]
    found = Symbols(set(), set())
    reader = _Reader(linking)
    assert reader.number() == 2
    while reader.at < len(linking):
        kind, content = reader.byte(), reader.bytes()
        if kind != 8:
            continue
        table = _Reader(content)
        for _ in range(table.number()):
            what, flags = table.byte(), table.number()
            undefined, named = flags & 0x10, flags & 0x40
            if what == 1:
                name = table.bytes().decode()
                if not undefined:
                    for _ in range(3):
                        table.number()
            elif what == 3:
                table.number()
                continue
            else:
                index = table.number()
                name = table.bytes().decode() if named or not undefined else ""
                if what == 0 and undefined and not name:
                    name = imported[index]
            if flags & 3 != 2 and what in (0, 1):  # not local
                (found.undefined if undefined else found.defined).add(name)
    return found
