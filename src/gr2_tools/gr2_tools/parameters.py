"""Reading node parameters of any spelling (``rate:=2`` and ``rate:=2.0``), with errors a user understands."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from gr2_tools.errors import BagError


class Parameters:
    """Declares parameters on a node and reads them.

    Raises:
        BagError: from every method, when the value is of the wrong kind; the text names the parameter.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def text(self, name: str, default: str) -> str:
        """A string."""
        value = self._value(name, default)
        return str(value) if not isinstance(value, list) else self._refuse(name, value, "a text")

    def number(self, name: str, default: float) -> float:
        """A number, written with or without a decimal point."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, value, "a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            self._refuse(name, value, "true or false")
        return bool(value)

    def names(self, name: str) -> list[str]:
        """A list of texts; a single text counts as a list of one, empty texts as none."""
        value = self._value(name, [""])
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list) or not all(isinstance(e, str) for e in entries):
            self._refuse(name, value, "a list of texts")
        return [e for e in entries if e]

    def _value(self, name: str, default: Any) -> Any:
        descriptor = ParameterDescriptor(dynamic_typing=True)
        value = self._node.declare_parameter(name, default, descriptor).value
        return list(value) if isinstance(value, tuple | set) or hasattr(value, "tolist") else value

    def _refuse(self, name: str, value: Any, wanted: str) -> Any:
        raise BagError(f"parameter {name!r} must be {wanted}, but is {value!r}")
