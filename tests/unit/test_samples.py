import json
import re
from pathlib import Path

import pytest

from tests.samples import SAMPLES, callbacks, load

TABLE_ROW = re.compile(
    r"^\| `(?P<name>\w+/[^`]+\.json)` \| (?P<source>[^|]+) \| (?P<shows>[^|]+) \|[^|]*\|$", re.MULTILINE
)
FAITHFUL = ("verbatim: ", "verbatim but for ", "from YAML: ", "reconstructed: ")


def files() -> list[str]:
    return sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*.json"))


def table() -> list[re.Match[str]]:
    return list(TABLE_ROW.finditer((SAMPLES / "README.md").read_text()))


@pytest.mark.parametrize("name", files())
def test_every_file_is_json_in_utf_8(name: str) -> None:
    assert json.loads(load(name).decode("utf-8"))


def test_every_file_has_exactly_one_row_in_the_readme_and_every_row_a_file() -> None:
    assert sorted(row["name"] for row in table()) == files()


def test_every_row_says_how_faithful_the_file_is() -> None:
    assert [row["name"] for row in table() if not row["source"].startswith(FAITHFUL)] == []


@pytest.mark.parametrize("path", callbacks(), ids=lambda path: path.stem)
def test_a_callback_is_an_array_of_one_event_or_a_bare_object(path: Path) -> None:
    body = json.loads(path.read_bytes())
    if path.name.startswith("object-"):
        events = [body]
    else:
        events = body
        assert isinstance(events, list)
    [event] = events
    assert event["type"]
    assert event["message"]["id"]


@pytest.mark.parametrize("name", [name for name in files() if name.startswith("answers/")])
def test_an_answer_is_an_object_named_by_its_status(name: str) -> None:
    body = json.loads(load(name))
    assert isinstance(body, dict)
    status = int(re.match(r"answers/(\d{3})-", name)[1])  # type: ignore[index]
    assert body.get("status", status) == status
    assert ("id" in body) == (status == 202)


def test_callbacks_lists_every_file_of_its_folder() -> None:
    assert [f"callbacks/{path.name}" for path in callbacks()] == [
        name for name in files() if name.startswith("callbacks/")
    ]
