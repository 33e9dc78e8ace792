"""Loops and branches: as functions, and what Python's own statements are rewritten to."""

from gradc.control.branches import cond, switch
from gradc.control.checkpoints import checkpoint
from gradc.control.custom import custom_jvp, custom_vjp
from gradc.control.functional import fori_loop, while_loop
from gradc.control.ranges import Range
from gradc.control.scans import scan
from gradc.control.statements import branched, counted, repeated
from gradc.control.undefined import UNDEFINED, Undefined

__all__ = [
    "UNDEFINED",
    "Range",
    "Undefined",
    "branched",
    "checkpoint",
    "cond",
    "counted",
    "custom_jvp",
    "custom_vjp",
    "fori_loop",
    "repeated",
    "scan",
    "switch",
    "while_loop",
]
