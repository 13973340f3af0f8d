"""Authentication: every view declares the access it requires with a decorator, or the application does not start."""

import base64
import binascii
import hmac
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from flask import Flask, request

from receiver.settings import Credential, Settings
from receiver.web.problems import Forbidden, Unauthenticated
from receiver.web.services import services

P = ParamSpec("P")
R = TypeVar("R")


class Access(Enum):
    """The access that a view requires of its caller."""

    PUBLIC = "nothing"
    CALLBACK = "the callback credentials registered with Bandwidth"
    READ = "any API key"
    WRITE = "an API key that may write"


CHALLENGES = {
    # Bandwidth sends its first request without credentials, and the second only after a challenge like this one
    # (dev.bandwidth.com/docs/messaging/webhooks, "Callback authentication"; RFC 7617, section 2.1: charset).
    Access.CALLBACK: 'Basic realm="bandwidth-receiver", charset="UTF-8"',
    Access.READ: 'Bearer realm="bandwidth-receiver"',
    Access.WRITE: 'Bearer realm="bandwidth-receiver"',
}


REMEDIES = {
    "Bearer": "Send `Authorization: Bearer KEY`: the key alone, without the name and the colon before it in API_KEYS.",
    "Basic": "Send the user and password of CALLBACK_CREDENTIALS as `curl -u USER:PASSWORD` does.",
}
"""How to send the credentials, by scheme."""


def requires(access: Access) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a view that requires this access, which is checked before the body is read."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            _check(access)
            return view(*args, **kwargs)

        return declares(access)(checked)

    return decorate


def declares(access: Access) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Says what a view demands that checks it itself."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        vars(view)["access"] = access
        return view

    return decorate


def declared_access(app: Flask) -> dict[str, Access]:
    """The access of every endpoint. Raises LookupError if a view declares none."""
    undeclared = [name for name, view in app.view_functions.items() if "access" not in vars(view)]
    if undeclared:
        raise LookupError(f"views without @requires: {', '.join(undeclared)}")
    return {name: vars(view)["access"] for name, view in app.view_functions.items()}


def _check(access: Access) -> None:
    if access is Access.CALLBACK:
        check_callback(services().settings, request.headers.get("Authorization", ""))
    elif access is not Access.PUBLIC:
        authorization = request.headers.get("Authorization", "")
        granted = granted_access(services().settings, authorization)
        if granted is Access.PUBLIC:
            raise Unauthenticated(CHALLENGES[access], _objection(authorization, "Bearer"))
        if access is Access.WRITE and granted is not Access.WRITE:
            raise Forbidden


def granted_access(settings: Settings, authorization: str) -> Access:
    """The access that the API key in an Authorization header has; PUBLIC if it holds none of the keys."""
    token = _credentials(authorization, "bearer")
    if _any_equal(token, (_octets(each.key) for each in settings.api_keys)):
        return Access.WRITE
    return (
        Access.READ if _any_equal(token, (_octets(each.key) for each in settings.read_only_api_keys)) else Access.PUBLIC
    )


def caller() -> str:
    """The name of the request's API key; ``""`` if it has none."""
    token = _credentials(request.headers.get("Authorization", ""), "bearer")
    keys = services().settings.api_keys + services().settings.read_only_api_keys
    matching = [each.name for each in keys if _any_equal(token, [_octets(each.key)])]
    return matching[0] if matching else ""


def check_callback(settings: Settings, authorization: str) -> None:
    """Raises Unauthenticated unless the Authorization header holds the callback credentials."""
    if settings.allow_unauthenticated_callbacks and not settings.callback_credentials:
        return
    try:
        given = base64.b64decode(_credentials(authorization, "basic"), validate=True)
    except binascii.Error:
        given = b""
    known = (spelling for each in settings.callback_credentials for spelling in _spellings(each))
    if not _any_equal(given, known):
        raise Unauthenticated(CHALLENGES[Access.CALLBACK], _objection(authorization, "Basic"))


def _objection(authorization: str, scheme: str) -> str:
    """Returns what is wrong with an Authorization header, and what to send instead.

    Only its shape is judged, so that the sentence reveals nothing about the right credentials.
    """
    given, _, credentials = authorization.strip().partition(" ")
    if not given:
        wrong = "The Authorization header is missing or empty."
    elif not authorization.isascii():  # the HTTP server passes no such value on
        wrong = "The Authorization header has letters outside ASCII."
    elif given.lower() != scheme.lower():
        wrong = f"The Authorization header does not begin with {scheme}."
    elif not credentials.strip():
        wrong = f"The Authorization header ends after {scheme}."
    else:
        wrong = f"What follows {scheme} in the Authorization header does not verify."
    return f"{wrong} {REMEDIES[scheme]}"


@cache
def _spellings(credential: Credential) -> tuple[bytes, ...]:
    """The byte strings that are accepted for these credentials.

    They are in UTF-8, as our challenge demands, and in Latin-1, for clients that ignore it; composed (NFC), as RFC 7617
    demands, and as written in the settings.
    """
    written = _octets(f"{credential.user}:{credential.password}")
    try:
        text = written.decode()
    except UnicodeDecodeError:  # the environment of this process is in Latin-1 itself
        text = written.decode("latin-1")
    composed = unicodedata.normalize("NFC", text)
    spellings = [written, composed.encode()]
    with suppress(UnicodeEncodeError):
        spellings.append(composed.encode("latin-1"))
    return tuple(dict.fromkeys(spellings))


def _octets(secret: str) -> bytes:
    """The bytes of a setting, even of one that is not UTF-8 (PEP 383)."""
    return secret.encode("utf-8", "surrogateescape")


def _credentials(authorization: str, scheme: str) -> bytes:
    """The credentials of an Authorization header with that scheme; ``b""`` for any other header."""
    given, _, credentials = authorization.partition(" ")
    return credentials.strip(" ").encode("latin-1", "replace") if given.lower() == scheme else b""


def _any_equal(given: bytes, secrets: Iterable[bytes]) -> bool:
    """Compares with every secret, in a time that does not reveal which one came close."""
    verdicts = [hmac.compare_digest(given, secret) for secret in secrets]
    return any(verdicts)
