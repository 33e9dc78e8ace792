"""``python -m gradc``: export functions, and look after the cache of compiled code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gradc.codegen import cache
from gradc.codegen.targets import NAMED
from gradc.errors import GradcError

_EXAMPLE = """example:
  python -m gradc export model.py:loss --args "f64[784,16], f64[16], f32[]" \\
      --output build/model --formats so,h --target aarch64-linux
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m gradc", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_cache(commands)
    _add_export(commands)
    chosen = parser.parse_args(arguments)
    if "function" in chosen:
        return _export(chosen, parser)
    return _cache(chosen.action)


# -- export --------------------------------------------------------------------------------------


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "export", help="write a function as C functions that need no Python", epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "function", help="module:function, or file.py:function; gradc.compile is applied if need be"
    )
    command.add_argument(
        "--args", default="", metavar="TYPES",
        help='a type for each argument: "f64[784], f64[10]"; tuples, lists and dicts of types as '
        "Python writes them; numbers that the function needs while it is traced",
    )
    command.add_argument(
        "--output", metavar="PATH", help="folder and name of the files; the function's name if none"
    )
    command.add_argument(
        "--formats", default="so,h", help="so, h, o, ll and py, between commas (so,h if not given)"
    )
    command.add_argument(
        "--target", help=f"the machine: host (if not given), {', '.join(NAMED)}"
    )
    command.add_argument("--name", help="what the C functions' names begin with")
    command.add_argument(
        "--blas", choices=["link"], help="leave large products to a BLAS that is linked later"
    )


def _export(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from gradc.commandline import function_of, types_of

    try:
        function = function_of(chosen.function)
        made = function.export(
            chosen.output or function.__name__, *types_of(chosen.args),
            formats=[f.strip() for f in chosen.formats.split(",")], target=chosen.target,
            name=chosen.name, blas=chosen.blas,
        )
    except GradcError as error:
        # The line is the user's, unless the command line itself is at fault.
        lines = [x for x in str(error).splitlines() if not x.startswith("  at <frozen runpy>")]
        parser.exit(1, f"{parser.prog} export: " + "\n".join(lines) + "\n")
    print(made)
    return 0


# -- cache ---------------------------------------------------------------------------------------


def _add_cache(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("cache", help="show or empty the cache of compiled code")
    command.add_argument(
        "action", nargs="?", choices=("show", "clear"), default="show",
        help="show where it is and how large (the default), or remove what is in it",
    )


def _cache(action: str) -> int:
    if not cache.enabled():
        print("the cache is switched off (GRADC_CACHE=0)")
        return 0
    entries = cache.clear() if action == "clear" else cache.entries()
    size = sum(entry.nbytes for entry in entries)
    count = f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}, {_readable(size)}"
    if action == "clear":
        print(f"removed {count} from {cache.folder()}")
    else:
        print(f"{cache.folder() or 'no folder'}: {count} of {_readable(cache.limit())}")
        if reason := cache.refusal():
            print(f"not used: {reason}")
    return 0


def _readable(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.4g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.4g} GiB"


if __name__ == "__main__":
    raise SystemExit(main())
