"""Ends a command that fails with a sentence and an exit code instead of a traceback."""

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from receiver import settings, settings_file
from receiver.cli.console import EXIT_INTERRUPTED, EXIT_UNKNOWN, EXIT_USAGE, EXIT_WRONG, fail
from receiver.cli.options import named_settings_file
from receiver.errors import ConfigurationError, InvalidFields, ReceiverError, StorageUnavailable, WrongFile

P = ParamSpec("P")


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Decorates a command: loads the settings file first, and turns errors into a sentence and an exit code."""

    @wraps(command)
    def reported(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _load_settings_file()
            command(*args, **kwargs)
        except ConfigurationError as error:
            fail(f"Invalid settings:\n{error}", EXIT_USAGE)
        except InvalidFields as error:
            fail(f"Invalid message:\n{error}", EXIT_USAGE)
        except WrongFile as error:
            fail(str(error), EXIT_USAGE)
        except StorageUnavailable as error:
            fail(with_cause(error), EXIT_WRONG)
        except ReceiverError as error:
            fail(str(error), EXIT_WRONG)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click handles a closed pipe
                raise
            fail(f"Input or output failed: {error.strerror or error}.", EXIT_UNKNOWN)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    return reported


def with_cause(error: StorageUnavailable) -> str:
    """Returns the error's message, with the database's name and its reason unless the message has them already."""
    first = error if error.database else error.__cause__
    if not isinstance(first, StorageUnavailable) or not first.reason or first.reason in str(error):
        return str(error)
    return f"{error} ({first.database}: {first.reason})"


def _load_settings_file() -> None:
    """Loads the file that --env-file or, without it, RECEIVER_ENV_FILE names. Raises ConfigurationError."""
    path = named_settings_file() or os.environ.get(settings.ENV_FILE)
    if path:
        settings_file.load_settings_file(Path(path))
