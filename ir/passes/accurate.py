from gradc.ir.passes.rewriter import Rule
ACCURATE: tuple[Rule, ...] = ()
STABLE: tuple[Rule, ...] = ()
