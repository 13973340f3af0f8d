"""Writes settings.md, which lists every setting, from config/example.env and the defaults of the code.

python -m docs.settings
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from receiver.settings import EXAMPLE, NAMES, NOT_SET, SECRETS, describe, read_settings

PAGE = Path(__file__).parent / "settings.md"

INTRODUCTION = """\
# Settings

For operators who configure the service. Written by `make settings` from config/example.env and the code.

Each setting is an environment variable, or a line of the settings file that `receiver config --example` prints; see
[Settings and processes](operations.md#settings-and-processes). A blank value is the same as none. `receiver config`
prints the values in use, without secrets.

A secret can be read from a file, such as one that a container or systemd provides: `API_KEYS_FILE` instead of
`API_KEYS` is the path of a file that holds the keys. One line break at the end of the file is ignored. Setting both is
an error.
"""

_SECTION = re.compile(r"# --- (?P<title>.+?) -+")
_ASSIGNMENT = re.compile(r"#? ?(?P<name>[A-Z][A-Z0-9_]*)=")


@dataclass(frozen=True)
class Documented:
    """Settings that share a comment in config/example.env."""

    section: str
    names: list[str]
    meaning: str


def documented(example: str) -> Iterator[Documented]:
    """The settings in the text of config/example.env, in its order."""
    section = ""
    for paragraph in re.split(r"\n\n+", example.strip()):
        lines = paragraph.splitlines()
        names = [match["name"] for line in lines if (match := _ASSIGNMENT.match(line))]
        if title := _SECTION.fullmatch(paragraph):
            section = title["title"]
        elif names:
            comments = [line.removeprefix("#").strip() for line in lines if not _ASSIGNMENT.match(line)]
            yield Documented(section, names, " ".join(comments))


def defaults() -> dict[str, str]:
    """The value of each setting in an empty environment, as `receiver config` prints it."""
    given = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    try:
        return describe(read_settings())
    finally:
        os.environ.update(given)


def page() -> str:
    """The page, from the settings of this version."""
    return "\n".join([INTRODUCTION, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    values = defaults()
    for section, group in groupby(documented(EXAMPLE.read_text(encoding="utf-8")), key=lambda each: each.section):
        yield from (f"## {section}\n", "| Setting | Default | Meaning |", "|---|---|---|")
        for each in group:
            names = "<br>".join(f"`{name}`" for name in each.names)
            shown = "<br>".join(_shown(values[name]) for name in each.names)
            confidential = ", ".join(f"`{name}`" for name in each.names if name in SECRETS)
            secret = f" Secret: {confidential}." if confidential else ""
            yield f"| {names} | {shown} | {each.meaning}{secret} |"
        yield ""


def _shown(value: str) -> str:
    """The value as people write it in a settings file."""
    if value == NOT_SET:
        return "none"
    return f"`{value.lower() if value in ('True', 'False') else value.removesuffix('.0')}`"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
