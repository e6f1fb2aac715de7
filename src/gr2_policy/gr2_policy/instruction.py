"""Instructions as they are compared, followed and judged: one form for everybody who hears them."""

from __future__ import annotations

LONGEST = 1000  # characters


class BadInstruction(ValueError):
    """An instruction that is not read at all; the message says why."""


def clean(text: str) -> str:
    """Blanks collapsed, control characters dropped; empty means: stop.

    Raises:
        BadInstruction: it is longer than :data:`LONGEST` characters.
    """
    if len(text) > LONGEST:
        raise BadInstruction(f"{len(text)} characters; at most {LONGEST} are read")
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)
