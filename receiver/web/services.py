"""What the views work with; made once, by receiver.app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from receiver.config import Settings
from receiver.sending import Gateway
from receiver.storage.database import Database

EXTENSION = "receiver"


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    gateway: Gateway


def services() -> Services:
    return cast("Services", current_app.extensions[EXTENSION])
