"""Results that take seconds to compute, kept in the user's cache folder by a hash of what they depend on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/gr2``, or ``~/.cache/gr2``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "gr2"


def load(name: str, read: Callable[[Any], Result]) -> Result | None:
    """What ``read`` makes of a cached entry's JSON; None where there is none, or (with a warning) it is damaged."""
    path = cache_folder() / f"{name}.json"
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s is not usable (%s: %s); it is computed anew", path, type(error).__name__, error)
        return None


def store(name: str, entry: Any) -> None:
    """Cache an entry, written aside and renamed. A folder that cannot be written costs time only: it is a warning."""
    path = cache_folder() / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
            json.dump(entry, file)
        os.replace(file.name, path)
    except OSError as error:
        _LOG.warning("%s could not be written: %s", path, error)
