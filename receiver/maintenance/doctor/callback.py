"""The callback URL, tried as Bandwidth uses it: bare, then with credentials; never with an event."""

import ipaddress
import json
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

from receiver.bandwidth.probe import Credentials, ProbeResponse, post_nothing
from receiver.maintenance.doctor.findings import Finding, Mark, ok, skipped, warning, wrong
from receiver.maintenance.doctor.settings import is_loopback
from receiver.settings import Settings

MOST_SHOWN = 200
"""Characters of what somebody else's server says: it may say anything."""

BANDWIDTH_WAITS = 10.0
"""Seconds; then it tries again later ("Webhooks")."""

ADDRESS, CHALLENGE, ACCEPTS, REFUSES = "callback URL", "challenge", "callback credentials", "wrong credentials"


def is_url(text: str) -> bool:
    """Whether this can be tried at all."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def examine(url: str, settings: Settings) -> Iterator[Finding]:
    """Address, challenge, the configured credentials, and wrong ones."""
    yield address(url)
    challenged = challenge(_post(url, None), is_open=not settings.callback_credentials)
    yield challenged
    if challenged.mark is not Mark.OK:
        for check in (ACCEPTS, REFUSES):
            yield skipped(check, "the challenge has to be right first")
        return
    if not settings.callback_credentials:
        yield skipped(ACCEPTS, "CALLBACK_CREDENTIALS is empty")
    for place, each in enumerate(settings.callback_credentials, start=1):
        yield acceptance(_post(url, (each.user, each.password)), entry=f"entry {place} of CALLBACK_CREDENTIALS")
    yield refusal(_post(url, ("receiver-doctor", secrets.token_urlsafe())))


def _post(url: str, credentials: Credentials | None) -> ProbeResponse:
    return post_nothing(url, credentials=credentials, seconds=BANDWIDTH_WAITS)


def address(url: str) -> Finding:
    """Whether Bandwidth can and should call that."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port not in (80, 443) and port < 1024:
        return wrong(ADDRESS, f"has port {port}", "Bandwidth calls 80, 443 and ports from 1024 on.")
    if _is_local(parts.hostname or ""):
        remedy = "give the public URL, as it is registered with Bandwidth."
        return warning(ADDRESS, "is an address that only this machine or its network knows", remedy)
    if parts.scheme != "https":
        return wrong(ADDRESS, "is http, so credentials and numbers cross the network readable", "make it https.")
    return ok(ADDRESS, f"is https on port {port}")


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return is_loopback(host)


def challenge(reply: ProbeResponse, *, is_open: bool) -> Finding:
    """Whether a request without credentials is answered so that Bandwidth sends another one with them."""
    schemes = [each.partition(" ")[0].lower() for each in reply.headers("WWW-Authenticate")]
    if reply.status == 401 and "basic" in schemes:
        return ok(CHALLENGE, f"a bare request is answered 401 with WWW-Authenticate: Basic, in {_milliseconds(reply)}")
    if reply.status == 401:
        how = f"with WWW-Authenticate: {', '.join(schemes)[:MOST_SHOWN]}" if schemes else "without WWW-Authenticate"
        remedy = "let the proxy pass on our header, WWW-Authenticate: Basic; without it no event ever comes."
        return wrong(CHALLENGE, f"a bare request is answered 401 {how}", remedy)
    if is_ours(reply):
        found = "a bare request is accepted: whoever knows the URL can post events that nobody sent"
        if is_open:
            return warning(CHALLENGE, found, "set CALLBACK_CREDENTIALS, unless the network is private.")
        return wrong(CHALLENGE, found, "the server there runs with other settings than these: restart it.")
    return _no_answer_of_ours(CHALLENGE, reply)


def acceptance(reply: ProbeResponse, *, entry: str) -> Finding:
    """Whether these credentials are let in. A callback without events stores nothing."""
    if is_ours(reply):
        return ok(ACCEPTS, f"{entry} is accepted, in {_milliseconds(reply)}")
    if reply.status == 401:
        remedy = "the server there runs with other settings, or a proxy drops the Authorization header."
        return wrong(ACCEPTS, f"{entry} is refused", remedy)
    return _no_answer_of_ours(ACCEPTS, reply)


def refusal(reply: ProbeResponse) -> Finding:
    """Whether a stranger is kept out."""
    if reply.status == 401:
        return ok(REFUSES, "they are refused")
    if is_ours(reply):
        return wrong(REFUSES, "they are accepted", "set CALLBACK_CREDENTIALS where that server runs.")
    return _no_answer_of_ours(REFUSES, reply)


def is_ours(reply: ProbeResponse) -> bool:
    """Whether it is this program's answer that a callback without events is stored."""
    if reply.status != 200 or reply.call.body is None:
        return False
    try:
        said = json.loads(reply.call.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("recorded") == 0


_FAILURES = {
    "name-not-resolved": ("its host has no address", "check the name and the public DNS."),
    "connect-timeout": ("no connection in time", "check the host, the firewall and the port."),
    "connection-refused": ("nothing listens there", "start the server and the proxy before it."),
    "timed-out": (f"no answer in {BANDWIDTH_WAITS:g} s", "Bandwidth waits no longer: look at the server's log."),
    "cut-short": (f"its answer did not end in {BANDWIDTH_WAITS:g} s", "look at the proxy's log."),
    "no-answer": ("the connection broke before an answer", "look at the proxy's log."),
}

_STATUSES = {
    404: "the path is wrong: it ends in /callbacks/bandwidth, and a proxy must keep it.",
    405: "the path is wrong: it ends in /callbacks/bandwidth, and a proxy must let POST through.",
    413: "the proxy lets too few bytes through: raise its limit to MAX_BODY_BYTES.",
    429: "the proxy limits Bandwidth: it sends as fast as events come.",
    502: "the proxy does not reach the server: is it running?",
    503: "the server cannot store events: see the database.",
    504: "the proxy does not reach the server in time: is it running?",
}


def _no_answer_of_ours(check: str, reply: ProbeResponse) -> Finding:
    """What stood in the way, whatever was asked."""
    if reply.status is None and reply.failure == "tls-failed":
        found = f"its certificate is not trusted: {reply.distrust or 'TLS failed'}"
        return wrong(check, found, "install one of a public authority for that name, with its whole chain.")
    if reply.status is None:
        return wrong(check, *_FAILURES.get(reply.failure, (f"no connection: {reply.failure}", "check the URL.")))
    if reply.status // 100 == 3:
        target = next(iter(reply.headers("Location")), "elsewhere")
        return wrong(check, f"redirects to {target[:MOST_SHOWN]}", "Bandwidth follows none: register the final URL.")
    remedy = _STATUSES.get(reply.status, "that is not this program's answer: check the URL and any proxy.")
    return wrong(check, f"is answered {reply.status}", remedy)


def _milliseconds(reply: ProbeResponse) -> str:
    return f"{reply.took.total_seconds() * 1000:.0f} ms"
