"""What the views work with; made once, by receiver.app."""

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
    settings: Settings
    sender: Sender
    database: Database
    committing: Database
    """The committer's; the same one or another."""
    committer: Committer

    def close(self) -> None:
        """Finishes what was taken, and gives everything back."""
        self.committer.close()
        self.committing.close()
        self.database.close()


def services() -> Services:
    return cast("Services", current_app.extensions[EXTENSION])
