"""Which construct asked a traced value for what is not known, and what to write instead."""

from __future__ import annotations

import ast
import dis

from gradc.construct import Parents, standing
from gradc.source import user_frame

#: the instructions that ask for a truth to go on here or there
_TESTS = ("POP_JUMP", "JUMP_IF", "TO_BOOL", "UNARY_NOT")
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or",
}
#: the longest text of a pattern or function that a message holds
_LONG = 40

_SORT = "np.sort(np.array(values)), or np.argsort(np.array(keys)), whose places index an array"
_WHERE = "np.where(condition, a, b), or a loop over the array with an `if`"
#: the name of a function or method -> what to write instead
_INSTEAD = {
    "sorted": _SORT, "sort": _SORT, "cmp_to_key": _SORT, "groupby": _SORT, "insort": _SORT,
    "heappush": _SORT, "heappop": _SORT, "heapify": _SORT, "nsmallest": _SORT, "nlargest": _SORT,
    "bisect": "np.searchsorted", "bisect_left": "np.searchsorted",
    "bisect_right": "np.searchsorted", "median": "np.median(np.array(values))",
    "fmean": "np.mean(np.array(values))", "mean": "np.mean(np.array(values))",
    "max": "np.max, or np.maximum, of arrays", "min": "np.min, or np.minimum, of arrays",
    "index": "np.argmax(np.array(values) == x), the first place of an equal one",
    "count": "np.sum(np.array(values) == x)", "countOf": "np.sum(np.array(values) == x)",
    "remove": "np.where(values == x, 0.0, values): what is left has no known length",
    "takewhile": _WHERE, "dropwhile": _WHERE, "filterfalse": _WHERE, "compress": _WHERE,
    "reduce": "a function of one's own in place of a builtin: functools.reduce(lambda a, b: "
    "max(a, b), values); or np.max",
    "accumulate": "np.maximum.accumulate(values), or lambda a, b: max(a, b) in place of max",
    "map": "[f(v) for v in values]: a comprehension's calls are compiled",
    "vectorize": "np.array([f(v) for v in values])",
    "fromiter": "np.array([f(v) for v in values])",
}  # fmt: skip


def asker() -> tuple[str, str]:
    """The construct at which the user's program stands, and what to write in its place.

    Both are empty where there is no source, or nothing more to be said.
    """
    frame = user_frame()
    found = standing(frame) if frame is not None else None
    if frame is None or found is None:
        return "", ""
    node, parents = found
    instruction = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if isinstance(node, ast.pattern):
        return _of_pattern(node, parents)
    if instruction.startswith(_TESTS):
        return _of_test(node, parents), ""
    match node:
        case ast.Call():
            return _of_call(node)
        case ast.Compare():
            ops = dict.fromkeys(f"`{_OPERATORS.get(type(op), 'is')}`" for op in node.ops)
            if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
                return " or ".join(ops), "a tuple or list to look in: x in (1.0, 2.0)"
            return " or ".join(ops), (
                "compare elements, or np.array(values) in place of a list or tuple of them"
            )
        case ast.JoinedStr() | ast.FormattedValue():
            return "an f-string", ""
        case ast.BinOp(op=ast.Mod(), left=ast.Constant(value=str())):
            return "formatting by `%`", ""
        case ast.Set() | ast.SetComp():
            return "a set", ""
        case ast.Dict() | ast.DictComp():
            return "a key of a dict", ""
    return "", ""


def _of_call(node: ast.Call) -> tuple[str, str]:
    function = node.func
    while isinstance(function, ast.Call):  # np.vectorize(f)(x)
        function = function.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name == "__setitem__":
        return "", ""
    text = _short(function)
    remedy = _INSTEAD.get(name, "") if text != "operator.index" else ""
    if any(one.arg == "key" for one in node.keywords):
        return f"`{text}(key=...)`", remedy
    inner = [_of_call(one) for one in node.args if isinstance(one, ast.Call)]
    for what, instead in inner:  # what is asked for late, as by takewhile in a sum
        if instead and not remedy:
            return what, instead
    return f"`{text}`", remedy


def _of_pattern(node: ast.pattern, parents: Parents) -> tuple[str, str]:
    whole: ast.AST = node
    while isinstance(parents.get(whole), ast.pattern):
        whole = parents[whole]
    return f"`case {_short(whole)}`", (
        "match what is known, as a structure or a kind, and compare in an `if`: "
        "if p == 2.5: ..."
    )


def _of_test(node: ast.AST, parents: Parents) -> str:
    """What a test belongs to: the node itself where Python gives its jumps the place of that."""
    around: ast.AST | None = node
    while around is not None:
        match around:
            case ast.If() | ast.While():
                return f"`{type(around).__name__.lower()}`"
            case ast.Assert():
                return "`assert`"
            case ast.IfExp():
                return "a conditional expression"
            case ast.UnaryOp(op=ast.Not()):
                return "`not`"
            case ast.BoolOp(op=op):
                return f"`{_OPERATORS[type(op)]}`"
            case ast.comprehension():
                return "the `if` of a comprehension"
            case ast.match_case():
                return "the `if` of a `case`"
            case ast.stmt():
                break
        around = parents.get(around)
    return "a chain of comparisons" if isinstance(node, ast.Compare) else ""


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
