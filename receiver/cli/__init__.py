"""The command `receiver`. Each of its commands is in the module of its name; `overdue` and the like are in lists.py."""

from receiver.cli.commands import main

__all__ = ["main"]
