"""The command `receiver`."""

from receiver.cli import bulk, messages, playground, retention, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["bulk", "main", "messages", "playground", "retention", "service", "unknowns"]
