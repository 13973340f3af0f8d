"""The command `receiver`."""

from receiver.cli import messages, playground, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["main", "messages", "playground", "service", "unknowns"]
