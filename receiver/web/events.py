"""Events in JSON, with their payload."""

import json
from collections.abc import Mapping
from typing import Any

from receiver.reports.messages import EventReport
from receiver.web.answers import EventSchema

_EVENT = EventSchema(exclude=["payload"])


def event_text(event: EventReport) -> str:
    """The JSON text of an event."""
    return with_payload(_EVENT.dump(event), event.payload)


def with_payload(fields: Mapping[str, Any], payload: str) -> str:
    """The payload goes out as the text that came in: decoding could not keep every number that JSON can hold."""
    return f'{json.dumps(fields)[:-1]}, "payload": {payload}}}'
