"""Bandwidth in both directions: our calls to its API, and its calls to our callback URL.

The API gets a request for a token and one harmless search. The callback URL is tried as Bandwidth uses it: first
without credentials, then with them; never with an event. Nothing is retried, no redirect is followed, and every request
ends within a given time.
"""

import ipaddress
import json
import secrets
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from receiver.bandwidth.client import BandwidthAccount, Client
from receiver.bandwidth.connection import Call, exchange, make_session
from receiver.bandwidth.history import read_failure, read_page, search_request, time_span
from receiver.bandwidth.oauth import CREDENTIALS
from receiver.bandwidth.responses import NoToken, causes_of, read_result
from receiver.core import times
from receiver.maintenance.doctor.findings import Finding, Mark, ok, skipped, warning, wrong
from receiver.maintenance.doctor.settings import is_loopback
from receiver.settings import Settings

NOTHING = b"[]"
"""A callback without events: it gets the usual response, and nothing is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResponse:
    """The response to a probe, whole or not."""

    call: Call
    sent_at: datetime
    received_at: datetime

    @property
    def status(self) -> int | None:
        """The HTTP status; None if there was no whole response, and then ``failure`` says why."""
        return None if self.call.body is None else self.call.status

    @property
    def failure(self) -> str:
        """Why there was no whole response, in one word: ``tls-failed``, ``timed-out`` ..."""
        if self.call.status is not None:
            return "cut-short"
        return getattr(read_result(self.call), "type", None) or "no-answer"

    @property
    def complaint(self) -> str | None:
        """Bandwidth's sentence about what is wrong; None if the response has none."""
        return getattr(read_result(self.call), "description", None)

    @property
    def distrust(self) -> str:
        """The problem with the server's certificate; ``""`` if none is known."""
        found = (each for each in causes_of(self.call.error) if isinstance(each, ssl.SSLError))
        return next((getattr(each, "verify_message", "") or str(each.reason or "") for each in found), "")

    def headers(self, name: str) -> Sequence[str]:
        """All headers of that name."""
        reply = self.call.reply
        return [str(each) for each in reply.headers.get_all(name, [])] if reply and reply.headers else []

    @property
    def date(self) -> datetime | None:
        """The Date header: the server's clock, without the fraction of the second (RFC 9110, 6.6.1).

        None if it is missing or cannot be read.
        """
        try:
            date = parsedate_to_datetime(self.call.header("Date"))
            read = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        return read if times.EARLIEST_YEAR <= read.year <= times.LATEST_YEAR else None

    @property
    def took(self) -> timedelta:
        return self.received_at - self.sent_at


LONGEST_CALL = 10.0
"""Seconds after which a call is abandoned; a healthy API responds sooner."""

DOUBTFUL_SKEW, WRONG_SKEW = timedelta(seconds=5), timedelta(seconds=60)
"""`receiver reconcile` searches within a minute of our clock."""


def check_api(settings: Settings) -> Iterator[Finding]:
    """Fetches a token, if the settings call for one, and makes one search with it."""
    has_credentials = settings.bandwidth_client_secret if settings.bandwidth_client_id else settings.bandwidth_password
    if not (settings.bandwidth_account_id and has_credentials):
        for check in ("token", "Bandwidth", "clock"):
            yield skipped(check, "needs BANDWIDTH_ACCOUNT_ID and credentials")
        return
    seconds = min(LONGEST_CALL, settings.bandwidth_connect_timeout + settings.bandwidth_read_timeout)
    account = replace(BandwidthAccount.of(settings), connect_timeout=seconds / 2, read_timeout=seconds / 2)
    with closing(Client(account)) as client:
        token = _check_token(client)
        yield token
        if token.mark is Mark.WRONG:
            for check in ("Bandwidth", "clock"):
                yield skipped(check, "needs a token")
            return
        response = _search(client, account)
    yield _check_credentials(response)
    yield _check_clock(response)


def _uncapitalize(sentence: str) -> str:
    """Lowers the first letter of a sentence, unless it begins with a setting, Bandwidth or TLS."""
    is_name = sentence[1:2].isupper() or sentence.startswith("Bandwidth")
    return sentence if is_name else sentence[:1].lower() + sentence[1:]


def _search(client: Client, account: BandwidthAccount) -> ProbeResponse:
    """Searches for the newest message of the last hour."""
    now = times.now()
    query = time_span(now - timedelta(hours=1), now) | {"limit": "1"}
    call = client.call(search_request(account.messages_url, query))
    return ProbeResponse(call=call, sent_at=now, received_at=times.now())


def _check_token(client: Client) -> Finding:
    """Checks whether the client id and secret are exchanged for a token, and for how long it is valid."""
    try:
        fetched = client.token()
    except NoToken as error:
        refused = error.refused
        found, _, remedy = (refused.description or "there is none").partition(". ")
        if refused.type != CREDENTIALS:
            remedy = "check BANDWIDTH_TOKEN_URL, the network and the firewall, or try again later."
        return wrong("token", _uncapitalize(found.rstrip(".")), _uncapitalize(remedy))
    if fetched is None:
        return skipped("token", "not needed: BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD are used")
    return ok("token", f"BANDWIDTH_TOKEN_URL issued one, valid for {fetched.life:.0f} s")


def _check_credentials(response: ProbeResponse) -> Finding:
    """Checks whether Bandwidth accepts a search of this account."""
    if read_page(response.call) is not None:
        return ok("Bandwidth", "accepts the credentials, and lets them search the account's messages")
    trouble = read_failure(response.call)
    if response.status == 429:
        return warning("Bandwidth", trouble.found, trouble.remedy)
    if response.status is None and response.distrust:
        return wrong("Bandwidth", f"{trouble.found}: {response.distrust}", trouble.remedy)
    if response.status is not None and response.complaint is None:
        found = f"{trouble.found}, and not in Bandwidth's JSON"
        remedy = "something else responds in its place: check BANDWIDTH_API_URL and any proxy."
        return wrong("Bandwidth", found, remedy)
    return wrong("Bandwidth", trouble.found, trouble.remedy)


def _check_clock(response: ProbeResponse) -> Finding:
    """Checks whether our clock is right, by the Date header of the response."""
    date = response.date
    if date is None:
        return skipped("clock", "the response has no Date header to compare it with")
    skew = least_skew(date, sent_at=response.sent_at, received_at=response.received_at)
    if abs(skew) <= DOUBTFUL_SKEW:
        return ok("clock", "agrees with Bandwidth's to within a few seconds")
    found = f"is {abs(skew).total_seconds():.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} Bandwidth's"
    mark = wrong if abs(skew) > WRONG_SKEW else warning
    remedy = "synchronize this machine's clock with NTP; expirations, overdue times and reconcile depend on it."
    return mark("clock", found, remedy)


def least_skew(date: datetime, *, sent_at: datetime, received_at: datetime) -> timedelta:
    """Returns by how much our clock is ahead at least.

    The Date header has whole seconds, cut off, and was written at any moment between request and response.
    """
    ahead, behind = sent_at - (date + timedelta(seconds=1)), date - received_at
    return max(ahead, timedelta(0)) - max(behind, timedelta(0))


BANDWIDTH_WAITS = 10.0
"""Seconds; then Bandwidth sends the callback again later ("Webhooks")."""

MOST_SHOWN = 200
"""Characters shown of another server's response, which may be anything."""

ADDRESS, CHALLENGE, ACCEPTS, REFUSES = "callback URL", "challenge", "callback credentials", "wrong credentials"


def is_callback_url(text: str) -> bool:
    """Whether the text is an http or https URL without credentials."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def check_callback_url(url: str, settings: Settings) -> Iterator[Finding]:
    """Examines the address, the challenge, each of the configured credentials, and wrong ones."""
    yield check_address(url)
    challenge = _check_challenge(_post(url, None), is_open=not settings.callback_credentials)
    yield challenge
    if challenge.mark is not Mark.OK:
        for check in (ACCEPTS, REFUSES):
            yield skipped(check, "the challenge must be right first")
        return
    if not settings.callback_credentials:
        yield skipped(ACCEPTS, "CALLBACK_CREDENTIALS is empty")
    for place, each in enumerate(settings.callback_credentials, start=1):
        yield _check_acceptance(_post(url, (each.user, each.password)), entry=f"entry {place} of CALLBACK_CREDENTIALS")
    yield _check_refusal(_post(url, ("receiver-doctor", secrets.token_urlsafe())))


def _post(url: str, credentials: tuple[str, str] | None) -> ProbeResponse:
    """Posts a callback without events, as Bandwidth does."""
    call, sent_at = Call(time.monotonic), times.now()
    request = requests.Request("POST", url, data=NOTHING)
    with make_session(credentials) as session:
        timeouts = (BANDWIDTH_WAITS, BANDWIDTH_WAITS)
        call.carry_out(lambda: exchange(session, request, timeouts=timeouts), seconds=BANDWIDTH_WAITS)
    return ProbeResponse(call=call, sent_at=sent_at, received_at=times.now())


def check_address(url: str) -> Finding:
    """Checks whether Bandwidth can and should call this URL."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port not in (80, 443) and port < 1024:
        return wrong(ADDRESS, f"has port {port}", "use port 80, 443, or 1024 or higher; Bandwidth calls no others.")
    if _is_local(parts.hostname or ""):
        remedy = "pass the public URL that is registered with Bandwidth."
        return warning(ADDRESS, "is reachable only from this machine or its network", remedy)
    if parts.scheme != "https":
        return wrong(ADDRESS, "uses http, so credentials and numbers cross the network unencrypted", "use https.")
    return ok(ADDRESS, f"uses https on port {port}")


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return is_loopback(host)


def _check_challenge(response: ProbeResponse, *, is_open: bool) -> Finding:
    """Checks whether the response to a request without credentials makes Bandwidth send another one with them."""
    schemes = [each.partition(" ")[0].lower() for each in response.headers("WWW-Authenticate")]
    if response.status == 401 and "basic" in schemes:
        found = f"a request without credentials gets 401 with WWW-Authenticate: Basic, in {_milliseconds(response)}"
        return ok(CHALLENGE, found)
    if response.status == 401:
        how = f"with WWW-Authenticate: {', '.join(schemes)[:MOST_SHOWN]}" if schemes else "without WWW-Authenticate"
        remedy = "make the proxy pass on the header WWW-Authenticate: Basic; without it no event ever arrives."
        return wrong(CHALLENGE, f"a request without credentials gets 401 {how}", remedy)
    if _is_ours(response):
        found = "a request without credentials is accepted, so anyone who knows the URL can post forged events"
        if is_open:
            return warning(CHALLENGE, found, "set CALLBACK_CREDENTIALS, unless the network is private.")
        return wrong(CHALLENGE, found, "the server at that URL runs with different settings: restart it.")
    return _not_ours(CHALLENGE, response)


def _check_acceptance(response: ProbeResponse, *, entry: str) -> Finding:
    """Checks whether these credentials are accepted. A callback without events stores nothing."""
    if _is_ours(response):
        return ok(ACCEPTS, f"{entry} is accepted, in {_milliseconds(response)}")
    if response.status == 401:
        remedy = "the server at that URL runs with different settings, or a proxy drops the Authorization header."
        return wrong(ACCEPTS, f"{entry} is refused", remedy)
    return _not_ours(ACCEPTS, response)


def _check_refusal(response: ProbeResponse) -> Finding:
    """Checks whether wrong credentials are refused."""
    if response.status == 401:
        return ok(REFUSES, "they are refused")
    if _is_ours(response):
        return wrong(REFUSES, "they are accepted", "set CALLBACK_CREDENTIALS on the server at that URL.")
    return _not_ours(REFUSES, response)


def _is_ours(response: ProbeResponse) -> bool:
    """Whether this is this program's response to a callback without events."""
    if response.status != 200 or response.call.body is None:
        return False
    try:
        tally = json.loads(response.call.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(tally, dict) and tally.get("recorded") == 0


_FAILURES = {
    "name-not-resolved": ("its host name does not resolve", "check the name and the public DNS."),
    "connect-timeout": ("connecting timed out", "check the host, the firewall and the port."),
    "connection-refused": ("nothing is listening there", "start the server and the proxy in front of it."),
    "timed-out": (f"no response in {BANDWIDTH_WAITS:g} s", "Bandwidth waits no longer: check the server's log."),
    "cut-short": (f"its response did not end in {BANDWIDTH_WAITS:g} s", "check the proxy's log."),
    "no-answer": ("the connection broke before a response", "check the proxy's log."),
}

_STATUSES = {
    404: "the path is wrong: it must end in /callbacks/bandwidth, and a proxy must not change it.",
    405: "the path is wrong: it must end in /callbacks/bandwidth, and a proxy must allow POST.",
    413: "the proxy's limit for bodies is too low: raise it to MAX_BODY_BYTES.",
    429: "a proxy limits the rate of requests: exempt Bandwidth, which sends events as fast as they occur.",
    502: "the proxy cannot reach the server: check that it is running.",
    503: "the server cannot store events: check the database.",
    504: "the proxy gets no response from the server in time: check that it is running.",
}


def _not_ours(check: str, response: ProbeResponse) -> Finding:
    """Returns the finding about a response that is not this program's."""
    if response.status is None and response.failure == "tls-failed":
        found = f"its certificate is not trusted: {response.distrust or 'TLS failed'}"
        return wrong(check, found, "install a certificate of a public authority for that name, with its whole chain.")
    if response.status is None:
        return wrong(check, *_FAILURES.get(response.failure, (f"no connection: {response.failure}", "check the URL.")))
    if response.status // 100 == 3:
        target = next(iter(response.headers("Location")), "elsewhere")
        remedy = "Bandwidth does not follow redirects: register the final URL."
        return wrong(check, f"redirects to {target[:MOST_SHOWN]}", remedy)
    remedy = _STATUSES.get(response.status, "that is not this program's response: check the URL and any proxy.")
    return wrong(check, f"responds with {response.status}", remedy)


def _milliseconds(response: ProbeResponse) -> str:
    return f"{response.took.total_seconds() * 1000:.0f} ms"
