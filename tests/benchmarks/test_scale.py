"""The benchmark's rows are those that the program would have stored."""

from collections.abc import Iterator

import pytest
from sqlalchemy import inspect

from receiver.core import times
from receiver.database.database import Database
from receiver.maintenance.recompute import recompute
from receiver.schemas.requests import MessagesQuerySchema
from tests.benchmarks import ingest
from tests.benchmarks.filling import fill
from tests.benchmarks.history import History
from tests.benchmarks.queries import MOST, VIEWS, filters, queries, sample
from tests.benchmarks.tables import BY_NATURE
from tests.support.stored import view

MESSAGES = 1000
FINDS_NOTHING = ("nobody's", "sendStatus=queued", "frequent", "by day")
"""Parts of the names of queries that may find nothing in a short history."""


@pytest.fixture
def history() -> History:
    return History(MESSAGES, end=times.now())


@pytest.fixture
def filled(postgres_url: str, history: History) -> Iterator[Database]:
    fill(postgres_url, history)
    with Database(postgres_url) as database:
        yield database


def test_every_recipient_shows_the_fold_of_its_events(filled: Database) -> None:
    batches = list(recompute(filled, check=True))

    assert sum(batch.messages for batch in batches) == MESSAGES
    assert [each for batch in batches for each in batch.differences] == []


def test_every_query_finds_something(filled: Database, history: History) -> None:
    found = {name: ask(filled, MOST) for name, ask in queries(filled, history).items()}

    assert len(found) > 80
    assert set(BY_NATURE) <= set(found)
    assert [name for name, rows in found.items() if not rows and not any(each in name for each in FINDS_NOTHING)] == []


def test_every_filter_of_the_list_and_every_support_view_is_measured(filled: Database, history: History) -> None:
    asked = filters(history, sample(filled, "support_recipients", history))
    documented = {field.data_key or name for name, field in MessagesQuerySchema().fields.items()}

    assert {name for query in asked.values() for name in query} == documented
    assert {*VIEWS, "support_error_codes", "support_sending"} == set(inspect(filled.engine).get_view_names())


@pytest.mark.parametrize("make", [ingest.recent, ingest.scattered])
def test_every_event_that_is_ingested_is_new_and_linked(filled: Database, history: History, make: ingest.Make) -> None:
    events = make(filled, history)
    before = len(view(filled, "support_events"))

    assert len(events) > 0.8 * ingest.EVENTS
    assert ingest.events_per_second(filled, events) > 0
    rows = view(filled, "support_events")
    assert len(rows) == before + len(events)
    assert sum(row["linked_by"] == "tag" for row in rows) >= len(events)
    assert [each for batch in recompute(filled, check=True) for each in batch.differences] == []
