"""What the views work with; made once, by receiver.app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from receiver.config import Settings
from receiver.receiving import Committer
from receiver.sending import Gateway
from receiver.storage.database import Database

EXTENSION = "receiver"


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    gateway: Gateway
    committer: Committer

    def close(self) -> None:
        """Finishes what was taken, and gives everything back."""
        self.committer.close()
        self.database.close()


def services() -> Services:
    return cast("Services", current_app.extensions[EXTENSION])
