"""The files of an exported library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradc.codegen.aot import linking, objects
from gradc.codegen.aot.header import header
from gradc.codegen.aot.loader import loader
from gradc.codegen.aot.module import text_of
from gradc.codegen.aot.routine import Library
from gradc.codegen.llvm import Module
from gradc.codegen.targets import Target

#: what can be written
FORMATS = {
    "so": "the shared library", "o": "the object file", "ll": "LLVM's text", "h": "the C header",
    "py": "a Python module that loads the shared library",
}


def file_of(path: Path, format: str, target: Target) -> Path:
    """Where a format is written: beside ``path``, which has the library's name."""
    if format == "so":
        prefix = "lib" if linking.suffix(target) in (".so", ".dylib") else ""
        return path.with_name(f"{prefix}{path.name}{linking.suffix(target)}")
    return path.with_name(f"{path.name}.{format}")


def write(
    library: Library, module: Module, path: Path, formats: Sequence[str]
) -> dict[str, Path]:
    """Write a library in formats; the file of each.

    Raises NoLinker after the object file and the header have been written, whose places it has.
    """
    target = library.target
    files = {format: file_of(path, format, target) for format in formats}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text_of(module)
    code = objects.compile(text, target) if {"so", "o"} & set(formats) else b""
    contents: dict[str, bytes] = {"o": code}
    if "h" in formats:
        contents["h"] = header(library).encode()
    if "ll" in formats:
        contents["ll"] = text.encode()
    if "py" in formats:
        contents["py"] = loader(library, file_of(path, "so", target).name).encode()
    for format, content in contents.items():
        if format in formats:
            files[format].write_bytes(content)
    if "so" in formats:
        _link(library, path, files["so"], code, kept="o" in formats)
    return files


def _link(library: Library, path: Path, out: Path, code: bytes, kept: bool) -> None:
    target = library.target
    source = file_of(path, "o", target)
    if not kept:
        source.write_bytes(code)
    exports = [routine.name for routine in library.routines] + [f"{library.name}_message"]
    try:
        linking.link(target, source, out, exports, library.undefined)
    except linking.NoLinker as error:
        head = file_of(path, "h", target)
        head.write_text(header(library))
        raise linking.NoLinker(f"{error}; {source} and {head} were written") from None
    if not kept:
        source.unlink()
