"""Printing that outlives its reader: a closed pipe or terminal must not end a recording."""

from __future__ import annotations

from typing import TextIO


def print_line(stream: TextIO, text: str) -> None:
    """Prints a line at once; says nothing if nobody can hear it any more."""
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # a closed pipe, a hung-up terminal, a closed stream
        return
