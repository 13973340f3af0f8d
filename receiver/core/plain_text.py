"""What others wrote, as it may be shown: it gives no commands to a terminal, and begins no line of its own."""

import re

_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move, colour or turn what a terminal shows."""


def harmless(text: str) -> str:
    """Without commands to the terminal."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The same without line breaks, so that it cannot look like a line of ours."""
    return harmless(text.replace("\r\n", " ").replace("\n", " "))
