"""The command `receiver`."""

from receiver.cli import bulk, finding, granting, messages, playground, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["bulk", "finding", "granting", "main", "messages", "playground", "service", "unknowns"]
