"""The command `receiver`. The table in commands.py says in which module each of its commands is."""

from receiver.cli.commands import main

__all__ = ["main"]
