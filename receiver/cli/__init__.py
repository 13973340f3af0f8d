"""The command `receiver`."""

from receiver.cli import bulk, doctor, messages, playground, service, unknowns  # each adds its commands
from receiver.cli.base import main

__all__ = ["bulk", "doctor", "main", "messages", "playground", "service", "unknowns"]
