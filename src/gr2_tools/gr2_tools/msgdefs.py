"""Message types as installed here: their full definition texts, hashes and Python classes.

Found through the ament index (``share/<package>/msg``). A bag that carries these texts can be read anywhere,
also where the packages are not installed.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.exceptions import NoTypeSupportImportedException
from rclpy.type_support import check_for_type_support

from gr2_tools.errors import UnknownType

_SEPARATOR = "=" * 80
_BUILTIN = frozenset(
    f"{kind}{bits}"
    for kind, widths in {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (32, 64)}.items()
    for bits in widths
) | {"bool", "byte", "char", "string", "wstring"}
_FIELD = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]", re.MULTILINE)
_INCLUDE = re.compile(r"^\s*#include\s+[\"<]([A-Za-z0-9_/]+)\.idl[\">]", re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """A message type with everything it contains.

    Attributes:
        type_name: as in ``sensor_msgs/msg/Image``.
        encoding: ``ros2msg``, or ``ros2idl`` for packages that ship no .msg files.
        text: the definition, followed by those of all nested types.
        type_hash: RIHS01 hash, empty where the package tells none.
    """

    type_name: str
    encoding: str
    text: str
    type_hash: str


def split_type(type_name: str) -> tuple[str, str]:
    """``package/msg/Name`` or ``package/Name`` -> (package, Name).

    Raises:
        UnknownType: for anything else (services, actions).
    """
    parts = type_name.split("/")
    if len(parts) == 3 and parts[1] == "msg" and all(parts):
        return parts[0], parts[2]
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    raise UnknownType(f"{type_name} is not a message type (package/msg/Name)")


@cache
def find_definition(type_name: str) -> Definition:
    """Collects the definition of a type and of all it contains.

    Raises:
        UnknownType: a package or file is missing; the text names it.
    """
    package, name = split_type(type_name)
    encoding = "ros2msg" if _file(package, name, ".msg").is_file() else "ros2idl"
    parts: list[str] = []
    seen: set[tuple[str, str]] = set()
    pending = [(package, name)]
    while pending:
        key = pending.pop(0)
        if key in seen:
            continue
        seen.add(key)
        text = _read(key, ".msg" if encoding == "ros2msg" else ".idl", type_name)
        if encoding == "ros2msg":
            header = "" if key == (package, name) else f"{_SEPARATOR}\nMSG: {key[0]}/{key[1]}\n"
            pending.extend(_nested_msg(text, key[0]))
        else:
            header = f"{_SEPARATOR}\nIDL: {key[0]}/msg/{key[1]}\n"
            pending.extend(split_type(path) for path in _INCLUDE.findall(text))
        parts.append(header + text.rstrip("\n") + "\n")
    return Definition(f"{package}/msg/{name}", encoding, "".join(parts), local_hash(type_name))


def _nested_msg(text: str, package: str) -> Iterator[tuple[str, str]]:
    for found in _FIELD.findall(text):
        if found in _BUILTIN:
            continue
        yield split_type(found) if "/" in found else (package, found)


def _file(package: str, name: str, suffix: str) -> Path:
    try:
        share = get_package_share_directory(package)
    except (PackageNotFoundError, ValueError):
        raise UnknownType(f"package {package} is not installed here") from None
    return Path(share) / "msg" / f"{name}{suffix}"


def _read(key: tuple[str, str], suffix: str, wanted_by: str) -> str:
    path = _file(*key, suffix)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UnknownType(f"{key[0]}/msg/{key[1]} (in {wanted_by}) has no definition at {path}") from None


@cache
def local_hash(type_name: str) -> str:
    """RIHS01 hash of the installed definition of a type; empty where the package ships none.

    Raises:
        UnknownType: the package is not installed.
    """
    package, name = split_type(type_name)
    path = _file(package, name, ".json")
    if not path.is_file():
        return ""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["type_hashes"]
        return next(str(e["hash_string"]) for e in entries if e["type_name"] == f"{package}/msg/{name}")
    except (ValueError, KeyError, TypeError, StopIteration):
        return ""


@cache
def message_class(type_name: str) -> type:
    """The Python class of a message type, its compiled type support loaded.

    Raises:
        UnknownType: the package, the type or its type support is missing; the text says which.
    """
    package, name = split_type(type_name)
    try:
        module = importlib.import_module(f"{package}.msg")
    except ImportError as error:
        raise UnknownType(f"package {package} is not installed here ({error})") from None
    found = getattr(module, name, None)
    if found is None:
        raise UnknownType(f"package {package} has no message {name}")
    try:
        check_for_type_support(found)
    except (NoTypeSupportImportedException, AttributeError, ImportError) as error:
        raise UnknownType(f"the type support of {type_name} does not load: build {package} again") from error
    return found


def type_hash_of(endpoint_hash: object) -> str:
    """Hash that a publisher announces, as text; empty where its middleware announces none."""
    text = str(endpoint_hash)
    return text if text.startswith("RIHS") else ""
