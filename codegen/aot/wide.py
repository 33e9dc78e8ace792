"""Arithmetic of 128 bits for machines that call a library for it, as WebAssembly does.

The functions have the names and signatures of that library (compiler-rt), whose own take their
place where it is linked too.
"""

from __future__ import annotations

from gradc.codegen.llvm import Module
from gradc.codegen.targets import Target

_FUNCTIONS = {
    # The four products of halves, and what they carry.
    "__multi3": """
define weak hidden void @__multi3(ptr %out, i64 %a, i64 %a_high, i64 %b, i64 %b_high) #0 {
  %a0 = and i64 %a, 4294967295
  %a1 = lshr i64 %a, 32
  %b0 = and i64 %b, 4294967295
  %b1 = lshr i64 %b, 32
  %p00 = mul i64 %a0, %b0
  %p01 = mul i64 %a0, %b1
  %p10 = mul i64 %a1, %b0
  %p11 = mul i64 %a1, %b1
  %c0 = lshr i64 %p00, 32
  %m0 = add i64 %p01, %c0
  %m0_low = and i64 %m0, 4294967295
  %m1 = add i64 %p10, %m0_low
  %c1 = lshr i64 %m0, 32
  %c2 = lshr i64 %m1, 32
  %h0 = add i64 %p11, %c1
  %h1 = add i64 %h0, %c2
  %x0 = mul i64 %a, %b_high
  %x1 = mul i64 %a_high, %b
  %h2 = add i64 %h1, %x0
  %high = add i64 %h2, %x1
  %low = mul i64 %a, %b
  store i64 %low, ptr %out, align 8
  %second = getelementptr i64, ptr %out, i32 1
  store i64 %high, ptr %second, align 8
  ret void
}""",
    "__ashlti3": """
define weak hidden void @__ashlti3(ptr %out, i64 %a, i64 %a_high, i32 %by) #0 {
  %n32 = and i32 %by, 127
  %n = zext i32 %n32 to i64
  %far = icmp uge i64 %n, 64
  %k = and i64 %n, 63
  %shifted = shl i64 %a, %k
  %high = call i64 @llvm.fshl.i64(i64 %a_high, i64 %a, i64 %k)
  %low_out = select i1 %far, i64 0, i64 %shifted
  %high_out = select i1 %far, i64 %shifted, i64 %high
  store i64 %low_out, ptr %out, align 8
  %second = getelementptr i64, ptr %out, i32 1
  store i64 %high_out, ptr %second, align 8
  ret void
}""",
}


def emit_wide(module: Module) -> None:
    """Add what a module's arithmetic of 128 bits calls, if it has such."""
    assert isinstance(module.target, Target)
    wanted = module.target.triple.startswith("wasm")
    if wanted and any("i128" in text for text in module.functions.values()):
        module.functions |= {name: text.lstrip() for name, text in _FUNCTIONS.items()}
        module.declare("llvm.fshl.i64", "i64", ["i64"] * 3)
