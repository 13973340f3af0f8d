"""The settings: read from the environment once, into a frozen object; every problem is reported at once.

A setting is a field of Settings, and its variable is the field's name in capitals. config/example.env documents each.

environs collects the problems and parses single values. The five helpers below remain because a blank variable is the
same as an absent one here, whereas environs 15 reports a blank number as invalid and takes no mapping but os.environ,
and because a list names the entry that is wrong without quoting it.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import urlsplit

from environs import Env, EnvValidationError
from marshmallow import ValidationError
from marshmallow.validate import Range

from receiver.core import numbers
from receiver.core.pace import Rates
from receiver.errors import ConfigurationError
from receiver.log import LEVELS

Item = TypeVar("Item")

EXAMPLE = Path(__file__).with_name("example.env")
"""The file that documents every setting; in a checkout a link to config/example.env."""

DEFAULT_DATABASE_URL = "sqlite:///receiver.sqlite3"
NOT_SET = "(not set)"
"""Shown for a setting without a value."""

MIN_RATE, MAX_RATE = 0.01, 10_000
MAX_KEY_NAME = 255
"""Characters. The name is stored with every Idempotency-Key."""

DEFAULT_API_URL = "https://messaging.bandwidth.com/api/v2"
DEFAULT_TOKEN_URL = "https://api.bandwidth.com/api/v1/oauth2/token"  # noqa: S105 - a place, no secret

BASIC_ENDS = date(2026, 12, 2)
"""The day on which Bandwidth stops accepting API users with username and password
(dev.bandwidth.com/docs/account/credentials/migration)."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and password that Bandwidth may present at the callback URL."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; its name stands for it wherever the configuration is shown."""

    name: str
    key: str = field(repr=False)
    is_named: bool = True
    """Whether the name was configured; otherwise it is the key's place in its list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The running configuration."""

    database_url: str = field(repr=False)
    bandwidth_account_id: str | None
    bandwidth_client_id: str | None
    bandwidth_client_secret: str | None = field(repr=False)
    bandwidth_token_url: str
    bandwidth_username: str | None
    """For Basic authentication, with the password; used only if there is no client id."""
    bandwidth_password: str | None = field(repr=False)
    bandwidth_application_id: str | None
    bandwidth_from: str | None
    bandwidth_api_url: str
    bandwidth_connect_timeout: float
    """Seconds."""
    bandwidth_read_timeout: float
    """Seconds."""
    bandwidth_rate: float | None
    """Recipients x segments per second; None is no limit."""
    bandwidth_sender_rate: float | None
    """The same for each sender."""
    callback_credentials: tuple[Credential, ...]
    allow_unauthenticated_callbacks: bool
    api_keys: tuple[ApiKey, ...]
    read_only_api_keys: tuple[ApiKey, ...]
    overdue_after_hours: float
    max_body_bytes: int
    log_level: str

    @property
    def overdue_after(self) -> timedelta:
        return timedelta(hours=self.overdue_after_hours)

    @property
    def calls_bandwidth(self) -> bool:
        """Whether Bandwidth's own API is called, rather than a simulator or proxy."""
        return is_bandwidths(self.bandwidth_api_url)

    @property
    def rates(self) -> Rates:
        return Rates(account=self.bandwidth_rate, sender=self.bandwidth_sender_rate)


def is_bandwidths(url: str) -> bool:
    """Whether the URL's host is Bandwidth's."""
    host = urlsplit(url).hostname or ""
    return host == "bandwidth.com" or host.endswith(".bandwidth.com")


VARIABLES = tuple(setting.name.upper() for setting in fields(Settings))
"""The names of all settings in the environment."""

ENV_FILE = "RECEIVER_ENV_FILE"
"""The variable that names a settings file."""

_BEGINNINGS = (
    "BANDWIDTH_",
    "CALLBACK",
    "API_KEY",
    "READ_ONLY_API",
    "DATABASE_U",
    "ALLOW_UNAUTH",
    "OVERDUE_",
    "MAX_BODY",
    "LOG_LEVEL",
    "FORWARD_",
)
"""The beginnings of our settings' names; a variable that begins like this is probably meant as one."""

_FEW_LETTERS = 2


def misspelt(name: str) -> str | None:
    """The setting that ``name`` probably misspells; None if it is a setting, or has nothing to do with ours."""
    upper = name.upper()
    if name in (*VARIABLES, ENV_FILE):
        return None
    if upper.startswith("BANDWIDTH_RECEIVER_"):  # Kubernetes sets such variables for a service named so
        return None
    beginnings = tuple(each for each in _BEGINNINGS if upper.startswith(each))
    alike = [each for each in VARIABLES if beginnings and each.startswith(beginnings)]
    distances = {each: _distance(upper, each) for each in alike or (*VARIABLES, ENV_FILE)}
    nearest = min(distances, key=distances.__getitem__)
    return nearest if beginnings or distances[nearest] <= _FEW_LETTERS else None


def _distance(first: str, second: str) -> int:
    """The number of letters to add, remove or replace (Levenshtein)."""
    row = list(range(len(second) + 1))
    for place, letter in enumerate(first, start=1):
        before, row[0] = row[0], place
        for other, its in enumerate(second, start=1):
            before, row[other] = row[other], min(row[other] + 1, row[other - 1] + 1, before + (letter != its))
    return row[-1]


def read_settings(*, sending: bool = False, serving: bool = False) -> Settings:
    """The settings from the environment.

    ``sending`` requires the settings for calling Bandwidth, ``serving`` also those that protect the API. Raises
    ConfigurationError with every problem; no value appears in it.
    """
    env = Env(eager=False)
    settings = Settings(
        database_url=with_driver(_text(env, "DATABASE_URL", check=_check_database_url) or DEFAULT_DATABASE_URL),
        bandwidth_account_id=_text(env, "BANDWIDTH_ACCOUNT_ID", required=sending or serving),
        bandwidth_client_id=_text(env, "BANDWIDTH_CLIENT_ID", check=_check_user),
        bandwidth_client_secret=_text(env, "BANDWIDTH_CLIENT_SECRET"),
        bandwidth_token_url=_text(env, "BANDWIDTH_TOKEN_URL", check=_check_url(DEFAULT_TOKEN_URL)) or DEFAULT_TOKEN_URL,
        bandwidth_username=_text(env, "BANDWIDTH_USERNAME", check=_check_user),
        bandwidth_password=_text(env, "BANDWIDTH_PASSWORD"),
        bandwidth_application_id=_text(env, "BANDWIDTH_APPLICATION_ID"),
        bandwidth_from=_text(env, "BANDWIDTH_FROM", check=_check_sender),
        bandwidth_api_url=(
            _text(env, "BANDWIDTH_API_URL", check=_check_url(DEFAULT_API_URL)) or DEFAULT_API_URL
        ).rstrip("/"),
        bandwidth_connect_timeout=_number(env, "BANDWIDTH_CONNECT_TIMEOUT", default=5, highest=600),
        bandwidth_read_timeout=_number(env, "BANDWIDTH_READ_TIMEOUT", default=25, highest=600),
        bandwidth_rate=_rate(env, "BANDWIDTH_RATE"),
        bandwidth_sender_rate=_rate(env, "BANDWIDTH_SENDER_RATE"),
        callback_credentials=_several(env, "CALLBACK_CREDENTIALS", _credential),
        allow_unauthenticated_callbacks=_given("ALLOW_UNAUTHENTICATED_CALLBACKS")
        and env.bool("ALLOW_UNAUTHENTICATED_CALLBACKS"),
        api_keys=_several(env, "API_KEYS", _api_key("key")),
        read_only_api_keys=_several(env, "READ_ONLY_API_KEYS", _api_key("read-only key")),
        overdue_after_hours=_number(env, "OVERDUE_AFTER_HOURS", default=27, highest=8760),
        max_body_bytes=env.int("MAX_BODY_BYTES", validate=Range(min=1)) if _given("MAX_BODY_BYTES") else 4_194_304,
        log_level=_text(env, "LOG_LEVEL", check=_check_level) or "info",
    )
    problems = _incomplete_pairs(needed=sending or serving) | (_access_problems(settings) if serving else {})
    problems |= _malformed(env) | _not_utf_8()
    if problems:
        raise ConfigurationError(problems)
    return settings


def describe(settings: Settings) -> dict[str, str]:
    """Returns every setting as it may be shown: of secrets only their number and names."""
    shown = {name: getattr(settings, name.lower()) for name in VARIABLES}
    url = re.split(rf"\?{_OPTION}", settings.database_url)[0]
    whole = url if "@" in url else settings.database_url
    hidden = re.sub(r"(?<=://)([^:/]*):.*@", r"\1:***@", whole, flags=re.DOTALL)
    shown["DATABASE_URL"] = hidden.partition("?")[0]
    for name in ("BANDWIDTH_CLIENT_SECRET", "BANDWIDTH_PASSWORD"):
        shown[name] = "(set)" if shown[name] else None
    shown["CALLBACK_CREDENTIALS"] = ", ".join(f"{each.user}:(set)" for each in settings.callback_credentials)
    for name in ("API_KEYS", "READ_ONLY_API_KEYS"):
        shown[name] = ", ".join(f"{each.name}:(set)" for each in shown[name])
    return {name: NOT_SET if value in (None, "") else str(value) for name, value in shown.items()}


def warnings(settings: Settings) -> list[str]:
    """Returns warnings about settings that work but should be corrected; each is a sentence that names the variable."""
    return [*_name_warnings(), *_credential_warnings(settings)]


def _name_warnings() -> Iterator[str]:
    for name in os.environ:
        if meant := misspelt(name):
            yield f"{name} in the environment is not a setting; did you mean {meant}?"


def _credential_warnings(settings: Settings) -> list[str]:
    if settings.bandwidth_client_id and settings.bandwidth_username:
        return [
            "BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD are ignored because BANDWIDTH_CLIENT_ID is set."
            " Remove them once every process uses it."
        ]
    if settings.bandwidth_username and settings.calls_bandwidth:
        return [
            f"BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD stop working on {BASIC_ENDS}, when Bandwidth accepts only OAuth"
            " 2.0. Set BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET."
        ]
    return []


def _incomplete_pairs(*, needed: bool) -> dict[str, str]:
    """The missing credentials for Bandwidth. An invalid value is not missing."""
    oauth, basic = ("BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"), ("BANDWIDTH_USERNAME", "BANDWIDTH_PASSWORD")
    if needed and not any(map(_given, oauth + basic)):
        return dict.fromkeys(oauth, "is missing: Bandwidth requires OAuth 2.0. Copy it from your API credential there.")
    halves = (oauth, oauth[::-1], basic, basic[::-1])
    lone = {name: other for name, other in halves if _given(other) and not _given(name)}
    return {name: f"is missing: {other} is set, and both are needed." for name, other in lone.items()}


def _malformed(env: Env) -> dict[str, str]:
    try:
        env.seal()
    except EnvValidationError as error:
        found = cast("Mapping[str, list[str]]", error.error_messages)
        return {name: " ".join(messages) for name, messages in found.items()}
    return {}


def _not_utf_8() -> dict[str, str]:
    """The settings that are not UTF-8. Python decodes them to surrogates, which no log, header or database accepts."""
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    return {name: "is not UTF-8." for name, value in given.items() if re.search("[\ud800-\udfff]", value)}


def _access_problems(settings: Settings) -> dict[str, str]:
    """Returns the problems that would leave the API or the callback URL unusable or open to anybody."""
    problems = {}
    keys = [each.key for each in settings.api_keys + settings.read_only_api_keys]
    if not keys:
        problems["API_KEYS"] = "is missing: without a key nobody could use the API. Set it to name:key."
    if len(set(keys)) < len(keys):
        problems["API_KEYS"] = "contains a key twice, or one that is also in READ_ONLY_API_KEYS."
    if not settings.callback_credentials and not settings.allow_unauthenticated_callbacks:
        problems["CALLBACK_CREDENTIALS"] = (
            "is missing: anybody could post events. Set it to user:password, "
            "or set ALLOW_UNAUTHENTICATED_CALLBACKS=true if a proxy checks them."
        )
    return problems


def _text(env: Env, name: str, *, required: bool = False, check: Callable[[str], None] | None = None) -> str | None:
    """The variable's text; None if it is blank or absent."""

    def validate(value: str) -> None:
        if required and not value.strip():
            raise ValidationError("is blank.")
        if check and value:
            check(value)

    text: str | None = env.str(name, validate=validate) if required else env.str(name, "", validate=validate)
    return text if text and text.strip() else None  # None if it is invalid; sealing reports that


def _given(name: str) -> bool:
    """Whether the variable has a value; a blank one has none."""
    return bool(os.environ.get(name, "").strip())


def _number(env: Env, name: str, *, default: float, highest: float) -> float:
    within = Range(min=0, min_inclusive=False, max=highest)
    return env.float(name, validate=within) if _given(name) else default


def _rate(env: Env, name: str) -> float | None:
    return env.float(name, validate=Range(min=MIN_RATE, max=MAX_RATE)) if _given(name) else None


def _several(env: Env, name: str, read: Callable[[str, int], Item]) -> tuple[Item, ...]:
    """The comma-separated items of a variable; none if any of them is invalid."""
    items: list[Item] = []

    def validate(value: str) -> None:
        entries = value.split(",") if value else []
        items.extend(read(entry.strip(), place) for place, entry in enumerate(entries, start=1))

    env.str(name, "", validate=validate)
    return tuple(items)


def _credential(entry: str, place: int) -> Credential:
    user, colon, password = entry.partition(":")
    if not (user and colon and password):
        raise ValidationError(f"entry {place} is not user:password with both filled in.")
    return Credential(user, password)


def _api_key(kind: str) -> Callable[[str, int], ApiKey]:
    def read(entry: str, place: int) -> ApiKey:
        name, colon, key = (part.strip() for part in entry.partition(":"))
        if not colon:
            name, key = f"{kind} {place}", entry
        if not (name and key):
            raise ValidationError(f"entry {place} is not [name:]key with a key filled in.")
        if len(name) > MAX_KEY_NAME:
            raise ValidationError(f"entry {place} has a name of more than {MAX_KEY_NAME} characters.")
        return ApiKey(name, key, is_named=bool(colon))

    return read


def _check_level(value: str) -> None:
    if value not in LEVELS:
        raise ValidationError(f"is not one of {', '.join(LEVELS)}.")


def _check_user(value: str) -> None:
    if ":" in value:
        raise ValidationError("contains a colon, which ends the user in Basic authentication (RFC 7617).")


def _check_sender(value: str) -> None:
    if not numbers.is_sender(value):
        raise ValidationError("is neither an E.164 number such as +19195551234, nor a short code or alphanumeric id.")


def with_driver(database_url: str) -> str:
    """The URL with the driver that this program uses; hosting providers write `postgresql://` or `postgres://`."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", database_url)


_OPTION = r"[a-z_]{4,}="
"""The beginning of a libpq option; an @ in its value does not end the password."""

_PASSWORD_WITH_AN_END = re.compile(r"postgres[^:/]*://[^:/@]*:[^@]*[/?#][^@]*@")
"""A password, as SQLAlchemy parses it, with a character that ends one for others, who would show its rest as a host."""

_AFTER_THE_PASSWORD = re.compile(
    r"""postgres[^:/]*://
    (?: [^:/]* (?: : [^@]* )? @ )?  # the user and the password, as SQLAlchemy parses them
    (?P<host>[^/?]*) (?P<database>[^?]*) (?: \? (?P<options>.*) )?""",
    re.VERBOSE | re.DOTALL,
)


def _check_database_url(value: str) -> None:
    rest = _AFTER_THE_PASSWORD.match(value)
    options = (rest["options"] or "").split("&") if rest else []
    # Part of the password would be taken for the host or the database, which errors name.
    if _PASSWORD_WITH_AN_END.match(value):
        raise ValidationError("contains an @ in its user or password: write it as %40, and / ? # as %2F %3F %23.")
    if rest and (
        "@" in rest["host"] + rest["database"] or any("@" in each and not re.match(_OPTION, each) for each in options)
    ):
        raise ValidationError("contains an @ in its user or password: write it as %40.")
    try:
        parts = urlsplit(with_driver(value))
        usable = (parts.scheme == "postgresql+psycopg" and parts.port != 0) or (
            parts.scheme == "sqlite"
            and value.startswith("sqlite:///")
            and parts.path not in ("/", "/:memory:")
            and not parts.query
        )
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError(
            "is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/DATABASE. In USER and PASSWORD,"
            " percent-encode special characters: @ is %40, / is %2F, : is %3A, % is %25."
        )


def _check_url(example: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise ValidationError(f"is not a URL such as {example}.") from error
        if not usable or parts.query or parts.fragment or parts.username is not None or any(map(str.isspace, value)):
            raise ValidationError(f"is not a URL such as {example}; credentials have settings of their own.")

    return check
