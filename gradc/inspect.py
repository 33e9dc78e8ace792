"""Showing a compiled function, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradc.derivative import Gradient
from gradc.errors import ArgumentError, GradcError
from gradc.ir.text import dump

if TYPE_CHECKING:
    from gradc.codegen.report import Report
    from gradc.compile import Compiled
    from gradc.dispatch import Specialization

#: stage -> its title
STAGES = {
    "traced": "as traced",
    "adjoint": "with its adjoint",
    "optimized": "optimized",
    "loops": "loop program",
    "llvm": "LLVM IR",
    "asm": "assembly",
}
GRAPH_STAGES = ("traced", "adjoint", "optimized")


def show(
    compiled: Compiled[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stage: str | None,
    grad: bool | None,
) -> str:
    """The text of one stage, or of all graph stages under their titles."""
    if stage is not None and stage not in STAGES:
        raise ArgumentError(
            f"there is no stage {stage!r}", remedy=f"one of {', '.join(map(repr, STAGES))}"
        )
    found = _specialization(compiled, args, kwargs, grad)
    if stage is not None:
        return _text(found, stage)
    stages = [s for s in GRAPH_STAGES if s != "adjoint" or found.lowered.of is not None]
    parts = [f"{_title(found, s)}\n{_text(found, s)}" for s in stages]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def source(function: Any, rewrite: bool) -> str:
    """A function as it was rewritten. Raises ArgumentError where it was not."""
    from gradc.syntax.convert import explained

    found, reason = explained(function) if rewrite else ("", "it was compiled with rewrite=False")
    if not found:
        raise ArgumentError(
            f"{getattr(function, '__name__', function)} is traced as it stands: {reason}")
    return found


def explain(
    compiled: Compiled[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    grad: bool | None,
) -> Report:
    """The report on the function's program."""
    from gradc.codegen.explain import explain as report

    found = _specialization(compiled, args, kwargs, grad)
    return report(found.optimized, title=f"{found.label}({found.signature})")


def _specialization(
    compiled: Compiled[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool | None
) -> Specialization:
    """That of the value and gradient, if there is one and ``grad`` does not forbid it."""
    if isinstance(compiled.function, Gradient) or grad is False:
        return compiled.specialization(*args, **kwargs)
    try:
        gradient: Compiled[..., Any] = compiled.value_and_grad
        return gradient.specialization(*args, **kwargs)
    except GradcError:
        if grad:
            raise
        return compiled.specialization(*args, **kwargs)


def _title(found: Specialization, stage: str) -> str:
    title = f"{found.label}({found.signature}), {STAGES[stage]}"
    return f"# {title}\n# {'-' * len(title)}"


def _text(found: Specialization, stage: str) -> str:
    if stage == "traced":
        return dump(found.lowered.traced)
    if stage == "adjoint":
        return dump(found.lowered.graph)
    if stage == "optimized":
        return dump(found.optimized)
    if stage == "loops":
        return str(found.native.kernel.program)
    module = str(found.native.kernel.module)
    if stage == "llvm":
        return module
    from gradc.codegen.jit import assembly

    return assembly(module)


