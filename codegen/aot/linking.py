"""From object code to a shared library: by the system's C compiler, or by ziglang."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gradc.codegen.targets import Target, host

#: bytes of stack of a WebAssembly module
STACK = 1 << 18


class NoLinker(Exception):
    """There is no linker for a machine, or it failed: what was tried, and what it said."""


def suffix(target: Target) -> str:
    """How the names of shared libraries end."""
    triple = target.triple
    if triple.startswith("wasm"):
        return ".wasm"
    if "windows" in triple:
        return ".dll"
    return ".dylib" if "apple" in triple or "darwin" in triple else ".so"


def link(
    target: Target, source: Path, out: Path, exports: Sequence[str], undefined: Sequence[str]
) -> None:
    """Make the shared library ``out`` of the object file ``source``.

    ``exports`` are its functions, ``undefined`` what it leaves to others: it is linked with the C
    library if there are such. Raises NoLinker.
    """
    commands = list(_commands(target, source, out, exports, undefined))
    if not commands:
        raise NoLinker(f"there is no linker for {target.triple} here: neither {_wanted(target)}")
    failed = ""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        failed = f"{' '.join(command)} failed: {done.stderr.strip()}"
    raise NoLinker(failed)


def _wanted(target: Target) -> str:
    if target.triple.startswith("wasm"):
        return "wasm-ld nor ziglang"
    return "a C compiler (cc) nor ziglang" if _is_native(target) else "ziglang"


def _is_native(target: Target) -> bool:
    """Whether the C compiler of this machine makes libraries for the target."""
    return _system(target.triple) == _system(host().triple)


def _system(triple: str) -> tuple[str, str]:
    arch, _, rest = triple.partition("-")
    arch = {"arm64": "aarch64", "amd64": "x86_64"}.get(arch, arch)
    known = ("linux", "windows", "darwin", "macos")
    found = next((name for name in known if name in rest), rest)
    return arch, "macos" if found == "darwin" else found


def _commands(
    target: Target, source: Path, out: Path, exports: Sequence[str], undefined: Sequence[str]
) -> list[list[str]]:
    """Command lines that may link the library, those to be tried first before the others."""
    files = ["-o", str(out), str(source)]
    zig = _zig()
    if target.triple.startswith("wasm"):
        flags = ["--no-entry", "--strip-all", "--gc-sections", "--export=__heap_base"]
        flags += [f"--export={name}" for name in exports]
        # What overflows the stack then traps, rather than write over data.
        flags += ["--stack-first", "-z", f"stack-size={STACK}"]
        flags += ["--allow-undefined"] * bool(undefined)
        linker = shutil.which("wasm-ld")
        programs = [[linker]] if linker else []
        programs += [[*zig, "wasm-ld"]] if zig else []
        return [[*program, *flags, *files] for program in programs]
    commands = []
    # Apple's linkers want the system's library in any case.
    needless = [] if undefined or suffix(target) == ".dylib" else ["-nostdlib"]
    if _is_native(target):
        wanted = shlex.split(os.environ.get("CC", "")) or ["cc"]
        found = next((x for x in (wanted, ["gcc"]) if shutil.which(x[0])), None)
        if found:
            commands.append([*found, "-shared", *needless, *_flags(target, out.name), *files])
    if zig:
        arch, system = _system(target.triple)
        if system == "windows" and not undefined:
            # The C compiler would first build a C library for the target.
            flags = ["/dll", "/noentry", "/nodefaultlib", f"/out:{out}", "/noimplib"]
            commands.append([*zig, "lld-link", *flags, str(source)])
        machine = f"{arch}-{system}{'' if system == 'macos' else '-gnu'}"
        own = [] if system == "windows" else needless  # there it may be what stacks are checked by
        program = [*zig, "cc", "-target", machine, "-shared", *own]
        commands.append([*program, *_flags(target, out.name), *files])
    return commands


def _flags(target: Target, name: str) -> list[str]:
    """What makes a library small, and known by its file's name."""
    end = suffix(target)
    if end == ".dylib":
        return ["-Wl,-x", f"-Wl,-install_name,@rpath/{name}"]
    flags = ["-s", "-Wl,--gc-sections"]
    return flags if end == ".dll" else [*flags, "-Wl,--build-id=none", f"-Wl,-soname,{name}"]


def _zig() -> list[str]:
    """The ziglang package's command, if it is installed."""
    return [sys.executable, "-m", "ziglang"] if importlib.util.find_spec("ziglang") else []
