"""How parent and child talk: over two pipes, each message a length (4 bytes, big-endian) and that much JSON."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

MAX_MESSAGE = 64 << 20  # bytes; the keyframes of a day of video are a hundredth of it

_LENGTH = struct.Struct(">I")


class TooLarge(ValueError):
    """A message is larger than `MAX_MESSAGE`."""


def write_message(fd: int, message: dict[str, Any]) -> None:
    """Write one message.

    Args:
        fd: the pipe's end for writing.
        message: what to say; lone surrogates in strings (of odd file names) survive.

    Raises:
        OSError: if the other side is gone.
        TooLarge: if the message is larger than `MAX_MESSAGE`.
        ValueError: if a number in it is none.
    """
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(body) > MAX_MESSAGE:
        raise TooLarge(f"a message of {len(body)} bytes is too large")
    data = memoryview(_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def read_message(fd: int) -> dict[str, Any] | None:
    """Read one message, waiting for it.

    Args:
        fd: the pipe's end for reading.

    Returns:
        The message, or None if the other side has closed the pipe.
    """
    reader = MessageReader()
    while True:
        data = os.read(fd, reader.wanted)
        if not data:
            return None
        if reader.feed(data):
            return reader.message()


class MessageReader:
    """Puts one message together from the pieces that a pipe gives."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._size: int | None = None

    @property
    def wanted(self) -> int:
        """How many bytes may be read next, so that nothing of a following message is taken."""
        if self._size is None:
            return _LENGTH.size - len(self._data)
        return min(self._size - len(self._data), 1 << 20)

    def feed(self, data: bytes) -> bool:
        """Take bytes in.

        Args:
            data: at most `wanted` bytes.

        Returns:
            Whether the message is whole.

        Raises:
            ValueError: if the message is larger than `MAX_MESSAGE`.
        """
        self._data += data
        if self._size is None and len(self._data) == _LENGTH.size:
            (self._size,) = _LENGTH.unpack(self._data)
            if self._size > MAX_MESSAGE:
                raise ValueError(f"a message of {self._size} bytes is too large")
            self._data.clear()
        return self._size is not None and len(self._data) == self._size

    def message(self) -> dict[str, Any]:
        """Return the whole message.

        Raises:
            ValueError: if it is no JSON object.
        """
        value = json.loads(self._data)
        if not isinstance(value, dict):
            raise ValueError("a message must be an object")
        return value
