"""The meaning of Bandwidth's error codes, and what support should do about each.

Bandwidth explains its codes at https://dev.bandwidth.com/docs/messaging/errors/. Codes come and go there, and
stored events keep theirs, so this is the union of the lists in dtolb/v2-messaging (2019), in the history of
Bandwidth/bandwidth.github.io (2019 to 2022), in Bandwidth/api-docs (2023), of the page itself as spoked/mcpd
copied it on 2026-08-31, and in Bandwidth/cli (2026). Names are spelled as Bandwidth prints them, slips included;
``name`` is None where it prints none. ``billable`` is what the last list with such a column said; None means
that no list with that column has the code. Reason and advice are ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ErrorCode:
    code: int
    name: str | None
    category: str
    billable: bool | None
    reason: str
    """What happened, in one sentence."""
    advice: str
    """What to do, in one sentence."""
    remove_number: bool
    """Whether the number should be removed from lists: it cannot receive, or its owner wants no messages."""


BANDWIDTH_CLIENT = "Bandwidth client"
CARRIER_CLIENT = "carrier client"
BANDWIDTH_SERVICE = "Bandwidth service"
CARRIER_SERVICE = "carrier service"
AMBIGUOUS = "ambiguous"
UNKNOWN = "unknown"

YES, NO, UNSAID = True, False, None

# What to do. Sending a group message again reaches everyone in it, hence "this recipient alone". Bandwidth's own
# rule: a refusal (4xxx) repeats itself, its own failures may be tried again, a carrier's once at most.
REMOVE = "remove or correct this number, and send nothing to it before that"
STOP = "stop sending, and remove this number from the list"
FROM = "the sender must correct the from number before sending to this recipient alone again"
REGISTER = "the sender must complete its registration before sending to this recipient alone again"
SUPPORT = "ask Bandwidth support to settle it before sending to this recipient alone again"
SETTINGS = "the operator must correct the settings, then send again to this recipient alone"
TEXT = "the sender must correct the text, then send again to this recipient alone"
MEDIA = "the sender must correct the media, then send again to this recipient alone"
REWRITE = "the sender must change text or links before sending to this recipient alone again"
SPLIT = "the sender must split the list (10 at most), and send only to those that failed"
RENEW = "if it still matters, send again to this recipient alone, to expire later"
OTHERWISE = "do not send the same again, but reach the recipient another way"
LATER = "send again later and once at most, to this recipient alone"
SLOWER = "wait, then send again more slowly, to this recipient alone"
TOMORROW = "send again the next day, to this recipient alone"
RETRY = "send again to this recipient alone, and tell Bandwidth support if it recurs"
ONCE = "send again once at most, to this recipient alone"
ASK_FIRST = "ask the recipient before sending again, once at most and to them alone"

# code, name, billable, what happened, what to do
_Row = tuple[int, str | None, bool | None, str, str]

_BANDWIDTH_CLIENT: tuple[_Row, ...] = (
    (4001, "service-not-allowed", NO, "The account may not use this service", SUPPORT),
    (4121, None, YES, "Bandwidth took the message for spam", REWRITE),
    (4301, "malformed-invalid-encoding", NO, "The text has characters that cannot be sent", TEXT),
    (4302, "malformed-invalid-from-number", NO, "The from number is malformed", FROM),
    (4303, "malformed-invalid-to-number", NO, "The recipient's number is malformed", REMOVE),
    (4350, "malformed-for-destination", NO, "Sending failed, as the number is probably invalid", REMOVE),
    (4360, "message-not-sent-expiration-date-passed", NO, "The message expired before it was sent", RENEW),
    (4401, "rejected-routing-error", NO, "No route: from and to may be the same number", SUPPORT),
    (4403, "rejected-forbidden-from-number", NO, "The from number may not send messages", FROM),
    (4404, "rejected-forbidden-to-number", NO, "The number takes no messages, or is invalid", REMOVE),
    (4405, "rejected-unallocated-from-number", NO, "The from number is not allocated", FROM),
    (4406, "rejected-unallocated-to-number", NO, "No carrier has the recipient's number", REMOVE),
    (4407, "rejected-account-not-defined-from-number", NO, "The from number is not the account's", FROM),
    (4408, "rejected-account-not-defined-to-number", NO, "The number is invalid or not set up", REMOVE),
    (4409, "rejected-invalid-from-profile", NO, "The recipient's number probably takes no MMS", OTHERWISE),
    (4410, "media-unavailable", NO, "Bandwidth could not fetch the media", MEDIA),
    (4411, "rejected-message-size-limit-exceeded", NO, "The media are too large", MEDIA),
    (4412, "media-content-invalid", NO, "Bandwidth does not carry this type of media", MEDIA),
    (4420, "rejected-carrier-does-not-exist", NO, "Bandwidth does not know the carrier", SUPPORT),
    (4421, "rejected-forbidden-no-destination", NO, "The account may not send to this place", SUPPORT),
    (4431, "rejected-forbidden-shortcode", NO, "The account may not use short codes", SUPPORT),
    (4432, "rejected-forbidden-country", NO, "The account may not send to this country", SUPPORT),
    (4433, "rejected-forbidden-tollfree", NO, "The account may not use toll-free numbers", SUPPORT),
    (4434, "rejected-forbidden-tollfree-for-recipient", NO, "This toll-free number takes no texts", OTHERWISE),
    (4435, "forbidden-too-many-recipients", NO, "The group has too many recipients", SPLIT),
    (4451, "rejected-wrong-user-id", NO, "The account's user id is wrong", SETTINGS),
    (4452, "rejected-wrong-application-id", NO, "The application id is not the account's", SETTINGS),
    (4470, "rejected-spam-detected", YES, "Bandwidth filtered the message as spam", REWRITE),
    (4475, "destination-rejected-due-to-user-opt-out", UNSAID, "The recipient has opted out", STOP),
    (4476, "blocked-unregistered", UNSAID, "The from number belongs to no registered campaign", REGISTER),
    (4481, "rejected-from-number-in-blacklist", NO, "Bandwidth has barred the from number", SUPPORT),
    (4482, "rejected-to-number-in-blacklist", NO, "Bandwidth has barred the recipient's number", STOP),
    (4492, "reject-emergency", NO, "An emergency number takes no messages", STOP),
    (4493, "rejected-unauthorized", NO, "The sender may not use this account", SUPPORT),
)
_CARRIER_CLIENT: tuple[_Row, ...] = (
    (4700, "invalid-service-type", YES, "The carrier or the phone takes no such message", OTHERWISE),
    (4701, "destination-service-unavailable", YES, "The recipient could not be reached", LATER),
    (4702, "destination-subscriber-unavailable", YES, "The phone is off, full or barred", LATER),
    (4710, "media-unavailable", UNSAID, "The carrier could not fetch the media", MEDIA),
    (4711, "rejected-message-size-limit-exceeded", YES, "The media are too large for the carrier", MEDIA),
    (4712, "media-content-invalid", YES, "The carrier does not take this type of media", MEDIA),
    (4720, "invalid-destination-address", YES, "No such number, a landline, or it bars toll-free senders", REMOVE),
    (4721, "destination-tn-deactivated", YES, "The recipient's number is deactivated", REMOVE),
    (4730, "no-route-to-destination-carrier", YES, "No route leads to the recipient", OTHERWISE),
    (4735, "too-many-recipients", UNSAID, "The group is too large for the carrier", SPLIT),
    (4740, "invalid-source-address-address", YES, "The carrier does not accept the from number", FROM),
    (4750, "destination-rejected-message", YES, "The carrier refused without a reason", SUPPORT),
    (4751, "destination-rejected-message-size-invalid", YES, "The text is too long for the carrier", TEXT),
    (4752, "destination-rejected-malformed", YES, "The carrier finds the message malformed", TEXT),
    (4753, "destination-rejected-handset", YES, "The recipient's phone refused the message", OTHERWISE),
    (4754, "unsupported-channel", UNSAID, "The carrier does not carry this kind of message", OTHERWISE),
    (4770, "destination-spam-detected", YES, "The carrier blocked the message as spam", REWRITE),
    (4771, "rejected-shortened-url", YES, "The carrier refuses the shortened link", REWRITE),
    (4772, "rejected-tn-blocked", YES, "A carrier blocks the sender or the recipient", SUPPORT),
    (4773, "inactive-campaign", YES, "The sender's campaign is not active", REGISTER),
    (4774, "provisioning-issue", YES, "The industry's records of the from number are wrong", SUPPORT),
    (4775, "destination-rejected-due-to-user-opt-out", YES, "The recipient has opted out", STOP),
    (4780, "volume-violation-tmo", YES, "The brand's daily limit at T-Mobile is used up", TOMORROW),
    (4781, "volume-violation-att", YES, "The campaign's rate at AT&T was exceeded", SLOWER),
    (4785, "volumetric-violation", YES, "The carrier's limit on volume was exceeded", SLOWER),
    (4790, "destination-rejected-sc-not-allowed", YES, "The recipient takes no short codes", OTHERWISE),
    (4791, "destination-rejected-campaign-not-allowed", YES, "The carrier bars the campaign", SUPPORT),
    (4792, "destination-rejected-sc-not-provisioned", YES, "The carrier lacks the short code", SUPPORT),
    (4793, "destination-rejected-sc-expired", YES, "The short code expired at the carrier", SUPPORT),
    (4794, "destination-rejected-expired", UNSAID, "The carrier refused the message as expired", SUPPORT),
    (4795, "tfn-not-verified", YES, "The toll-free from number is not verified", REGISTER),
)
_BANDWIDTH_SERVICE: tuple[_Row, ...] = (
    (5100, "temporary-app-error", NO, "Bandwidth had a passing fault", RETRY),
    (5101, "temporary-app-shutdown", NO, "A part of Bandwidth was shutting down", RETRY),
    (5106, "impossible-to-route", NO, "Bandwidth found no route after several tries", RETRY),
    (5111, "temporary-app-connection-closed", NO, "A connection inside Bandwidth was gone", RETRY),
    (5112, None, NO, "A part of Bandwidth failed", RETRY),
    (5143, None, NO, "A part of Bandwidth failed", RETRY),
    (5144, None, NO, "A part of Bandwidth failed", RETRY),
    (5146, None, NO, "A part of Bandwidth failed", RETRY),
    (5201, "temporary-rout-error-retries-exceeded", NO, "Bandwidth gave up after several tries", RETRY),
    (5211, "temporary-app-error-app-busy", NO, "A part of Bandwidth was too busy", RETRY),
    (5220, "temporary-store-error", NO, "Bandwidth could not store the message", RETRY),
    (5229, None, UNSAID, "The from number could not be tied to its campaign", REGISTER),
    (5231, "discarded-concatenation-timeout", NO, "Parts of the message never arrived", RETRY),
    (5500, "message-send-failed", NO, "Sending failed for no particular reason", RETRY),
    (5501, "message-send-failed", NO, "Sending failed, as no destination was available", RETRY),
    (5503, None, NO, "A part of Bandwidth was not available", RETRY),
    (5999, "unknown-error", NO, "Bandwidth failed without knowing why", RETRY),
)
_CARRIER_SERVICE: tuple[_Row, ...] = (
    (5600, "destination-carrier-queue-full", YES, "The carrier is congested", ONCE),
    (5610, "submit_sm-or-submit_multi-failed", YES, "The carrier could not take the message", ONCE),
    (5611, "temporary-route-error-retries-exceeded", YES, "The carrier gave up after several tries", ONCE),
    (5620, "destination-app-error", YES, "The carrier failed, or blocks an unregistered from number", ONCE),
    (5630, "message-not-acknowle", YES, "The carrier never acknowledged the message", ONCE),
    (5650, "destination-failed", YES, "The carrier failed to deliver the message", ONCE),
)
_AMBIGUOUS: tuple[_Row, ...] = (
    (9902, "delivery-receipt-expired", YES, "No receipt came in time, so it may have arrived", ASK_FIRST),
    (9999, "unknown-error", YES, "The carrier's reason is unknown to Bandwidth", ASK_FIRST),
)


def read_table() -> Iterator[ErrorCode]:
    for category, rows in (
        (BANDWIDTH_CLIENT, _BANDWIDTH_CLIENT),
        (CARRIER_CLIENT, _CARRIER_CLIENT),
        (BANDWIDTH_SERVICE, _BANDWIDTH_SERVICE),
        (CARRIER_SERVICE, _CARRIER_SERVICE),
        (AMBIGUOUS, _AMBIGUOUS),
    ):
        for code, name, billable, happened, to_do in rows:
            yield _explained(code, name, category, billable, happened, to_do)


def _explained(
    code: int, name: str | None, category: str, billable: bool | None, happened: str, to_do: str
) -> ErrorCode:
    advice = f"{to_do[0].upper()}{to_do[1:]}."
    return ErrorCode(code, name, category, billable, f"{happened}.", advice, remove_number=to_do in (REMOVE, STOP))


ERROR_CODES: Mapping[int, ErrorCode] = MappingProxyType({row.code: row for row in read_table()})

# The digits of a code say who refused or failed ("Error Code Schema" on the page cited above); 5999 alone
# is Bandwidth's although its second digit says nothing. 0 is "no code given".
RANGES: tuple[tuple[range, str, str, str], ...] = (
    (range(4000), UNKNOWN, "Bandwidth gave no reason that its lists explain", SUPPORT),
    (range(4000, 4700), BANDWIDTH_CLIENT, "Bandwidth refused the message", SUPPORT),
    (range(4700, 4800), CARRIER_CLIENT, "The carrier refused the message", SUPPORT),
    (range(4800, 5000), UNKNOWN, "Bandwidth gave no reason that its lists explain", SUPPORT),
    (range(5000, 5600), BANDWIDTH_SERVICE, "A part of Bandwidth failed", RETRY),
    (range(5600, 5700), CARRIER_SERVICE, "The carrier failed", ONCE),
    (range(5700, 9000), UNKNOWN, "Bandwidth gave no reason that its lists explain", SUPPORT),
    (range(9000, 10000), AMBIGUOUS, "Nobody knows whether the message arrived", ASK_FIRST),
    (range(10000, 100000), UNKNOWN, "Bandwidth gave no reason that its lists explain", SUPPORT),
)
"""Ranges of codes, what happened and what to do; together they cover every possible code that no list has."""


def explain(code: int) -> ErrorCode:
    """Returns the meaning of a code; for one that no list has (0 is "no code given"), that of its range."""
    return ERROR_CODES.get(code) or unlisted(code)


def unlisted(code: int) -> ErrorCode:
    """The meaning of a code by its digits."""
    category, happened, to_do = next(meaning for codes, *meaning in RANGES if code in codes)
    return _explained(code, None, category, None, happened, to_do)
