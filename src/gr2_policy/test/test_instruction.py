"""Instructions in one form."""

import pytest

from gr2_policy.instruction import LONGEST, BadInstruction, clean


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("  open \t the\ndrawer ", "open the drawer"),
        ("\x07", ""),
        ("öffne die Schublade", "öffne die Schublade"),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("x" * LONGEST, "x" * LONGEST),
    ],
)
def test_clean(said: str, heard: str) -> None:
    assert clean(said) == heard
    assert clean(heard) == heard


def test_too_long_is_not_read() -> None:
    with pytest.raises(BadInstruction, match="1001 characters"):
        clean("x" * 1001)
