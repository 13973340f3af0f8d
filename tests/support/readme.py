"""The examples and tables of README.md, so that tests can run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TAG = "01M803PMPZHK79K198H9DPFJ7A"
"""Stands for a message's tag in the queries."""


def examples(language: str) -> list[str]:
    """The code blocks of that language, in order."""
    return [code.strip() for code in re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]


def questions() -> dict[str, str]:
    """The query under each question, in order."""
    return dict(re.findall(r"^(\S[^\n]*\?)\n\n```sql\n(.*?)\n```", TEXT, re.DOTALL | re.MULTILINE))


def first_column(header: str) -> list[str]:
    """The names in the first column of the table whose first heading is ``header``, without their code marks."""
    table = re.search(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None, f"README.md has no table headed {header}"
    return [row.split("|")[1].strip().strip("`") for row in table[1].splitlines()]
