"""Every error this program raises on purpose. The docstring is the message; the evidence is attached."""


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


class StorageUnavailable(ReceiverError):
    """The database did not store this; nothing was lost as long as the caller tries again."""


class SchemaOutdated(ReceiverError):
    """The database is not migrated; run `receiver migrate`."""


class InvalidCursor(ReceiverError):
    """The cursor is not one that this service gave out."""


class MessageNotFound(ReceiverError):
    """There is no message with this tag."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag
