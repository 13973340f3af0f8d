"""The command `receiver`."""

from receiver.cli import bulk, granting, messages, playground, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["bulk", "granting", "main", "messages", "playground", "service", "unknowns"]
