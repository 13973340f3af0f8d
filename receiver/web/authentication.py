"""Authentication: every view declares the access it requires with a decorator, or the application does not start."""

import base64
import binascii
import hmac
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, TypeVar

from flask import Flask, g, request
from structlog.contextvars import bind_contextvars

from receiver.settings import Credential, Settings
from receiver.web.problems import Forbidden, Unauthenticated
from receiver.web.views import services

View = TypeVar("View", bound=Callable[..., Any])


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


def requires(access: Access) -> Callable[[View], View]:
    """Decorates a view that requires this access, which register() has checked before the view is called."""

    def decorate(view: View) -> View:
        vars(view)["access"] = access
        return view

    return decorate


def declared_access(app: Flask) -> dict[str, Access]:
    """The access of every endpoint. Raises LookupError if a view declares none."""
    undeclared = [name for name, view in app.view_functions.items() if "access" not in vars(view)]
    if undeclared:
        raise LookupError(f"views without @requires: {', '.join(undeclared)}")
    return {name: vars(view)["access"] for name, view in app.view_functions.items()}


def register(app: Flask) -> None:
    """Has every request checked for the access that its view declares. Raises LookupError if a view declares none.

    ``g.principal`` is the Principal of the present request; log lines have the name of its key.
    """
    declared_access(app)

    def check() -> None:
        g.principal = principal = principal_of(services().settings, request.headers.get("Authorization", ""))
        if principal.name:
            bind_contextvars(api_key=principal.name)
        if request.endpoint is None:  # no route, so the response is 404 or 405 for everybody
            return
        required = vars(app.view_functions[request.endpoint])["access"]
        if required in (Access.PUBLIC, Access.CALLBACK):  # the view of callbacks checks their credentials itself
            return
        granted = principal.access
        if granted is Access.PUBLIC:
            authorization = request.headers.get("Authorization", "")
            raise Unauthenticated(CHALLENGES[required], _objection(authorization, "Bearer"))
        if required is Access.WRITE and granted is not Access.WRITE:
            raise Forbidden

    app.before_request(check)


class Principal(NamedTuple):
    """Whom an API key stands for."""

    name: str
    """That of the key; empty if it is none of ours."""
    access: Access
    """PUBLIC if the key is none of ours."""


def principal_of(settings: Settings, authorization: str) -> Principal:
    """Whom the API key in an Authorization header stands for."""
    token = _credentials(authorization, "bearer")
    keys = [(each, Access.WRITE) for each in settings.api_keys]
    keys += [(each, Access.READ) for each in settings.read_only_api_keys]
    # All keys are compared, so the time does not reveal which one came close.
    matching = [Principal(key.name, access) for key, access in keys if hmac.compare_digest(token, _octets(key.key))]
    return matching[0] if matching else Principal("", Access.PUBLIC)


def check_callback(settings: Settings, authorization: str) -> None:
    """Raises Unauthenticated unless the Authorization header holds the callback credentials."""
    if settings.allow_unauthenticated_callbacks and not settings.callback_credentials:
        return
    try:
        given = base64.b64decode(_credentials(authorization, "basic"), validate=True)
    except binascii.Error:
        given = b""
    known = [spelling for each in settings.callback_credentials for spelling in _spellings(each)]
    # All are compared, so the time does not reveal which one came close.
    matching = [spelling for spelling in known if hmac.compare_digest(given, spelling)]
    if not matching:
        raise Unauthenticated(CHALLENGES[Access.CALLBACK], _objection(authorization, "Basic"))


def _objection(authorization: str, scheme: str) -> str:
    """Returns what is wrong with an Authorization header, and what to send instead.

    Only its shape is judged, so that the sentence reveals nothing about the right credentials.
    """
    given, _, credentials = authorization.strip().partition(" ")
    if not given:
        wrong = "The Authorization header is missing or empty."
    elif not authorization.isascii():  # the HTTP server passes no such value on
        wrong = "The Authorization header contains characters outside ASCII."
    elif given.lower() != scheme.lower():
        wrong = f"The Authorization header does not begin with {scheme}."
    elif not credentials.strip():
        wrong = f"The Authorization header ends after {scheme}."
    else:
        wrong = f"The credentials after {scheme} in the Authorization header are not valid."
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


@cache
def _octets(secret: str) -> bytes:
    """The bytes of a setting, even of one that is not UTF-8 (PEP 383)."""
    return secret.encode("utf-8", "surrogateescape")


def _credentials(authorization: str, scheme: str) -> bytes:
    """The credentials of an Authorization header with that scheme; ``b""`` for any other header."""
    given, _, credentials = authorization.partition(" ")
    return credentials.strip(" ").encode("latin-1", "replace") if given.lower() == scheme else b""
