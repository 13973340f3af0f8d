"""curl, as the documents use it: the five options that they use are read here and carried out, so curl is not needed.

python -m tests.support.curl URL [OPTION]...
"""

import argparse
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import requests

PATIENCE = 60
"""Seconds."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""The Content-Type that curl sends with -d by default."""

_PARSER = argparse.ArgumentParser("curl")
_PARSER.add_argument("url")
_PARSER.add_argument("-s", action="store_true")
_PARSER.add_argument("-X", default=None)
_PARSER.add_argument("-H", action="append", default=[])
_PARSER.add_argument("-d")
_PARSER.add_argument("-u")


def call(arguments: list[str]) -> requests.Response:
    """Sends the request that curl would send with these arguments."""
    given = _PARSER.parse_args(arguments)
    return requests.request(
        given.X or ("GET" if given.d is None else "POST"),
        given.url,
        headers=FORM | dict(header.split(": ", 1) for header in given.H),
        data=given.d,
        auth=tuple(given.u.split(":", 1)) if given.u else None,
        timeout=PATIENCE,
    )


@dataclass
class Terminal:
    """Runs curl examples; the ports of the documents stand for those of the test."""

    ports: dict[str, str]
    settings: dict[str, str]
    tag: str = ""
    token: str = ""
    responses: list[requests.Response] = field(default_factory=list)

    def run(self, example: str) -> requests.Response:
        text = example.replace("$TAG", self.tag).replace("$TOKEN", self.token)
        for written, real in self.ports.items():
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}")
        program, *arguments = shlex.split(text.replace("\\\n", " "))
        assert program == "curl"
        self.responses.append(call(arguments))
        return self.responses[-1]


def install(folder: Path) -> None:
    """Writes an executable `curl` into that folder, for a shell whose PATH begins with it."""
    command = folder / "curl"
    top = Path(__file__).parents[2]
    program = shlex.join(["env", f"PYTHONPATH={top}", sys.executable, "-m", "tests.support.curl"])
    command.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    command.chmod(0o755)


if __name__ == "__main__":
    sys.stdout.write(call(sys.argv[1:]).text)
