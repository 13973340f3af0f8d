"""Says in the log which events came again, and which say something else of a recipient whose outcome was known.

Of events that are durable: what a transaction found that is undone, or tried again, did not happen.
"""

from collections.abc import Iterable

from receiver.core.numbers import identifier, shortened, without_numbers
from receiver.core.status import RecipientStatus, statement
from receiver.log import get_logger, telling
from receiver.storage.recorded import Recorded

log = get_logger(__name__)

KNOWN = frozenset({RecipientStatus.DELIVERED, RecipientStatus.FAILED})
"""Outcomes that nothing should follow; unconfirmed is none."""


@telling(log)
def remark(recorded: Iterable[Recorded]) -> None:
    """A line for each event that deserves one."""
    for each in recorded:
        new_status = statement(each.event.type, each.event.error_code)
        if each.deliveries > 1:
            _say("event repeated", each, new_status)
        elif each.old_status in KNOWN and new_status not in (None, each.old_status):
            _say("event after the outcome", each, new_status)


def _say(line: str, this: Recorded, new_status: RecipientStatus | None) -> None:
    log.info(
        line,
        tag=this.tag,
        message_id=identifier(this.event.message_id),
        type=without_numbers(this.event.type),
        error_code=this.event.error_code or None,
        recipient=shortened(this.event.recipient),
        old_status=this.old_status,
        new_status=new_status,
        delay_seconds=None if this.delay is None else round(this.delay, 3),
        deliveries=this.deliveries,
    )
