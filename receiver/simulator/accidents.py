"""Accidents: at a chosen point of a request to send, its connection ends or stands still."""

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum


class Point(StrEnum):
    """Where a request to send can be, in the order in which it gets there."""

    CONNECTED = "connected"  # it has begun to arrive, and nothing of it was read
    HALF_READ = "request-half-read"  # its head and half of its body
    READ = "request-read"  # all of it; nothing is accepted yet
    ACCEPTED = "accepted"  # with all that follows from that, but no byte of the answer is written
    HALF_WRITTEN = "answer-half-written"  # its head and half of its body
    WRITTEN = "answer-written"


class Action(StrEnum):
    """What happens there."""

    CLOSE = "close"
    RESET = "reset"  # RST: the other side gets an error even if it expects nothing more
    HOLD = "hold"  # nothing more, until it is released or the switches change; then it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Accident:
    at: Point
    do: Action
    seconds: float | None = None
    """The longest time that a request is held; None: until it is released."""


class ConnectionEnded(ConnectionError):
    """An accident has ended the connection: nothing more is read or written."""


def end(connection: socket.socket, how: Action) -> None:
    """Ends the connection; raises ConnectionEnded."""
    with suppress(OSError):  # the client may have gone already
        if how is Action.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(connection.detach())  # its own close() would wait for the files that read and write it
        else:
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionEnded
