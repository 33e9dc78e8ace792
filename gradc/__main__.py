"""``python -m gradc cache``: what the code cache holds, and how to empty it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gradc.codegen import cache


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m gradc")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cache", help="show or empty the cache of compiled code")
    command.add_argument(
        "action", nargs="?", choices=("show", "clear"), default="show",
        help="show where it is and how large (the default), or remove what is in it",
    )
    action = parser.parse_args(arguments).action
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
