"""The command `receiver`."""

from receiver.cli import (  # each adds its commands
    bulk,
    doctor,
    finding,
    granting,
    messages,
    playground,
    retention,
    service,
    unknowns,
)
from receiver.cli.base import main

__all__ = [
    "bulk",
    "doctor",
    "finding",
    "granting",
    "main",
    "messages",
    "playground",
    "retention",
    "service",
    "unknowns",
]
