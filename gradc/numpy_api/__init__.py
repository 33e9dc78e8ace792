"""NumPy functions on Tracers, by subject. Importing this package registers them all."""

from gradc.numpy_api import (
    choosing,
    contraction,
    creating,
    einsum,
    joining,
    linalg,
    reductions,
    refused,
    searching,
    shaping,
    ufuncs,
)

__all__ = [
    "choosing",
    "contraction",
    "creating",
    "einsum",
    "joining",
    "linalg",
    "reductions",
    "refused",
    "searching",
    "shaping",
    "ufuncs",
]
