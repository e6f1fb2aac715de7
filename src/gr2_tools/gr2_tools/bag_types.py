"""Topics and messages as a bag holds them, and how their bytes become objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from rclpy.serialization import deserialize_message
from rosbags.interfaces import Qos
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from gr2_tools.errors import BagError
from gr2_tools.msgdefs import find_definition, local_hash, message_class

_IDL_SEPARATOR = "=" * 80 + "\n"
_PARSE_ERRORS = (SerdeError, TypesysError, struct.error, ValueError, TypeError, KeyError, IndexError)


@dataclass(frozen=True)
class BagTopic:
    """A topic as recorded.

    Attributes:
        name, type_name: e.g. ``/robot_state``, ``gr2_msgs/msg/RobotState``.
        encoding, definition: ``ros2msg`` or ``ros2idl`` text with all nested types; empty where the bag has none.
        type_hash: RIHS01 hash; empty where the bag has none.
        offers: what the recorded publishers offered.
        count: messages in the bag.
    """

    name: str
    type_name: str
    encoding: str
    definition: str
    type_hash: str
    offers: tuple[Qos, ...]
    count: int


class BagMessage(NamedTuple):
    """A serialized message (CDR) with the times it was received and published [ns].

    Attributes:
        topic: its name.
        info: all about the topic.
    """

    topic: str
    log_time: int
    publish_time: int
    data: bytes
    info: BagTopic

    def message(self) -> Any:
        """The message as an object of the type installed here, as a subscription would deliver it.

        Raises:
            UnknownType: the type is not installed.
            BagError: it was recorded with another definition, or the bytes do not fit it.
        """
        cls = message_class(self.info.type_name)
        require_same_definition(self.info)
        try:
            return deserialize_message(self.data, cls)
        except (RuntimeError, ValueError) as error:
            raise BagError(f"{self.topic}: a message cannot be deserialised: {one_line(error)}") from error

    def portable(self) -> Any:
        """The message as a rosbags dataclass, by the definition in the bag: nothing needs to be installed.

        Raises:
            BagError: the bytes do not fit the definition.
            UnknownType: the bag has no definition, and the type is not installed either.
        """
        try:
            return _from_cdr(typestore_of(self.info), self.data, self.info.type_name)
        except _PARSE_ERRORS as error:
            raise BagError(f"{self.topic}: a message cannot be deserialised: {one_line(error)}") from error


@cache
def typestore_of(topic: BagTopic) -> Typestore:
    """A rosbags type store with the type of a topic.

    Raises:
        BagError: the definition in the bag is malformed.
        UnknownType: the bag has none and the type is not installed.
    """
    encoding, text = topic.encoding, topic.definition
    if not text:
        found = find_definition(topic.type_name)
        encoding, text = found.encoding, found.text
    store = get_typestore(Stores.EMPTY)
    try:
        if encoding == "ros2msg":
            store.register(get_types_from_msg(text, topic.type_name))
        else:
            types: dict[str, Any] = {}
            for part in text.split(_IDL_SEPARATOR):
                if part.strip():
                    types.update(get_types_from_idl(part.split("\n", 1)[1] if part[:4] == "IDL:" else part))
            store.register(types)
    except (TypesysError, IndexError, KeyError) as error:
        raise BagError(
            f"the definition of {topic.type_name} ({topic.name}) in the bag is malformed: {error}"
        ) from error
    return store


@cache
def recorded_hash(topic: BagTopic) -> str:
    """RIHS01 hash of the recorded definition: as noted in the bag, else computed; empty where it has neither.

    Raises:
        BagError: the definition in the bag is malformed.
    """
    if topic.type_hash or not topic.definition:
        return topic.type_hash
    try:
        return typestore_of(topic).hash_rihs01(topic.type_name)
    except (TypesysError, KeyError) as error:
        raise BagError(
            f"the definition of {topic.type_name} ({topic.name}) in the bag is incomplete: {error}"
        ) from error


def require_same_definition(topic: BagTopic) -> None:
    """Raises BagError when a type was recorded with another definition than the installed one."""
    here, there = local_hash(topic.type_name), recorded_hash(topic)
    if here and there and here != there:
        raise BagError(
            f"{topic.type_name} in the bag has another definition than the one installed here: build the version it "
            f"was recorded with ({there[:15]}… in the bag, {here[:15]}… here)"
        )


def _from_cdr(store: Typestore, data: bytes, type_name: str) -> Any:
    """Deserialises; bytes behind the message are ignored, as ROS itself does.

    rclpy's serialize_message reserves room for the alignment of doubles also behind an empty float64[], and leaves it
    uninitialised: stray bytes behind a JointState without effort, which rosbags' own function would refuse.
    """
    if data[:2] not in (b"\x00\x00", b"\x00\x01"):
        raise SerdeError(f"its encapsulation {data[:4].hex(' ')} is not plain CDR")
    definition = store.get_msgdef(type_name)
    read = definition.deserialize_cdr_le if data[1] else definition.deserialize_cdr_be
    return read(data[4:], 0, definition.cls, store)[0]


def one_line(error: Exception) -> str:
    """The text of an exception, without line breaks."""
    return " ".join(f"{error}".split()) or type(error).__name__
