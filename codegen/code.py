"""Object code with all it needs to be loaded: in this process, or from the cache in another."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.ir.graph import Graph
from gradc.ir.types import parse_type


class PrintSite(NamedTuple):
    """A print: its name in the module's table, its format, the types of its operands as text."""

    name: str
    format: str
    types: Sequence[str]


class Code(NamedTuple):
    """Object code, and what its module's table is filled with.

    names: the names of its externals, by slot.
    constants: large constants by name: their bytes, or the node of the source graph that has them.
    prints: the calls back into Python.
    numbers: what the caller needs to know besides.
    """

    object_code: bytes
    names: Sequence[str]
    constants: Mapping[str, bytes | int]
    prints: Sequence[PrintSite]
    numbers: Mapping[str, int]

    def pack(self) -> bytes:
        """The code as bytes: the length of a JSON text, the text, constants, object code."""
        data = [c for c in self.constants.values() if isinstance(c, bytes)]
        head = {
            "names": list(self.names),
            "constants": [
                [name, c, None] if isinstance(c, int) else [name, None, len(c)]
                for name, c in self.constants.items()
            ],
            "prints": self.prints,
            "numbers": dict(self.numbers),
        }
        text = json.dumps(head).encode()
        return b"".join([len(text).to_bytes(8, "little"), text, *data, self.object_code])


def unpack(packed: bytes) -> Code:
    """The inverse of :meth:`Code.pack`."""
    at = 8 + int.from_bytes(packed[:8], "little")
    head = json.loads(packed[8:at])
    constants: dict[str, bytes | int] = {}
    for name, node, nbytes in head["constants"]:
        constants[name] = packed[at : at + nbytes] if node is None else node
        at += nbytes or 0
    prints = [PrintSite(*site) for site in head["prints"]]
    return Code(packed[at:], head["names"], constants, prints, head["numbers"])


def shared(constants: Mapping[str, bytes], source: Graph) -> dict[str, bytes | int]:
    """Constants, as the nodes of a graph that hold the same bytes where there are such.

    An array that a function takes from its surroundings need not lie in the cache too.
    """
    found: dict[str, bytes | int] = dict(constants)
    for node in source.nodes if constants else ():
        value = node.attrs.get("value")
        if node.op.name == "const" and isinstance(value, np.ndarray):
            for name, data in constants.items():
                if value.nbytes == len(data) and value.tobytes() == data:
                    found[name] = node.id
    return found


def _compiled(text: str) -> bytes:
    from gradc.codegen import jit

    return jit.compile(text)


class Externals:
    """Addresses of what code calls or reads outside its module, and what keeps them valid.

    ``source`` is the graph whose nodes stand for constants; ``compile`` makes object code of the
    text of the pool of threads, where the code needs that.
    """

    def __init__(
        self,
        constants: Mapping[str, bytes | int],
        prints: Sequence[PrintSite],
        source: Graph | None = None,
        compile: Callable[[str], bytes] | None = None,
    ) -> None:
        self._compile = compile
        self._own: dict[str, int] = {}
        self._keep: list[Any] = []
        for name, given in constants.items():
            if isinstance(given, bytes):
                data = np.frombuffer(given, np.uint8)
            else:
                assert source is not None
                data = np.ascontiguousarray(source.nodes[given].attrs["value"])
            self._own[name] = data.ctypes.data
            self._keep.append(data)
        for site in prints:
            from gradc.codegen.callbacks import make_callback

            address, alive = make_callback(site.format, [parse_type(t) for t in site.types])
            self._own[site.name] = address
            self._keep.append(alive)

    def address(self, name: str) -> int:
        """The address for a name in the module's table: its own, the pool's, or one of BLAS."""
        if name in self._own:
            return self._own[name]
        if name == "parallel":
            from gradc.codegen import threads

            return threads.address(self._compile or _compiled)
        if name.startswith("PyMem_Raw"):
            return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        from gradc.codegen import blas

        return blas.address(name)
