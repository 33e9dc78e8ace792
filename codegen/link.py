"""From object code to addresses in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import NamedTuple

from gradc.codegen import elf


class Library(NamedTuple):
    """A loaded module. Addresses stay valid while the library is referenced."""

    owner: object
    names: Mapping[str, int]

    def address(self, name: str) -> int:
        """The address of an exported function or global."""
        return self.names[name]


def link(
    object_code: bytes, exports: tuple[str, ...], externals: Mapping[str, int] | None = None
) -> Library:
    """Load object code into this process and find the addresses of its exports.

    ``externals`` maps the module's external names, in slot order, to their addresses.
    """
    names = (*exports, "gradc_table") if externals else exports
    try:
        loaded = elf.Loaded(object_code)
        library = Library(loaded, {name: loaded.names[name] for name in names})
    except elf.Unsupported:
        from gradc.codegen import jit

        library = Library(*jit.link(object_code, names))
    if externals:
        table = (ctypes.c_void_p * len(externals)).from_address(library.address("gradc_table"))
        table[:] = list(externals.values())
    return library
