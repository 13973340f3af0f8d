"""The services that views use; created once, by receiver.app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from receiver.database.database import Database
from receiver.events.committer import Committer
from receiver.messages.sender import Sender
from receiver.settings import Settings

EXTENSION = "receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that the views of one application share."""

    settings: Settings
    sender: Sender
    database: Database
    committing: Database
    """The committer's database: on PostgreSQL one with a connection of its own, on SQLite the same."""
    committer: Committer

    def close(self) -> None:
        """Stores the callbacks that were taken, then closes all connections."""
        self.committer.close()
        self.committing.close()
        self.database.close()


def services() -> Services:
    """The services of the application that serves the present request."""
    return cast("Services", current_app.extensions[EXTENSION])
