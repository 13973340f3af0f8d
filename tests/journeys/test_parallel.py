"""Several processes and many clients store equal and contradictory events at once: the outcome is the core's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from receiver.bandwidth.callbacks import parse
from receiver.core import times
from receiver.core.events import Event, Gathered, gather
from receiver.core.messages import Accepted
from receiver.core.status import RecipientStatus, disposition, fold
from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, CAROL, make_body, make_element, store_message
from tests.support.processes import Api, environment, run, serving, wait_for

GROUP = (ALICE, BOB, CAROL)
STRANGER = "+19195550199"
CLIENTS = 8
MESSAGES = 4

STATEMENTS: list[tuple[str, int | None]] = [
    ("sending", None),
    ("sent", None),
    ("delivered", None),
    ("read", None),
    ("failed", None),
    ("failed", 4404),
    ("failed", 4720),
    ("failed", 4451),
    ("failed", 9902),
    ("rejected-forbidden", 4403),
    ("teleported", None),
]


def test_any_order_on_any_process_ends_in_the_fold_of_the_core(tmp_path: Path, postgres_url: str) -> None:
    random = Random(20261121)
    with Database(postgres_url) as database:
        messages = _store(database)
    elements = [element for tag, ids in messages.items() for element in _elements(random, tag, ids)]
    elements += [make_element("delivered", ALICE, message_id=f"nobody's-{place}") for place in range(3)]
    settings = environment(postgres_url)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(tmp_path, settings, "--workers", workers))[1].url for workers in ("2", "1")
        ]
        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(_post_all, Random(seed), servers, elements) for seed in range(CLIENTS)]
            recorded = sum(client.result() for client in clients)
        expected = gather(event for event in parse(make_body(*elements)) if isinstance(event, Event))
        with Api(servers[0]) as api:
            unlinked = [each for each in expected.values() if each.event.message_id.startswith("nobody's")]
            stored = [_check(api, tag, ids, expected) for tag, ids in messages.items()]
        assert sum(stored) + len(unlinked) == len(expected)
        assert recorded <= len(expected)
    assert run("recompute", "--check", environment=settings, folder=tmp_path).returncode == 0


def _store(database: Database) -> dict[str, list[str]]:
    """Message ids by tag; of every second message only events tell the id, and every fifth was sent twice."""
    stored = {}
    for place in range(MESSAGES):
        ids = [f"id-{place}", f"another-{place}"][: 1 + (place % 5 == 0)]
        answer = Accepted(message_id=ids[0], segment_count=1) if place % 2 else None
        tag, _ = store_message(database, *GROUP, answer=answer)
        stored[tag] = ids
    return stored


def _elements(random: Random, tag: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    for message_id in ids:
        yield make_element("sent", ALICE, tag=tag, message_id=message_id)
        for recipient in (*GROUP, STRANGER):
            for kind, code in random.sample(STATEMENTS, 4):
                changes: dict[str, Any] = {} if code is None else {"errorCode": code}
                changes |= random.choice([{"tag": tag}, {"tag": tag}, {}, {"tag": ""}, {"tag": "somebody else's"}])
                time = f"2026-11-21T12:00:{random.randrange(10):02}.000Z"
                yield make_element(kind, recipient, message_id=message_id, time=time, **changes)
                if random.random() < 0.3:  # again, with another time
                    yield make_element(kind, recipient, message_id=message_id, time="2026-11-21T12:00:05Z", **changes)


def _post_all(random: Random, servers: list[str], elements: list[dict[str, Any]]) -> int:
    """Posts every element in an order of its own, each callback until it is stored. Returns how many were new."""
    remaining = random.sample(elements, len(elements))
    recorded = 0
    with ExitStack() as stack:
        apis = [stack.enter_context(Api(url)) for url in servers]
        while remaining:
            count = random.choice([1, 1, 2, 3, 7])
            callback, remaining = remaining[:count], remaining[count:]
            recorded += wait_for(lambda: _posted(random.choice(apis), callback), "the callback to be stored") - 1  # noqa: B023
    return recorded


def _posted(api: Api, callback: list[dict[str, Any]]) -> int:
    """The number of new events plus one; 0 if the callback must be sent again."""
    answer = api.callback(*callback)
    assert answer.status_code in (200, 503), answer.text
    return int(answer.json()["recorded"]) + 1 if answer.ok else 0


def _check(api: Api, tag: str, ids: list[str], expected: dict[Any, Gathered]) -> int:
    """Compares recipients and events with the core's fold; returns how many events there are."""
    mine = [each for each in expected.values() if each.event.message_id in ids]
    about: defaultdict[str, list[Event]] = defaultdict(list)
    for each in mine:
        about[each.event.recipient].append(each.event)
    message = api.message(tag)
    assert (message["sendStatus"], message["messageIds"], message["sentTwice"]) == (
        "accepted",
        sorted(ids),
        len(ids) > 1,
    )
    for recipient in message["recipients"]:
        outcome = fold(about[recipient["to"]])
        winner = outcome.winner
        assert (recipient["status"], recipient["invalidRecipient"]) == (outcome.status, outcome.invalid_recipient)
        assert recipient["errorCode"] == ((winner.error_code or None) if winner else None)
        assert times.parse(recipient["occurredAt"]) == (winner.occurred_at if winner else None)
    stored = {
        (each["to"], each["type"], each["errorCode"] or 0, each["payload"]["message"]["id"]): each
        for each in api.events(tag)
    }
    for each in mine:
        event = stored[each.event.recipient, each.event.type, each.event.error_code, each.event.message_id]
        assert event["deliveries"] == each.deliveries * CLIENTS
        assert event["disposition"] == _disposition(each.event, about)
        assert times.parse(event["occurredAt"]) == each.event.occurred_at
    return len(stored)


def _disposition(event: Event, about: dict[str, list[Event]]) -> str:
    outcome = fold(about[event.recipient])
    in_group = event.recipient in GROUP
    return disposition(
        event_type=event.type,
        linked=True,
        is_winner=in_group and outcome.winner == event,
        recipient=RecipientStatus(outcome.status) if in_group else None,
        invalid_recipient=in_group and outcome.invalid_recipient,
    )
