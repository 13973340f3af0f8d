"""Magic recipient numbers: the number of a recipient chooses what becomes of it.

They all begin with +1 200, an area code that the North American Numbering Plan keeps unassigned, so none of them
can ever belong to anybody. Three digits name the fate, four are its argument.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from receiver.bandwidth.error_codes import explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event in the life of a recipient, in the words of Bandwidth's "Callbacks" guide."""

    type: str
    description: str
    error_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientFate:
    """The fate of one recipient: its events, and when and how often they are sent."""

    steps: tuple[Step, ...]
    """Its events in the order in which they occur."""
    copies: int = 1
    """How many times each event is sent, all at the same moment."""
    before_response: bool = False
    """Whether the first event is sent before the response to the create-message request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MagicNumber:
    """A row of the table below. CCCC is an error code, N a digit, xxxx anything."""

    number: str
    meaning: str
    fate: Callable[[int], RecipientFate]
    """Takes the last four digits."""


SENDING = Step(type="message-sending", description="Message is sending to carrier")
SENT = Step(type="message-sent", description="Message sent to carrier")
DELIVERED = Step(type="message-delivered", description="ok")
RECEIPT = Step(type="message-delivered", description="Message delivered to carrier.")


def failed(code: int) -> Step:
    """A failure with this error code; 0 stands for a failure without any."""
    name = explain(code).name if code else None
    return Step(type="message-failed", description=name or "failed", error_code=code or None)


MAGIC_NUMBERS = (
    MagicNumber(
        number="+1200555CCCC",
        meaning="failed with code CCCC (0000: without a code), the correct outcome of an invalid recipient",
        fate=lambda code: RecipientFate(steps=(failed(code),)),
    ),
    MagicNumber(
        number="+1200556CCCC",
        meaning="an invalid recipient as Bandwidth reports it today: failed with code CCCC, then delivered",
        fate=lambda code: RecipientFate(steps=(failed(code), DELIVERED)),
    ),
    MagicNumber(
        number="+1200557CCCC",
        meaning="the same in the other order: delivered, then failed with code CCCC",
        fate=lambda code: RecipientFate(steps=(DELIVERED, failed(code))),
    ),
    MagicNumber(
        number="+1200558xxxx",
        meaning="receipts on: sending, then delivered",
        fate=lambda _: RecipientFate(steps=(SENDING, RECEIPT)),
    ),
    MagicNumber(
        number="+1200559xxxx",
        meaning="receipts on, but none arrives: sending, and nothing more",
        fate=lambda _: RecipientFate(steps=(SENDING,)),
    ),
    MagicNumber(
        number="+1200560xxxx",
        meaning="failed with 9902 (no receipt in time), then delivered after all",
        fate=lambda _: RecipientFate(steps=(failed(9902), RECEIPT)),
    ),
    MagicNumber(
        number="+1200561xxxN",
        meaning="delivered, and repeated N more times in identical copies",
        fate=lambda digits: RecipientFate(steps=(DELIVERED,), copies=digits % 10 + 1),
    ),
    MagicNumber(
        number="+1200562xxxx",
        meaning="delivered before the request gets its 202",
        fate=lambda _: RecipientFate(steps=(DELIVERED,), before_response=True),
    ),
    MagicNumber(
        number="+1200563xxxx",
        meaning="sent, then delivered",
        fate=lambda _: RecipientFate(steps=(SENT, RECEIPT)),
    ),
    MagicNumber(
        number="+1200564CCCC",
        meaning="receipts on: sending, then failed with code CCCC",
        fate=lambda code: RecipientFate(steps=(SENDING, failed(code))),
    ),
    MagicNumber(
        number="+1200566xxxx",
        meaning="accepted, and then no event at all",
        fate=lambda _: RecipientFate(steps=()),
    ),
)
"""Every other number is delivered."""

_MAGIC = re.compile(r"\+1200([0-9]{3})([0-9]{4})")
_BY_DIGITS = {magic.number[5:8]: magic.fate for magic in MAGIC_NUMBERS}
_ORDINARY = RecipientFate(steps=(DELIVERED,))


def fate_of(number: str) -> RecipientFate:
    """Returns the fate of the recipient with this E.164 number."""
    digits = _MAGIC.fullmatch(number)
    if digits is None or digits[1] not in _BY_DIGITS:
        return _ORDINARY
    return _BY_DIGITS[digits[1]](int(digits[2]))
