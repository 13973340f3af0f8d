"""Bugs that are put into a process for a test, because no log may show what an error of the program quotes."""

from typing import Any, Never

from receiver.bandwidth import client
from receiver.core.messages import OutboundMessage, SendResult
from receiver.reports import messages


def install(number: str, quoted: str) -> None:
    """Makes a send to ``number``, and every report of events, raise errors that quote all that they know."""
    create = client.BandwidthGateway.create_message

    def create_message(gateway: Any, message: OutboundMessage, *, tag: str) -> SendResult:
        if number in message.to:
            raise RuntimeError(f"{message} {quoted}")
        return create(gateway, message, tag=tag)

    def events(*_: object) -> Never:
        raise RuntimeError(f"{number} {quoted}")

    client.BandwidthGateway.create_message, messages.events = create_message, events  # type: ignore[method-assign]
