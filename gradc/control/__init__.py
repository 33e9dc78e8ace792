"""Loops and branches: as functions, and what Python's own statements are rewritten to."""

from gradc.control.branches import cond, switch
from gradc.control.functional import fori_loop, scan, while_loop
from gradc.control.ranges import Range
from gradc.control.statements import branched, counted, repeated
from gradc.control.undefined import UNDEFINED, Undefined

__all__ = [
    "UNDEFINED",
    "Range",
    "Undefined",
    "branched",
    "cond",
    "counted",
    "fori_loop",
    "repeated",
    "scan",
    "switch",
    "while_loop",
]
