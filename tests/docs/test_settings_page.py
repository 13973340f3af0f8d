"""docs/settings.md lists every setting with the defaults of the code and the meanings of config/example.env."""

import re

import pytest

from docs.settings import PAGE, defaults, documented, page
from receiver.settings import EXAMPLE, SECRETS, VARIABLES


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make settings`"


def test_every_setting_is_on_the_page_once() -> None:
    rows = [line.split(" | ")[0] for line in page().splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(VARIABLES)


def test_every_setting_has_a_meaning() -> None:
    found = list(documented(EXAMPLE.read_text(encoding="utf-8")))
    assert [each.names for each in found if not each.section or len(each.meaning) < 20] == []


def test_the_defaults_are_those_of_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert defaults()["LOG_LEVEL"] == "info"


def test_a_secret_is_marked_as_one() -> None:
    marked = re.findall(r"`(\w+)`", " ".join(re.findall(r" Secret: (.*)\.", page())))
    assert sorted(marked) == sorted(SECRETS)
