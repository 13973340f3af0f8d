"""The errors that this program raises on purpose. The docstring is the message; the evidence is attached."""

import traceback


def locate(error: BaseException) -> str:
    """Returns where the error was raised, as ``file:line``. A traceback in the log would quote numbers and texts."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"


class ReceiverError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigurationError(ReceiverError):
    """The settings are wrong; every problem is listed by the variable's name."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in sorted(problems.items())))
        self.problems = problems


class NotJSON(ReceiverError):
    """The body is not a JSON array or object."""


class CannotListen(ReceiverError):
    """The address is not available to listen on."""

    def __init__(self, host: str, port: int, reason: object) -> None:
        super().__init__(f"Cannot listen on {host}:{port}: {getattr(reason, 'strerror', None) or reason}")


class CannotCount(ReceiverError):
    """There is no room for the metrics of the service's processes."""


class StorageUnavailable(ReceiverError):
    """The database did not respond; try again."""

    def __init__(
        self, message: str | None = None, *, reason: str = "", database: str = "", in_doubt: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        """The database's own error message, without values of rows."""
        self.database = database
        """The database's file, or its name and host; must not be shown to clients."""
        self.in_doubt = in_doubt
        """Whether the transaction may be stored all the same, because the result of its commit was not received."""


class StorageRefused(StorageUnavailable):
    """The database rejects a value."""


class SchemaOutdated(ReceiverError):
    """The database is not migrated; run `receiver migrate`."""


class WrongEncoding(SchemaOutdated):
    """The database cannot store every character; create another one."""

    def __init__(self, database: str, encoding: str, *, remedy: str) -> None:
        self.found = f"the database {database} is encoded in {encoding}, which cannot store every character"
        self.remedy = f"create another one, and name it in DATABASE_URL: {remedy};"
        super().__init__(f"{self.found[0].upper()}{self.found[1:]}: {self.remedy}")


class UnknownRole(ReceiverError):
    """PostgreSQL has no such role."""

    def __init__(self, role: str) -> None:
        super().__init__(f"PostgreSQL has no role {role!r}; create it first: CREATE ROLE ... LOGIN.")
        self.role = role


FieldErrors = dict[str, list[str]]
"""Error messages by field name; an element of a list is named like ``to[0]``."""


class InvalidFields(ReceiverError):
    """Fields of the request are wrong."""

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__("\n".join(f"{name}: {' '.join(found)}" for name, found in sorted(errors.items())))
        self.errors = errors


class WrongFile(ReceiverError):
    """The file cannot be read as messages."""


class MessageNotFound(ReceiverError):
    """There is no message with this tag."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag


class KeyReused(ReceiverError):
    """This Idempotency-Key has been used for another request; use a new one."""


class NotQueued(ReceiverError):
    """Only a queued message can be cancelled."""

    def __init__(self, tag: str, send_status: str) -> None:
        super().__init__(f"Only a queued message can be cancelled; this one is {send_status}.")
        self.tag = tag
        self.send_status = send_status


class TooFast(ReceiverError):
    """BANDWIDTH_RATE or BANDWIDTH_SENDER_RATE is used up, or Bandwidth asked us to slow down. Nothing was sent."""

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(f"{self.__doc__} Send it again after {retry_after} s.")
        self.retry_after = retry_after
        """Seconds until the next attempt."""


class NotResolvable(ReceiverError):
    """This message needs no decision by a person."""


class RecordsUnavailable(ReceiverError):
    """Bandwidth's own records of messages cannot be read."""


class QueryRefused(RecordsUnavailable):
    """Bandwidth's message search refuses this query; it may accept others."""
