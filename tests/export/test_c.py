"""C and C++ programs built against the header and the library alone."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.targets import host
from tests.export.programs import PROGRAMS, limited, picked

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]

MAIN = r"""
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    double x[5], value, grad[5];
    int32_t k[3] = {4, 0, 4};
    char *space = malloc(MODEL_VALUE_AND_GRAD_WORKSPACE + 3);
    for (int i = 0; i < 5; i++) x[i] = 0.1 * i - 0.3;
    if (model_value_and_grad(x, k, &value, grad, space + 3)) return 1;
    printf("%a", value);
    for (int i = 0; i < 5; i++) printf(" %a", grad[i]);
    k[1] = -6;
    int64_t status = model_value(x, k, &value, space);
    printf("\n%d %s\n", MODEL_CODE(status), model_message(status));
    printf("%d\n", MODEL_CODE(model_value(NULL, k, &value, space)) == MODEL_ERROR_NULL);
    printf("%d\n", MODEL_CODE(model_value(x, k, NULL, space)) == MODEL_ERROR_NULL);
    printf("%d\n", MODEL_VALUE_AND_GRAD_WORKSPACE == 0 ||
           MODEL_CODE(model_value_and_grad(x, k, &value, grad, NULL)) == MODEL_ERROR_NULL);
    printf("%s; %s; %s\n", model_message(0), model_message(250), model_message(-1));
    return 0;
}
"""


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["object", "library"])
def test_a_program(how: str, tmp_path: Path) -> None:
    f = gradc.compile(picked)
    made = f.export(tmp_path / "model", "f64[5]", "i32[3]", formats=("so", "h", "o"))
    (tmp_path / "main.c").write_text(MAIN)
    end = ["-L", tmp_path, "-lmodel", f"-Wl,-rpath,{tmp_path}"]
    libraries = [made.files["o"]] if how == "object" else end
    run("cc", "-std=c99", *STRICT, tmp_path / "main.c", *libraries, "-o", tmp_path / "main")
    first, second, *nulls, texts = run(tmp_path / "main").splitlines()
    x = np.array([0.1 * i - 0.3 for i in range(5)])
    value, grad = f.value_and_grad(x, np.int32([4, 0, 4]))
    assert [float.fromhex(t) for t in first.split()] == [value, *grad]
    assert second.startswith("1 an index is out of bounds, at programs.py:")
    assert nulls == ["1"] * 3
    assert texts == "no error; an unknown status; an unknown status"


def test_the_header_has_types_as_they_are_given(tmp_path: Path) -> None:
    def scaled(x: Any, scale: Any, shift: Any) -> Any:
        return np.sum(x * scale + shift)

    made = gradc.compile(scaled).export(
        tmp_path / "model", "f32[3]", "f64", "f32[]", formats=("h", "o")
    )
    text = made.files["h"].read_text()
    assert "scaled(x: f32[3], scale: f64, shift: f32[])" in text
    assert "~" not in text


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_headers_are_c_and_cpp(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    made = gradc.compile(program.function).export(
        tmp_path / "model", *program.types, formats=("h",)
    )
    text = made.files["h"].read_text()
    assert max(map(len, text.splitlines())) <= 100
    for compiler, standard, end in (("cc", "c99", "c"), ("c++", "c++11", "cpp")):
        if shutil.which(compiler):
            source = tmp_path / f"use.{end}"
            source.write_text('#include "model.h"\n#include "model.h"\n')
            run(compiler, f"-std={standard}", *STRICT, "-c", source, "-o", tmp_path / "use.o")
    assert ("left out" in text) == (name == "printed")
    assert ("malloc" in text) == (name == "newton")


def test_two_libraries_in_one_program(tmp_path: Path) -> None:
    f, g = gradc.compile(picked), gradc.compile(limited)
    f.export(tmp_path / "one", "f64[5]", "i32[3]", formats=("o", "h"))
    g.export(tmp_path / "two", "f64", formats=("o", "h"), name="second")
    (tmp_path / "main.c").write_text(r"""
#include "one.h"
#include "two.h"
#include <stdio.h>
int main(void) {
    double out;
    char space[SECOND_VALUE_WORKSPACE + 1];
    int64_t status = second_value(1.0, &out, space);
    printf("%s; %s\n", second_message(status), one_message(0));
    return 0;
}
""")
    run("cc", "-std=c99", *STRICT, tmp_path / "main.c", tmp_path / "one.o", tmp_path / "two.o",
        "-o", tmp_path / "main")
    assert run(tmp_path / "main").startswith("a while loop ran more than 20 times")


def test_blas_is_linked_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(host(), l2=1 << 12)
    monkeypatch.setattr("gradc.codegen.targets.host", lambda: small)
    program = PROGRAMS["product"]
    f = gradc.compile(program.function)
    made = f.export(tmp_path / "model", *program.types, formats=("o", "h"), blas="link")
    assert "dgemm_ of a BLAS" in made.files["h"].read_text()
    names = "m n k lda ldb ldc".split()
    (tmp_path / "main.c").write_text(r"""
#include "model.h"
#include <stdio.h>
static int called = 0;
void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const double *alpha, const double *a, const int *lda, const double *b, const int *ldb,
            const double *beta, double *c, const int *ldc) {
    called += 1;
    printf("%c%c %d %d %d %d %d %d %g %g\n", *ta, *tb, *m, *n, *k, *lda, *ldb, *ldc, *alpha, *beta);
    c[0] = a[0] + b[0];
}
static double a[100 * 100], b[100 * 100], c[100 * 100];
int main(void) {
    a[0] = 2.0; b[0] = 3.0;
    if (model_value(a, b, c, NULL)) return 1;
    printf("%d %g\n", called, c[0]);
    return 0;
}
""")
    run("cc", "-std=c99", "-Wall", tmp_path / "main.c", made.files["o"], "-o", tmp_path / "main")
    sizes = " ".join(["100"] * len(names))
    assert run(tmp_path / "main") == f"NN {sizes} 1 0\n1 5\n"


def test_libraries_are_small_and_stand_alone(tmp_path: Path) -> None:
    program = PROGRAMS["network"]
    made = gradc.compile(program.function).export(
        tmp_path / "model", *program.types, formats=("so",)
    )
    assert made.files["so"].stat().st_size < 20_000
    if shutil.which("readelf"):
        assert "NEEDED" not in run("readelf", "-d", made.files["so"])
