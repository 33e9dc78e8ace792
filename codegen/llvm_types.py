"""LLVM's types and literals as text."""

from __future__ import annotations

import struct


def vector(scalar: str, lanes: int) -> str:
    """The LLVM type of ``lanes`` scalars; one lane is the scalar type itself."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def scalar_of(ty: str) -> str:
    """``double`` of ``<8 x double>`` and of ``double``."""
    return ty.split(" x ")[1][:-1] if ty.startswith("<") else ty


def lanes_of(ty: str) -> int:
    """8 of ``<8 x double>``, 1 of ``double``."""
    return int(ty[1 : ty.index(" ")]) if ty.startswith("<") else 1


def like(ty: str, scalar: str) -> str:
    """A type of as many lanes as ``ty`` with another scalar."""
    return vector(scalar, lanes_of(ty))


def literal(value: float | int | bool, scalar: str) -> str:
    """A Python number as LLVM literal of the scalar type, exact to the bit."""
    if scalar == "double":
        return "0x" + struct.pack(">d", float(value)).hex().upper()
    if scalar == "float":
        single = struct.unpack("<f", struct.pack("<f", float(value)))[0]
        return "0x" + struct.pack(">d", single).hex().upper()
    if scalar == "i1":
        return "true" if value else "false"
    return str(int(value))


def intrinsic_suffix(ty: str) -> str:
    """``v8f64`` of ``<8 x double>``: the mangling of overloaded intrinsics."""
    scalar = scalar_of(ty)
    name = {"double": "f64", "float": "f32", "ptr": "p0"}.get(scalar, scalar)
    return name if lanes_of(ty) == 1 else f"v{lanes_of(ty)}{name}"
