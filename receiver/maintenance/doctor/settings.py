"""The settings: what keeps the service from starting, and what is allowed but rarely intended. No secret is shown."""

import ipaddress
import os
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from receiver.core import times
from receiver.database.engine import is_sqlite
from receiver.errors import ConfigurationError
from receiver.maintenance.doctor.findings import Finding, ok, warning, wrong
from receiver.settings import BASIC_ENDS, Settings, is_bandwidths, misspelt, read_settings

SHORTEST_SECRET = 16
"""Characters: 16 random ones of base 64 are 96 bits, which cannot be guessed."""

SHORTEST_CONNECT, SHORTEST_READ = 1.0, 5.0
"""Seconds: a shorter time-out cuts off calls that Bandwidth was about to answer."""

LOOPBACK = "localhost"


def check_required() -> list[Finding]:
    """Finds what keeps `receiver serve` from starting; each finding is named after the variable."""
    try:
        read_settings(serving=True)
    except ConfigurationError as error:
        remedy = "`receiver config --example` explains it."
        return [wrong(name, problem.rstrip("."), remedy) for name, problem in sorted(error.problems.items())]
    return [ok("settings", "complete and valid")]


def check_doubtful(settings: Settings) -> Iterator[Finding]:
    """Finds what is allowed, but rarely intended."""
    for check in _CHECKS:
        yield from check(settings)


def _check_names(_settings: Settings) -> Iterator[Finding]:
    for name in os.environ:
        if meant := misspelt(name):
            yield warning(name, "is in the environment, but is not a setting", f"did you mean {meant}?")


def _check_account(settings: Settings) -> Iterator[Finding]:
    account = settings.bandwidth_account_id
    if account and not (account.isascii() and account.isdecimal()):
        remedy = "use the 7-digit account number; OAuth 2.0 does not accept ids such as u-..."
        yield warning("BANDWIDTH_ACCOUNT_ID", "is not a number", remedy)


def _check_credentials(settings: Settings) -> Iterator[Finding]:
    if settings.bandwidth_client_id and settings.bandwidth_username:
        found = "is ignored because BANDWIDTH_CLIENT_ID is set"
        remedy = "remove it and BANDWIDTH_PASSWORD once every process uses BANDWIDTH_CLIENT_ID."
        yield warning("BANDWIDTH_USERNAME", found, remedy)
    elif settings.bandwidth_username and settings.calls_bandwidth:
        has_ended = times.now().date() >= BASIC_ENDS
        verb = "stopped" if has_ended else "stops"
        found = f"{verb} working on {BASIC_ENDS}: from then on Bandwidth accepts only OAuth 2.0"
        remedy = "create a credential at Bandwidth, and set BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET."
        yield (wrong if has_ended else warning)("BANDWIDTH_USERNAME", found, remedy)


def _check_timeouts(settings: Settings) -> Iterator[Finding]:
    for name, value, shortest in (
        ("BANDWIDTH_CONNECT_TIMEOUT", settings.bandwidth_connect_timeout, SHORTEST_CONNECT),
        ("BANDWIDTH_READ_TIMEOUT", settings.bandwidth_read_timeout, SHORTEST_READ),
    ):
        if value < shortest:
            remedy = f"raise it to {shortest:g} or more: a call that is cut off too early leaves an unknown message."
            yield warning(name, f"is only {value:g} s", remedy)


def _check_urls(settings: Settings) -> Iterator[Finding]:
    urls = {"BANDWIDTH_API_URL": settings.bandwidth_api_url}
    if settings.bandwidth_client_id:
        urls["BANDWIDTH_TOKEN_URL"] = settings.bandwidth_token_url
    for name, url in urls.items():
        parts = urlsplit(url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield wrong(name, "uses http, so the credentials cross the network unencrypted", "use https.")
    if settings.bandwidth_client_id and settings.calls_bandwidth != is_bandwidths(settings.bandwidth_token_url):
        found = "does not belong to BANDWIDTH_API_URL: only one is Bandwidth's, so the other gets its credentials"
        yield warning("BANDWIDTH_TOKEN_URL", found, "set both for the simulator, or neither for Bandwidth.")
    host = urlsplit(settings.bandwidth_api_url)
    if not settings.calls_bandwidth and (host.scheme == "https" or is_loopback(host.hostname or "")):
        found = f"is {host.hostname}, so no message reaches a phone"
        yield warning("BANDWIDTH_API_URL", found, "unset it to use Bandwidth.")


def _check_database(settings: Settings) -> Iterator[Finding]:
    if is_sqlite(settings.database_url) and not settings.database_url.startswith("sqlite:////"):
        found = "names an SQLite file relative to the working directory"
        remedy = "give its full path, sqlite:////...; otherwise every working directory has its own database."
        yield warning("DATABASE_URL", found, remedy)


def _check_callbacks(settings: Settings) -> Iterator[Finding]:
    if settings.allow_unauthenticated_callbacks and settings.callback_credentials:
        found = "is on, but has no effect because CALLBACK_CREDENTIALS is set"
        yield warning("ALLOW_UNAUTHENTICATED_CALLBACKS", found, "remove it.")
    elif settings.allow_unauthenticated_callbacks:
        found = "is on, so anyone who reaches the port can post forged events"
        yield warning("ALLOW_UNAUTHENTICATED_CALLBACKS", found, "set CALLBACK_CREDENTIALS, unless a proxy checks them.")
    for place, each in enumerate(settings.callback_credentials, start=1):
        if len(each.password) < SHORTEST_SECRET:
            found = f"entry {place} has a password of fewer than {SHORTEST_SECRET} characters"
            yield warning("CALLBACK_CREDENTIALS", found, "use a random one, here and in Bandwidth's application.")


def _check_keys(settings: Settings) -> Iterator[Finding]:
    if settings.read_only_api_keys and not settings.api_keys:
        found = "is empty, so nobody can send over HTTP, only read"
        yield warning("API_KEYS", found, "add a key, unless that is intended.")
    for name, keys in (("API_KEYS", settings.api_keys), ("READ_ONLY_API_KEYS", settings.read_only_api_keys)):
        for place, each in enumerate(keys, start=1):
            if len(each.key) < SHORTEST_SECRET:
                found = f"entry {place} has a key of fewer than {SHORTEST_SECRET} characters"
                yield warning(name, found, "use a random one, such as the output of `openssl rand -base64 24`.")
            if not each.is_named:
                found = f"entry {place} has no name"
                remedy = "write name:key; Idempotency-Keys belong to the name, and it identifies the caller."
                yield warning(name, found, remedy)


_CHECKS: Sequence[Callable[[Settings], Iterator[Finding]]] = (
    _check_names,
    _check_account,
    _check_credentials,
    _check_timeouts,
    _check_urls,
    _check_database,
    _check_callbacks,
    _check_keys,
)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK
