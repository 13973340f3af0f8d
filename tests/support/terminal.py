"""Runs `receiver` on a terminal, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from pathlib import Path

from tests.support.processes import PATIENCE, start


def on_terminal(
    *arguments: str, environment: dict[str, str], folder: Path, exit_code: int = 0, columns: int = 80
) -> str:
    """What the command shows on a terminal with that many columns, colours included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    unset = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    streams, settings = (theirs, theirs, theirs), unset | {"TERM": "xterm"}
    child = start(*arguments, environment=settings, folder=folder, streams=streams, from_command_line=True)
    os.close(theirs)
    shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert child.wait(PATIENCE) == exit_code, shown
    return shown.decode()


def without_colours(shown: str) -> str:
    """The text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux, when the other end is closed
        return b""
