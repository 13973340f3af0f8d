"""The documents: their sections, examples and tables, so that tests can run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TAG = "01M803PMPZHK79K198H9DPFJ7A"
"""Stands for a message's tag in the queries."""
NOT_RUN = "No test runs"
"""A section whose examples no test runs says so with these words, and gives the reason."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block of code."""

    section: str
    """The nearest heading above it."""
    language: str
    code: str


@dataclass(frozen=True)
class Page:
    """A document, or a section of one."""

    name: str
    """Its path from the top of the checkout."""
    text: str

    def section(self, heading: str) -> Page:
        """The text under a heading, up to the next heading that is not below it."""
        found = re.search(rf"^(#+) {re.escape(heading)}\n", self.text, re.MULTILINE)
        assert found is not None, f"{self.name} has no heading {heading!r}"
        rest = self.text[found.end() :]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", _FENCED.sub(lambda code: " " * len(code[0]), rest), re.MULTILINE)
        return Page(self.name, rest[: end.start()] if end else rest)

    def headings(self) -> list[str]:
        return re.findall(r"^#+ (.+)$", _FENCED.sub("", self.text), re.MULTILINE)

    def all_examples(self) -> list[Example]:
        """The blocks of code, in order."""
        found, section = [], ""
        for each in re.finditer(rf"^#+ (?P<heading>[^\n]+)$|{_FENCED.pattern}", self.text, re.DOTALL | re.MULTILINE):
            if each["heading"] is None:
                found.append(Example(section, each[2], each[3].strip()))
            else:
                section = each["heading"]
        return found

    def examples(self, language: str) -> list[str]:
        """The blocks of code in that language, in order."""
        return [each.code for each in self.all_examples() if each.language == language]

    def commands(self, program: str) -> list[str]:
        """The shell commands that begin with that program, in order, without their line breaks."""
        lines = "\n".join(self.examples("sh")).replace("\\\n", " ").splitlines()
        return [re.sub(r"\s+", " ", line) for line in lines if line.startswith(f"{program} ")]

    def questions(self) -> dict[str, str]:
        """The query under each question, in order."""
        return dict(re.findall(r"^(\S[^\n]*\?)\n\n```sql\n(.*?)\n```", self.text, re.DOTALL | re.MULTILINE))

    def first_column(self, header: str) -> list[str]:
        """The names in the first column of the table whose first heading is ``header``, without their code marks."""
        return [row.split("|")[1].strip().strip("`") for row in self.table(header).splitlines()]

    def table(self, header: str) -> str:
        """The rows of the table whose first heading is ``header``."""
        table = re.search(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", self.text, re.MULTILINE)
        assert table is not None, f"{self.name} has no table headed {header!r}"
        return table[1]


def read(name: str) -> Page:
    return Page(name, (ROOT / name).read_text(encoding="utf-8"))


README = read("README.md")
API, SENDING, SUPPORT, OPERATIONS, SECURITY, SPEED, SIMULATOR, SETTINGS, ARCHITECTURE = (
    read(f"docs/{name}.md")
    for name in (
        *("api", "sending", "support", "operations", "security", "speed", "simulator", "settings", "architecture"),
    )
)
CONTRIBUTING = read("CONTRIBUTING.md")
CHANGELOG = read("CHANGELOG.md")
ALL = [
    *(README, API, SENDING, SUPPORT, OPERATIONS, SECURITY, SPEED, SIMULATOR, SETTINGS, ARCHITECTURE),
    *(CONTRIBUTING, CHANGELOG),
]
