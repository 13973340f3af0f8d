"""The command `receiver`."""

from receiver.cli import bulk, finding, messages, playground, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["bulk", "finding", "main", "messages", "playground", "service", "unknowns"]
