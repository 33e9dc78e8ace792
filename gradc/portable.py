"""What compiled functions, and methods, have for those who leave Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gradc.address import Address
    from gradc.compile import Compiled
    from gradc.export import Exported


class Portable:
    """What can be exported, or called at an address."""

    def _callee(self) -> tuple[Compiled[..., Any], tuple[Any, ...]]:
        """The function, and the arguments that it is given before all others."""
        raise NotImplementedError

    def export(
        self,
        path: str | Path,
        *types: Any,
        formats: Sequence[str] = ("so", "h"),
        target: str | None = None,
        name: str | None = None,
        blas: str | None = None,
    ) -> Exported:
        """Write the function as C functions, which need neither Python nor gradc to run.

        ``int64_t model_value(const double *x, ..., double *out, void *workspace)`` and, of a
        floating scalar, ``model_value_and_grad``, which takes the value and a gradient for each
        argument of ``argnums``; of a derivative, that alone (``model_grad``, ...). The header
        describes them all: shapes, workspace, errors, threads. On this machine they give the bits
        that the function gives in Python, but for large products, which Python leaves to BLAS.

        path: a folder and a name, which the files get: "build/model".
        types: one for each argument: text such as "f64[784]", "f32[3,4]", "i64[]" (an array of no
            axes), "f64" (a number), arrays and numbers like those to come, and pytrees of such. An
            int or bool that the function needs while it is traced is fixed, and so are static
            arguments, which are given as they are. Numbers and arrays without axes are passed by
            value, results always by pointer.
        formats: "so" (a shared library for the target, linked by the system's C compiler or else
            by ziglang), "h", "o" (an object file), "ll" (LLVM's text), "py" (a module that loads
            the library with NumPy and ctypes alone).
        target: this machine and CPU, or "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-windows",
            "aarch64-linux", "arm64-macos" or "wasm32".
        name: what the functions begin with; by default the name of the files.
        blas: "link" leaves large products to a BLAS that the library is linked with.

        >>> import tempfile, gradc
        >>> energy = gradc.compile(lambda x: x @ x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = energy.export(f"{folder}/energy", "f64[3]", formats=("o", "h"))
        >>> print(made.functions[0])
        int64_t energy_value(const double *x, double *out, void *workspace);

        Raises ArgumentError for what is no type, OptionError for an unknown format or target, and
        LinkError, with the object file and the header written, where nothing can link.
        """
        from gradc.export import export

        compiled, lead = self._callee()
        return export(compiled, path, types, formats, target, name, blas, lead)

    def address(self, *types: Any, abi: str, data: bool = False) -> Address:
        """The function at a raw address, for engines that call C functions.

        types: those of :meth:`export`.
        abi: "scipy": ``double (double)`` of one number, ``double (int, double *)`` of several or of
            an array; ``.callable`` is a ``scipy.LowLevelCallable`` for integration, a failure NaN.
            "numba": ``int64_t (inputs, outputs)``, numbers by value, arrays and all outputs by
            pointer; ``.function`` can be called in compiled code, and returns 0 where all is well.
            "nutpie": of a number, its density with the gradient, ``int (size_t n, const double *x,
            double *gradient, double *value, void *)``; of an array, what expands a draw.
        data: SciPy's signatures with ``void *``, which is not looked at.

        >>> import numpy as np, gradc
        >>> from scipy.integrate import quad
        >>> bell = gradc.compile(lambda x: np.exp(-x * x)).address("f64", abi="scipy")
        >>> round(quad(bell.callable, -10, 10)[0] ** 2, 12)
        3.14159265359

        The code stays as long as the address, or what was made of it. Raises ArgumentError for a
        function that the engine cannot call, OptionError for an unknown abi.
        """
        from gradc.address import address

        compiled, lead = self._callee()
        return address(compiled, types, abi, data, lead)
