"""What was accepted, in a file of its own: it is there to compare with, however the simulator ends."""

import json
from pathlib import Path

from receiver.simulator.clock import written
from receiver.simulator.messages import Message


class Record:
    """A JSON line for every accepted message, with the operating system before the request is answered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def add(self, message: Message) -> None:
        request = message.request
        line = {
            "id": message.id,
            "tag": request.tag,
            "to": request.to,
            "from": request.sender,
            "units": request.units,
            "acceptedAt": written(message.time),
            "monotonic": message.accepted_at,
        }
        self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._file.close()
