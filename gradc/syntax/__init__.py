"""Plain Python loops and branches on traced values, by rewriting functions' syntax trees."""

from __future__ import annotations
