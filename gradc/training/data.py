"""What a trainer is given, read and checked: counts, parameters, data."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, NotDifferentiableError, OptionError, ShapeError
from gradc.ir.types import TensorType
from gradc.leaves import leaf_type
from gradc.native import contiguous
from gradc.trace import Static


def count(option: str, value: Any, least: int) -> int:
    """An option that is an integer. Raises OptionError for what is none or below ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{option} must be an integer, not {value!r}") from None
    if number < least:
        raise OptionError(f"{option} must be at least {least}, not {number}")
    return number


def seed_of(value: Any) -> int:
    """A seed. Raises OptionError for what is none."""
    number = count("seed", value, 0)
    if number >= 1 << 64:
        raise OptionError(f"seed must be below 2**64, not {number}")
    return number


def opened(given: Any) -> Any:
    """A data array as it is given, or that of a file, which is mapped into memory."""
    if isinstance(given, (tuple, list)):
        return np.asarray(given)
    if not isinstance(given, (str, os.PathLike)):
        return given
    try:
        array = np.load(given, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays, and is no .npy file")
        return array
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"the data in {os.fspath(given)!r} cannot be read: {error}",
            remedy="an array, or the path of a .npy file",
        ) from None


def in_memory(array: Any, type_: TensorType, name: str) -> np.ndarray[Any, Any]:
    """A data array as native code reads it. Raises ArgumentError for a file that would be copied.

    A file may be larger than memory.
    """
    made = contiguous(array, type_.dtype)
    if isinstance(array, np.memmap) and not np.shares_memory(made, array):
        raise ArgumentError(
            f"the file of `{name}` does not hold {type_} as native code reads it, and would be "
            "copied into memory",
            types=[f"{name}: {array.dtype.str}{list(array.shape)}, strides {array.strides}"],
            remedy="a file in C order and in this machine's byte order, or np.array of it",
        )
    return made


def array_types(leaves: Sequence[Any], names: Sequence[str]) -> tuple[TensorType, ...]:
    """The types of leaves as arrays. Raises ArgumentError for what is none."""
    types = []
    for leaf, name in zip(leaves, names, strict=True):
        type_ = leaf_type(leaf, name)
        if isinstance(type_, Static):
            raise ArgumentError(
                f"`{name}` is {leaf!r}, no array of numbers",
                remedy=f"np.asarray({name}, float)",
            )
        types.append(TensorType(type_.dtype, type_.shape))
    return tuple(types)


def param_types(leaves: Sequence[Any], names: Sequence[str]) -> tuple[TensorType, ...]:
    """The types of parameters. Raises NotDifferentiableError for what is not floating."""
    if not leaves:
        raise ArgumentError("there are no parameters to train")
    types = array_types(leaves, names)
    for name, type_ in zip(names, types, strict=True):
        if not type_.differentiable:
            raise NotDifferentiableError(
                f"parameter `{name}` is {type_.dtype}: it cannot be trained",
                types=[f"{name}: {type_}"],
                remedy=f"{name}.astype(np.float64)",
            )
    return types


def data_types(arrays: Sequence[Any], names: Sequence[str]) -> tuple[TensorType, ...]:
    """The types of the data arrays.

    Raises ShapeError where they have no axis of samples, not the same number of them, or none.
    """
    types = array_types(arrays, names)
    shown = [f"{name}: {type_}" for name, type_ in zip(names, types, strict=True)]
    for name, type_ in zip(names, types, strict=True):
        if not type_.shape:
            raise ShapeError(
                f"the data array `{name}` has no axis of samples",
                types=shown,
                remedy="one sample to an index of the first axis",
            )
    lengths = {type_.shape[0] for type_ in types}
    if len(lengths) > 1:
        raise ShapeError(
            "the data arrays have different numbers of samples",
            types=shown,
            remedy="give each the same length along the first axis",
        )
    if 0 in lengths:
        raise ShapeError("the data arrays have no samples", types=shown)
    return types
