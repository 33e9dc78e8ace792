"""Functions that are refused, each with its way out."""

from __future__ import annotations

import numpy as np

from gradc.numpy_api.dispatch import REMEDIES

_UNKNOWN_SIZE = (
    "the size of the result depends on the values; np.where(condition, x, y) keeps the shape"
)
_TABLES = "compute the integers outside the traced function and pass them as an argument"

_BY_REMEDY = {
    _UNKNOWN_SIZE: "unique union1d intersect1d setdiff1d "
    "trim_zeros",
    _TABLES: "searchsorted digitize bincount histogram histogram2d histogramdd lexsort",
    "np.sort or np.argsort, then a slice": "partition argpartition percentile quantile "
    "nanpercentile nanquantile",
    "np.where or np.select": "choose piecewise putmask place put",
    "a[np.arange(n), indices] = values": "put_along_axis",
    "a Python loop over the rows and np.stack": "apply_along_axis apply_over_axes",
    "np.concatenate of the parts": "resize",
    "compute it outside the traced function": "unwrap i0 roots polyfit packbits unpackbits",
    "write it with np.mean and np.dot": "cov corrcoef",
    "complex numbers are not supported; use np.sin and np.cos": "angle real_if_close",
    "set the elements of an array made with np.zeros": "vander",
    "print the values with gradc.debug_print": "array2string array_repr array_str save savez "
    "savetxt",
}

for _remedy, _names in _BY_REMEDY.items():
    for _name in _names.split():
        if hasattr(np, _name):
            REMEDIES[getattr(np, _name)] = _remedy
for _name in ("fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "fftn", "ifftn"):
    REMEDIES[getattr(np.fft, _name)] = "complex numbers are not supported"
