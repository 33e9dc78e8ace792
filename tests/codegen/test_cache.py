"""The code cache: the file store, the keys, and what a process does with another's code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc import __main__, fingerprint
from gradc.codegen import cache, code
from gradc.ir import ops
from gradc.ir.digest import digest
from gradc.ir.graph import Builder, Graph
from gradc.ir.types import TensorType

posix = pytest.mark.skipif(os.name == "nt", reason="rights and owners as POSIX has them")
f8, f4 = np.dtype("f8"), np.dtype("f4")


def files(place: Path) -> list[Path]:
    return sorted(place.iterdir())


# -- the store -----------------------------------------------------------------------------------


def test_an_entry_is_read_as_it_was_written(place: Path) -> None:
    assert cache.read("a") is None
    assert cache.write("a", b"some code")
    assert cache.write("b", b"")
    assert cache.read("a") == b"some code"
    assert cache.read("b") == b""
    assert cache.write("a", b"other code")
    assert cache.read("a") == b"other code"


@posix
def test_the_folder_is_private(place: Path) -> None:
    cache.write("a", b"code")
    assert place.stat().st_mode & 0o777 == 0o700
    assert files(place)[0].stat().st_mode & 0o077 == 0


def damaged(data: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": data[:-1],
        "only a head": data[:48],
        "longer": data + b"\0",
        "another version": b"gradc object 0\n\0" + data[16:],
        "foreign": b"\x7fELF" + bytes(200),
        **{f"bit {at}": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
           for at in (0, 20, 47, 48, 99)},
    }


@pytest.mark.parametrize("how", damaged(bytes(100)))
def test_a_damaged_entry_is_ignored_and_written_anew(place: Path, how: str) -> None:
    cache.write("a", b"some code" * 10)
    path = files(place)[0]
    path.write_bytes(damaged(path.read_bytes())[how])
    assert cache.read("a") is None
    assert cache.write("a", b"some code")
    assert cache.read("a") == b"some code"


def test_an_entry_under_another_name_is_ignored(place: Path) -> None:
    cache.write("a", b"some code")
    os.rename(place / "a.gradc", place / "b.gradc")
    assert cache.read("b") is None


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(place: Path, mode: int) -> None:
    cache.write("a", b"code")
    place.chmod(mode)
    assert cache.refusal() == "others may write to it"
    assert cache.read("a") is None
    assert not cache.write("b", b"code")
    assert cache.clear() == []
    assert len(files(place)) == 1


@posix
def test_a_folder_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write("a", b"code")
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    assert cache.refusal() == "it belongs to another user"
    assert cache.read("a") is None
    assert not cache.write("b", b"code")


def test_a_folder_that_cannot_be_is_no_error(place: Path) -> None:
    place.write_text("a file")
    assert cache.read("a") is None
    assert not cache.write("a", b"code")
    assert cache.entries() == []
    assert cache.refusal() == "it is no folder"


@pytest.mark.parametrize("broken", ["replace", "open"])
def test_a_full_disk_is_no_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken, full)
        assert not cache.write("a", b"code")
    assert files(place) == []
    assert cache.read("a") is None


def test_the_least_recently_used_are_evicted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADC_CACHE_SIZE", "10000")
    for k in range(6):
        cache.write(f"{k}", bytes(1000))
        os.utime(place / f"{k}.gradc", (k, k))
    assert cache.read("0") is not None  # used now
    for k in range(6, 11):
        cache.write(f"{k}", bytes(1000))
    kept = {path.stem for path in files(place)}
    assert "0" in kept and "10" in kept and not {"1", "2"} & kept
    assert sum(entry.nbytes for entry in cache.entries()) <= 10_000
    assert not cache.write("large", bytes(2000))


def test_abandoned_files_are_removed(place: Path) -> None:
    cache.write("a", b"code")
    (place / "old.part").write_bytes(b"half")
    os.utime(place / "old.part", (1, 1))
    (place / "new.part").write_bytes(b"half")
    cache.write("b", b"code")
    assert [path.name for path in files(place)] == ["a.gradc", "b.gradc", "new.part"]
    assert len(cache.clear()) == 2
    assert files(place) == []


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRADC_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "gradc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache" / "gradc"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == tmp_path / "Library" / "Caches" / "gradc"
    monkeypatch.setenv("GRADC_CACHE_DIR", str(tmp_path / "mine"))
    assert cache.folder() == tmp_path / "mine"


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("GRADC_CACHE", "1")
    monkeypatch.delenv("GRADC_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache.folder() is None
    assert not cache.write("a", b"code")


def test_the_command_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write("a", bytes(1000))
    __main__.main(["cache"])
    __main__.main(["cache", "clear"])
    __main__.main(["cache"])
    monkeypatch.setenv("GRADC_CACHE", "0")
    __main__.main(["cache"])
    assert capsys.readouterr().out.splitlines() == [
        f"{place}: 1 entry, 1.023 KiB of 256 MiB",
        f"removed 1 entry, 1.023 KiB from {place}",
        f"{place}: 0 entries, 0 bytes of 256 MiB",
        "the cache is switched off (GRADC_CACHE=0)",
    ]


# -- packed code ---------------------------------------------------------------------------------


def test_code_is_unpacked_as_it_was_packed() -> None:
    given = code.Code(
        b"object", ["slow", "c0", "print1"], {"c0": b"\0\1\2", "c1": 7, "c2": b""},
        [code.PrintSite("print1", "{} \u00fc\n", ["f64[3]", "bool[]"])], {"nbytes": 1 << 40},
    )
    assert code.unpack(given.pack()) == given


def test_constants_are_found_in_the_source() -> None:
    b = Builder("f")
    x = b.input("x", TensorType(f8, (3,)))
    c = ops.const(b, np.array([1.0, 2.0, 3.0]))
    graph = b.build([x + c])
    data = c.node.attrs["value"].tobytes()
    assert code.shared({"a": data, "b": data[:16]}, graph) == {"a": c.id, "b": data[:16]}


# -- keys ----------------------------------------------------------------------------------------


def unary(
    op: Callable[..., Any] = ops.sin, dtype: Any = f8, shape: tuple[int, ...] = (3,),
    name: str = "x", constant: Any = 0.0, weak: bool = False,
) -> Graph:
    b = Builder(f"graph_of_{name}")
    x = b.input(name, TensorType(np.dtype(dtype), shape, weak))
    y = ops.const(b, constant)
    return b.build([op(x), y])


def test_equal_graphs_have_equal_digests_whatever_their_names() -> None:
    assert digest(unary()) == digest(unary(name="y"))


def test_different_graphs_have_different_digests() -> None:
    graphs = [
        unary(), unary(op=ops.cos), unary(dtype=f4), unary(shape=(4,)), unary(shape=(1, 3)),
        unary(constant=-0.0), unary(constant=np.float32(0)), unary(constant=0),
        unary(constant=[0.0]), unary(constant=False), unary(constant=float("nan")),
        unary(constant=np.zeros(100)), unary(constant=-np.zeros(100)),
        unary(shape=(), weak=True), unary(shape=()),
        unary(lambda x: ops.sum_(x, axes=(0,))), unary(lambda x: ops.sum_(x, axes=())),
        unary(lambda x: ops.reshape(x, shape=(3, 1))),
        unary(lambda x: ops.reshape(x, shape=(1, 3))),
        unary(lambda x: ops.convert(x, dtype=f4)),
        unary(lambda x: ops.convert(x, dtype=np.dtype("i4"))),
        unary(lambda x: ops.cumsum(x, axis=0, reverse=True)),
        unary(lambda x: ops.cumsum(x, axis=0, reverse=False)),
        unary(lambda x: ops.sin(ops.sin(x))), unary(lambda x: x - ops.sin(x)),
        unary(lambda x: ops.sin(x) - x),
    ]
    swapped = unary()
    graphs.append(Graph("g", swapped.nodes, swapped.inputs, swapped.outputs[::-1]))
    graphs.append(Graph("g", swapped.nodes, swapped.inputs, swapped.outputs[:1]))
    assert len({digest(graph) for graph in graphs}) == len(graphs)


def test_a_key_names_all_that_code_depends_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = unary()
    keys = [fingerprint.key([graph], "entry", 1), fingerprint.key([graph], "entry", 2)]
    assert keys[0] == fingerprint.key([unary()], "entry", 1)
    monkeypatch.setattr(gradc, "__version__", "999")
    fingerprint.fingerprint.cache_clear()
    keys.append(fingerprint.key([graph], "entry", 1))
    monkeypatch.setattr(fingerprint, "_SOURCES", (("kernel.py", 1, 2),))
    fingerprint.fingerprint.cache_clear()
    keys.append(fingerprint.key([graph], "entry", 1))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    fingerprint.fingerprint.cache_clear()
    monkeypatch.setenv("GRADC_CACHE", "0")
    assert fingerprint.key([graph], "entry", 1) is None
