"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import gradc

# What is tested is the compiler, here and in the processes that tests start: no code of before.
os.environ["GRADC_CACHE"] = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write tests/goldens anew")


@pytest.fixture(params=["native", "interpreted"])
def jit(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Run the test twice: compiled, and in the interpreter."""
    with gradc.config(jit=request.param == "native"):
        yield request.param == "native"
