"""The settings: read from the environment once, into a frozen object; every problem is reported at once.

A setting is a field of Settings, and its variable is the field's name in capitals. config/example.env documents each.
A secret may stand in a file instead: the variable's name with _FILE behind it is then the file's path.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from marshmallow import ValidationError
from marshmallow.fields import Boolean, Field, Float, Integer
from marshmallow.validate import Range

from receiver.core import numbers
from receiver.core.pace import Rates
from receiver.errors import ConfigurationError
from receiver.log import LEVELS

Value = TypeVar("Value")

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
    """The running configuration.

    A field with ``repr=False`` is a secret: it may be given in a file, and its value is shown nowhere.
    """

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
    callback_credentials: tuple[Credential, ...] = field(repr=False)
    allow_unauthenticated_callbacks: bool
    api_keys: tuple[ApiKey, ...] = field(repr=False)
    read_only_api_keys: tuple[ApiKey, ...] = field(repr=False)
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


VARIABLES = tuple(each.name.upper() for each in fields(Settings))
"""The names of all settings in the environment."""

SECRETS = tuple(each.name.upper() for each in fields(Settings) if not each.repr)
"""The settings whose values are shown nowhere."""

FILE_VARIABLES = {f"{name}_FILE": name for name in SECRETS}
"""The secret that each variable may give by the path of a file that holds it."""

MAX_SECRET = 2**16
"""Bytes of the file of a secret."""

ENV_FILE = "RECEIVER_ENV_FILE"
"""The variable that names a settings file."""

NAMES = (*VARIABLES, *FILE_VARIABLES, ENV_FILE)
"""The names of all variables that mean something to this program."""

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
    if name in NAMES:
        return None
    if upper.startswith("BANDWIDTH_RECEIVER_"):  # Kubernetes sets such variables for a service named so
        return None
    beginnings = tuple(each for each in _BEGINNINGS if upper.startswith(each))
    alike = [each for each in NAMES if beginnings and each.startswith(beginnings)]
    distances = {each: _distance(upper, each) for each in alike or NAMES}
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


@dataclass(frozen=True, slots=True)
class _Environment:
    """The text of each variable that is set, and what is wrong with it."""

    texts: Mapping[str, str]
    sources: Mapping[str, str]
    """The variable that gave a secret by a file."""
    problems: dict[str, str]
    """By the variable that is to be corrected."""

    def report(self, name: str, problem: str) -> None:
        self.problems.setdefault(self.sources.get(name, name), problem)

    def is_given(self, name: str) -> bool:
        """Whether the setting has a value, be it invalid. A blank variable has none."""
        return name in self.sources or name in self.problems or bool(self.texts.get(name, "").strip())

    def text(self, name: str, check: Callable[[str], None] | None = None) -> str | None:
        """The setting's text; None if it is absent or invalid."""

        def checked(text: str) -> str:
            if check:
                check(text)
            return text

        return self.value(name, checked, None)

    def value(self, name: str, parse: Callable[[str], Value], default: Value) -> Value:
        """What ``parse`` makes of the setting's text; the default if it is absent or invalid."""
        text = self.texts.get(name, "")
        return self._parsed(name, parse, text, default) if text.strip() else default

    def several(self, name: str, parse: Callable[[str, int], Value]) -> tuple[Value, ...]:
        """The comma-separated items of the setting; none if one of them is invalid, as a blank one is."""

        def parse_all(text: str) -> tuple[Value, ...]:
            return tuple(parse(entry.strip(), place) for place, entry in enumerate(text.split(","), start=1))

        text = self.texts.get(name, "")
        return self._parsed(name, parse_all, text, ()) if text else ()

    def _parsed(self, name: str, parse: Callable[[str], Value], text: str, default: Value) -> Value:
        try:
            return parse(text)
        except ValidationError as error:
            self.report(name, " ".join(map(str, error.messages)))
            return default


def read_settings(*, sending: bool = False, serving: bool = False) -> Settings:
    """The settings from the environment, and from the files that it names.

    ``sending`` requires the settings for calling Bandwidth, ``serving`` also those that protect the API. Raises
    ConfigurationError with every problem; no value appears in it.
    """
    environment = _read_environment()
    settings = Settings(
        database_url=with_driver(environment.text("DATABASE_URL", _check_database_url) or DEFAULT_DATABASE_URL),
        bandwidth_account_id=environment.text("BANDWIDTH_ACCOUNT_ID"),
        bandwidth_client_id=environment.text("BANDWIDTH_CLIENT_ID", _check_user),
        bandwidth_client_secret=environment.text("BANDWIDTH_CLIENT_SECRET"),
        bandwidth_token_url=environment.text("BANDWIDTH_TOKEN_URL", _check_url(DEFAULT_TOKEN_URL)) or DEFAULT_TOKEN_URL,
        bandwidth_username=environment.text("BANDWIDTH_USERNAME", _check_user),
        bandwidth_password=environment.text("BANDWIDTH_PASSWORD"),
        bandwidth_application_id=environment.text("BANDWIDTH_APPLICATION_ID"),
        bandwidth_from=environment.text("BANDWIDTH_FROM", _check_sender),
        bandwidth_api_url=(
            environment.text("BANDWIDTH_API_URL", _check_url(DEFAULT_API_URL)) or DEFAULT_API_URL
        ).rstrip("/"),
        bandwidth_connect_timeout=environment.value("BANDWIDTH_CONNECT_TIMEOUT", _number(600), 5.0),
        bandwidth_read_timeout=environment.value("BANDWIDTH_READ_TIMEOUT", _number(600), 25.0),
        bandwidth_rate=environment.value("BANDWIDTH_RATE", _rate, None),
        bandwidth_sender_rate=environment.value("BANDWIDTH_SENDER_RATE", _rate, None),
        callback_credentials=environment.several("CALLBACK_CREDENTIALS", _credential),
        allow_unauthenticated_callbacks=environment.value("ALLOW_UNAUTHENTICATED_CALLBACKS", _truth, default=False),
        api_keys=environment.several("API_KEYS", _api_key("key")),
        read_only_api_keys=environment.several("READ_ONLY_API_KEYS", _api_key("read-only key")),
        overdue_after_hours=environment.value("OVERDUE_AFTER_HOURS", _number(8760), 27.0),
        max_body_bytes=environment.value("MAX_BODY_BYTES", _size, 4_194_304),
        log_level=environment.text("LOG_LEVEL", _check_level) or "info",
    )
    _check_account(environment, needed=sending or serving)
    if serving:
        _check_access(environment, settings)
    if environment.problems:
        raise ConfigurationError(environment.problems)
    return settings


def _read_environment() -> _Environment:
    """The text of each setting. It is empty if its file cannot be read or it is not UTF-8, which is reported."""
    texts = {name: os.environ.get(name, "") for name in VARIABLES}
    # Python decodes what is not UTF-8 to surrogates, which no log, header or database accepts.
    problems = {name: "is not UTF-8." for name, text in texts.items() if re.search("[\ud800-\udfff]", text)}
    sources = {}
    for variable, name in FILE_VARIABLES.items():
        if path := os.environ.get(variable, "").strip():
            sources[name] = variable
            try:
                if texts[name].strip():
                    raise ValidationError(f"is set, and so is {name}: remove one of them.")
                texts[name] = _read_secret(Path(path))
            except ValidationError as error:
                problems[variable] = f"{error.messages[0]}"
    return _Environment({name: text for name, text in texts.items() if name not in problems}, sources, problems)


def _read_secret(path: Path) -> str:
    """The text of a secret's file without the line break at its end, which editors and `echo` write.

    Raises ValidationError. It does not quote the path: somebody may have put the secret itself into the variable.
    """
    try:
        # A pipe would block or be empty the second time, because every process of the server reads the file.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValidationError("names a directory, a pipe or a device: name a file that holds the value.")
        with path.open("rb") as file:
            content = file.read(MAX_SECRET + 1)
        text = content.decode("utf-8-sig")  # with or without the mark that Windows writes
    except UnicodeDecodeError as error:
        raise ValidationError("names a file that is not UTF-8: write the value into it as plain text.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a path"
        raise ValidationError(f"names a file that cannot be read ({reason}): correct its path or access.") from error
    if len(content) > MAX_SECRET:
        raise ValidationError(f"names a file of more than {MAX_SECRET} bytes: name the one that holds the value.")
    if "\0" in text:
        raise ValidationError("names a file with a NUL in it: write the value into it as plain text.")
    if not text.strip():
        raise ValidationError("names a file that is empty: write the value into it.")
    return re.sub(r"\r?\n\Z", "", text)


def describe(settings: Settings) -> dict[str, str]:
    """Returns every setting as it may be shown: of secrets only their number and names, and the path of their file."""
    shown: dict[str, str] = {}
    for name in VARIABLES:
        value = getattr(settings, name.lower())
        text = _describe_secret(name, value) if name in SECRETS and value else value
        shown[name] = NOT_SET if text in (None, "", ()) else str(text)
        path = os.environ.get(f"{name}_FILE", "").strip()
        if name in SECRETS and path:
            shown[f"{name}_FILE"] = path
    return shown


def _describe_secret(name: str, value: Any) -> str:
    if name == "DATABASE_URL":
        url = re.split(rf"\?{_OPTION}", value)[0]
        hidden = re.sub(r"(?<=://)([^:/]*):.*@", r"\1:***@", url if "@" in url else value, flags=re.DOTALL)
        return hidden.partition("?")[0]
    if isinstance(value, tuple):
        return ", ".join(f"{each.user if isinstance(each, Credential) else each.name}:(set)" for each in value)
    return "(set)"


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
            " Remove them once every process uses BANDWIDTH_CLIENT_ID."
        ]
    if settings.bandwidth_username and settings.calls_bandwidth:
        return [
            f"BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD stop working on {BASIC_ENDS}, when Bandwidth accepts only OAuth"
            " 2.0. Set BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET."
        ]
    return []


def _check_account(environment: _Environment, *, needed: bool) -> None:
    """Reports what is missing for calling Bandwidth. An invalid value is not missing."""
    if needed and not environment.is_given("BANDWIDTH_ACCOUNT_ID"):
        environment.report("BANDWIDTH_ACCOUNT_ID", "is missing: set it to your Bandwidth account number.")
    oauth, basic = ("BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"), ("BANDWIDTH_USERNAME", "BANDWIDTH_PASSWORD")
    if needed and not any(map(environment.is_given, oauth + basic)):
        for name in oauth:
            environment.report(
                name, "is missing: Bandwidth requires OAuth 2.0. Copy it from your API credential there."
            )
    for name, other in (oauth, oauth[::-1], basic, basic[::-1]):
        if environment.is_given(other) and not environment.is_given(name):
            environment.report(name, f"is missing: {other} is set, and both are needed.")


def _check_access(environment: _Environment, settings: Settings) -> None:
    """Reports what would leave the API or the callback URL unusable or open to anybody."""
    keys = [each.key for each in settings.api_keys + settings.read_only_api_keys]
    if not keys and not environment.is_given("READ_ONLY_API_KEYS"):
        environment.report("API_KEYS", "is missing: without a key nobody could use the API. Set it to name:key.")
    if len(set(keys)) < len(keys):
        environment.report("API_KEYS", "contains a key twice, or one that is also in READ_ONLY_API_KEYS.")
    if not settings.callback_credentials and not settings.allow_unauthenticated_callbacks:
        environment.report(
            "CALLBACK_CREDENTIALS",
            "is missing: anyone could post events. Set it to user:password, "
            "or set ALLOW_UNAUTHENTICATED_CALLBACKS=true if a proxy checks them.",
        )


def _number(highest: float) -> Callable[[str], float]:
    return _parser(Float(validate=Range(min=0, min_inclusive=False, max=highest)))


def _parser(field: Field[Value]) -> Callable[[str], Value]:
    """The function that reads a text as the field does."""

    def parse(text: str) -> Value:
        return field.deserialize(text)

    return parse


_rate = _parser(Float(validate=Range(min=MIN_RATE, max=MAX_RATE)))
_size = _parser(Integer(validate=Range(min=1)))
_truth = _parser(Boolean())


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
