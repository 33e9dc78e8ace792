"""What a branch or loop on traced values does to Python's own objects is refused, or unrolled.

Traced once for both ways, it would happen whatever the values are.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradc
from gradc.errors import GradcError

TOTAL = 0.0


class Settings:
    scale = 1.0


class Slotted:
    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


def assign(value: Any) -> Any:
    global TOTAL
    TOTAL = value
    return value


def a_global(x: Any) -> Any:
    global TOTAL
    TOTAL = 1.0
    if x > 1:  # !
        TOTAL = 3.0
    return TOTAL * x


def a_traced_global(x: Any) -> Any:
    global TOTAL
    TOTAL = x
    while TOTAL < 10:  # !
        TOTAL = TOTAL + 1
    return TOTAL * x


def a_global_by_a_function(x: Any) -> Any:
    assign(1.0)
    if x > 1:  # !
        assign(5.0)
    return TOTAL * x


def a_new_global(x: Any) -> Any:
    global NEW
    if x > 1:  # !
        NEW = 5.0
    return x * (5.0 if "NEW" in globals() else 1.0)


def a_global_in_an_expression(x: Any) -> Any:
    assign(1.0)
    y = assign(7.0) if x > 1 else x  # !
    return TOTAL * y


def an_attribute_of_a_class(x: Any) -> Any:
    Settings.scale = 1.0
    if x > 1:  # !
        Settings.scale = 2.0
    return Settings.scale * x


def an_attribute_of_the_class_of_an_object(x: Any) -> Any:
    settings = Settings()
    Settings.scale = 1.0
    if x > 1:  # !
        type(settings).scale = 2.0
    return settings.scale * x


def a_slot(x: Any) -> Any:
    held = Slotted(1.0)
    if x > 1:  # !
        held.value = 2.0
    return held.value * x


def an_attribute_of_a_function(x: Any) -> Any:
    def scale() -> None:
        pass

    scale.value = 1.0  # type: ignore[attr-defined]
    if x > 1:  # !
        scale.value = 2.0  # type: ignore[attr-defined]
    return scale.value * x  # type: ignore[attr-defined]


def an_attribute_of_a_module(x: Any) -> Any:
    module = types.ModuleType("settings")
    module.__file__ = "settings.py"
    module.value = 1.0  # type: ignore[attr-defined]
    if x > 1:  # !
        module.value = 2.0  # type: ignore[attr-defined]
    return module.value * x


def bytes_in_place(x: Any) -> Any:
    text = bytearray(b"a")
    if x > 1:  # !
        text.append(1)
    return len(text) * x


def a_list_in_the_test_of_a_loop(x: Any) -> Any:
    seen = []

    def goes_on(z: Any) -> Any:
        seen.append(1)
        return z < 100

    while goes_on(x):  # !
        x = x * 2
    return len(seen) + x


def an_attribute_in_an_expression(x: Any) -> Any:
    held = Slotted(1.0)

    def change() -> float:
        held.value = 2.0
        return 1.0

    y = x > 1 and change() > 0  # !
    return held.value + x * y


def an_iterator_in_an_expression(x: Any) -> Any:
    rest = iter([1.0, 2.0])
    y = next(rest) if x > 1 else 0.0  # !
    return y + next(rest) + x


@pytest.mark.parametrize(("program", "what"), [
    (a_global, "a branch on a traced value changes the global `TOTAL`"),
    (a_traced_global, "changes the global `TOTAL`"),
    (a_global_by_a_function, "a branch on a traced value changes the global `TOTAL`"),
    (a_new_global, "a branch on a traced value changes the global `NEW`"),
    (a_global_in_an_expression, "conditional expression on a traced value changes the global `TO"),
    (an_attribute_of_a_class, "changes the attribute `Settings.scale` of a type"),
    (an_attribute_of_the_class_of_an_object, "changes the attribute `"),
    (a_slot, "changes the attribute `held.value` of a Slotted"),
    (an_attribute_of_a_function, "changes the attribute `scale.value` of a function"),
    (an_attribute_of_a_module, "changes the attribute `module.value` of a module"),
    (bytes_in_place, "changes the bytearray `text`"),
    (a_list_in_the_test_of_a_loop, "the test of a loop that is compiled changes the list `seen`"),
    (an_attribute_in_an_expression, "and on a traced value changes the attribute `held.value`"),
    (an_iterator_in_an_expression, "may advance the iterator `rest`"),
])  # fmt: skip
def test_refused(program: Callable[[Any], Any], what: str) -> None:
    Settings.scale = 1.0
    with pytest.raises(GradcError) as info:
        gradc.compile(program)(2.5)
    assert what in info.value.what
    assert info.value.remedy
    assert Settings.scale == 1.0 and "NEW" not in globals()
    lines = Path(__file__).read_text().splitlines()[program.__code__.co_firstlineno - 1 :]
    marked = next(k for k, line in enumerate(lines) if line.endswith("# !"))
    assert info.value.where is not None
    assert info.value.where.file == __file__
    assert info.value.where.line == program.__code__.co_firstlineno + marked


def a_sum_in_a_global(x: Any) -> Any:
    global TOTAL
    TOTAL = 0.0
    for k in range(30):
        TOTAL = TOTAL + x * k
    return TOTAL


def a_function_that_is_called(x: Any) -> Any:
    for k in range(30):
        if k % 2:
            assign(x * k)
    return TOTAL


def a_class_of_its_own(x: Any) -> Any:
    class Doubling:
        def __call__(self, z: Any) -> Any:
            while z < 10:
                z = z * 2
            return z

    return Doubling()(x)


@pytest.mark.parametrize("program", [
    a_sum_in_a_global, a_function_that_is_called, a_class_of_its_own,
])  # fmt: skip
def test_as_in_python(program: Callable[[Any], Any]) -> None:
    assert gradc.compile(program)(2.5) == pytest.approx(program(2.5), rel=1e-14)
