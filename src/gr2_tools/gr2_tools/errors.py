"""What can go wrong with bags, each with a message that a user can act on (one line, no traceback)."""

from __future__ import annotations


class BagError(Exception):
    """Base class: the text is complete, names the file and says what to do."""


class BagExists(BagError):
    """The output of a recording is there already."""


class BagWriteError(BagError):
    """Writing failed; the text says what remains readable."""


class NotABag(BagError):
    """A path holds nothing that can be read as a rosbag2 recording."""


class UnknownType(BagError):
    """A message type is not installed in this environment."""
