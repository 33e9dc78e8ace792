"""A code cache of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradc.codegen import jit


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, switched on; its folder is not there yet."""
    monkeypatch.setenv("GRADC_CACHE", "1")
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADC_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are compiled from now on."""
    texts: list[str] = []
    compile_text = jit.compile

    def counted(text: str) -> bytes:
        texts.append(text)
        return compile_text(text)

    monkeypatch.setattr(jit, "compile", counted)
    return texts
