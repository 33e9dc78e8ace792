"""What only a fresh process shows: the environment variable, and what an import brings."""

from __future__ import annotations

import os
import subprocess
import sys


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )
    return done.stdout.strip()


def test_disable_jit():
    program = (
        "import sys, gradc; f = gradc.compile(lambda x: x * x);"
        "print(float(f.grad(3.0)), 'llvmlite' in sys.modules)"
    )
    assert run(program, GRADC_DISABLE_JIT="1") == "6.0 False"
    assert run(program, GRADC_DISABLE_JIT="0") == "6.0 True"


def test_import_is_light():
    program = (
        "import sys, gradc;"
        "print([m for m in ('llvmlite', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    assert run(program) == "[]"


def test_unpickled_in_another_process():
    program = """
import pickle, sys, gradc, numpy as np
f = gradc.compile(lambda x, n=2: np.sum(x ** n))
x = np.arange(3.0)
f(x), f.grad(x)
sys.stdout.write(pickle.dumps(f).hex())
"""
    load = f"""
import pickle, gradc, numpy as np
f = pickle.loads(bytes.fromhex({run(program)!r}))
x = np.arange(3.0)
print(float(f(x)), f.grad(x).tolist())
"""
    assert run(load) == "5.0 [0.0, 2.0, 4.0]"
