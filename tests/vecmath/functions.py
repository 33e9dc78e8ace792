"""What is promised of each function, and the arguments that it is tested at."""

from __future__ import annotations

import numpy as np

from tests.vecmath.measure import Array

# What is promised, in ulps: float64, float32.
BOUNDS = {
    "acos": (0.7, 0.7),
    "acosh": (0.9, 1.0),
    "asin": (0.7, 0.7),
    "asinh": (0.95, 1.0),
    "atan": (1.0, 1.0),
    "atan2": (1.0, 1.0),
    "atanh": (0.95, 1.0),
    "cbrt": (0.51, 0.51),
    "cos": (0.8, 0.8),
    "cosh": (0.7, 0.7),
    "cube": (0.76, 0.51),
    "digamma": (4.0, 0.51),
    "erf": (1.0, 1.0),
    "erfc": (1.5, 1.5),
    "exp": (0.9, 0.9),
    "exp2": (0.9, 0.9),
    "expm1": (0.95, 0.8),
    "fourth": (0.76, 0.51),
    "gaussian": (0.8, 0.8),
    "hypot": (0.8, 0.8),
    "lgamma": (4.0, 0.51),
    "log": (0.85, 0.9),
    "log10": (0.75, 0.75),
    "log1p": (0.95, 0.95),
    "log2": (0.85, 0.85),
    "pow": (1.0, 0.51),
    "sech2": (4.0, 4.0),
    "sigmoid": (1.0, 1.0),
    "sin": (0.8, 0.8),
    "sinh": (0.8, 0.8),
    "softplus": (0.9, 0.95),
    "sqrt": (0.5, 0.5),
    "tan": (0.95, 0.95),
    "tanh": (0.95, 0.95),
    "trigamma": (4.0, 0.51),
}
# Where results are finite and do not saturate: float64, float32.
DOMAINS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "acos": ((-1, 1), (-1, 1)),
    "acosh": ((1, 1e308), (1, 1e38)),
    "asin": ((-1, 1), (-1, 1)),
    "atanh": ((-1 + 1e-16, 1 - 1e-16), (-1 + 1e-7, 1 - 1e-7)),
    "cosh": ((-710.4, 710.4), (-89.4, 89.4)),
    "cube": ((-5.6e102, 5.6e102), (-6.9e12, 6.9e12)),
    "digamma": ((-1e9, 1e308), (-1e5, 1e38)),
    "erfc": ((-1e308, 27.2), (-1e38, 10.05)),
    "exp": ((-745, 709.7), (-103, 88.7)),
    "exp2": ((-1074, 1023.9), (-149, 127.9)),
    "expm1": ((-40, 709.7), (-20, 88.7)),
    "fourth": ((-1.1e77, 1.1e77), (-4.2e9, 4.2e9)),
    "gaussian": ((-27.2, 27.2), (-10.1, 10.1)),
    "lgamma": ((-1e9, 2.5e305), (-1e5, 4e36)),
    "log": ((0, 1e308), (0, 1e38)),
    "log10": ((0, 1e308), (0, 1e38)),
    "log1p": ((-1 + 1e-16, 1e308), (-1 + 1e-7, 1e38)),
    "log2": ((0, 1e308), (0, 1e38)),
    "sech2": ((-372, 372), (-52, 52)),
    "sigmoid": ((-745, 40), (-103, 20)),
    "sinh": ((-710.4, 710.4), (-89.4, 89.4)),
    "softplus": ((-745, 1e308), (-103, 1e38)),
    "sqrt": ((0, 1e308), (0, 1e38)),
    "trigamma": ((-1e9, 1e308), (-1e5, 1e38)),
}
# Where the polynomials, not the exponents, are at work.
HOT = {
    "acosh": (1, 4), "digamma": (-5, 6), "erfc": (-1, 5), "lgamma": (-5, 6), "log": (0.4, 3),
    "log10": (0.4, 3), "log2": (0.4, 3), "trigamma": (-5, 6),
}  # fmt: skip


def every_binade(dtype: type, per_binade: int) -> Array:
    """Random numbers of either sign in every binade, the subnormals included."""
    info = np.finfo(dtype)
    exponents = np.repeat(np.arange(0, 2 * info.maxexp - 1, dtype=np.uint64), per_binade)
    fractions = np.random.default_rng(0).integers(0, 2**info.nmant, len(exponents), dtype=np.uint64)
    bits = (exponents << np.uint64(info.nmant)) | fractions
    x = bits.astype(f"u{info.bits // 8}").view(dtype)
    return np.concatenate([x, -x])


def samples(name: str, dtype: type, dense: int = 1) -> Array:
    """Arguments of a function from every binade of its domain, and from where it varies."""
    single = dtype is np.float32
    least, most = DOMAINS.get(name, ((-np.inf, np.inf),) * 2)[single]
    low, high = HOT.get(name, (max(least, -3), min(most, 3)))
    middle = np.random.default_rng(1).uniform(low, high, 3000 * dense).astype(dtype)
    x = np.concatenate([every_binade(dtype, dense * (12 if single else 2)), middle])
    pole = (x == np.trunc(x)) & (x < 0) & (name in ("lgamma", "digamma", "trigamma"))
    return x[(x >= least) & (x <= most) & (x != 0) & ~pole]


def pairs(name: str, dtype: type, dense: int = 1) -> tuple[Array, Array]:
    """Operands of a function of two, from every binade."""
    rng = np.random.default_rng(2)
    count = dense * (12 if dtype is np.float32 else 2)
    x, y = (rng.permutation(every_binade(dtype, count)) for _ in "xy")
    near = x * rng.uniform(0.2, 5, len(x)).astype(dtype)
    if name == "pow":
        x = np.abs(np.concatenate([x, rng.uniform(0.5, 2, 2000 * dense).astype(dtype)]))
        x = x[(x > 0) & (x != 1)]
        reach = 87.0 if dtype is np.float32 else 708.0
        y = (rng.uniform(-reach, reach, len(x)) / np.log(x.astype(float))).astype(dtype)
        return x, y
    x, y = np.concatenate([x, x]), np.concatenate([y, near])
    keep = (x != 0) & (y != 0) & np.isfinite(y)
    return x[keep], y[keep]
