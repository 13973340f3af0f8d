"""The application as its callers see it, for the tests of the web layer; and ways to take its database away."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from sqlalchemy import NullPool, make_url
from werkzeug.test import TestResponse

from receiver.app import create_app
from receiver.core.messages import OutboundMessage, SendResult
from receiver.database.engine import make_engine
from receiver.messages.call import Gateway
from tests.support.builders import ALICE, API_KEY, BOB, CALLBACK_AUTH, CAROL, FakeGateway, make_body, make_settings

CALLBACKS, MESSAGES = "/callbacks/bandwidth", "/messages"

Headers = dict[str, str]
ONCE: Headers = {"Idempotency-Key": '"once"'}
LATER: Headers = {"Prefer": "respond-async"}


class Service:
    """One application with a gateway that answers what it is told, called over HTTP."""

    def __init__(self, database_url: str, gateway: Gateway | None = None, **settings: Any) -> None:
        self.database_url = database_url
        self.gateway: Any = gateway or FakeGateway()
        self.app = create_app(make_settings(database_url, **settings), gateway=self.gateway)
        self.database = self.app.extensions["receiver"].database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.app.extensions["receiver"].close()

    def call(self, method: str, path: str, *, key: str | None = API_KEY, **request: Any) -> TestResponse:
        """Any request, with the key of the application unless another, or none, is given."""
        headers = request.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        return self.app.test_client().open(path, method=method, headers=headers, **request)

    def send(self, *, key: str | None = API_KEY, headers: Headers | None = None, **fields: Any) -> TestResponse:
        """POST /messages: a text to Alice, but for the fields given."""
        body = json.dumps({"to": [ALICE], "text": "Lunch is at noon."} | fields)
        return self.post_message(body, key=key, headers=headers)

    def post_message(
        self, body: str | bytes, *, key: str | None = API_KEY, headers: Headers | None = None
    ) -> TestResponse:
        return self.call("POST", MESSAGES, key=key, data=body, headers=headers or {})

    def callback(self, *elements: Any) -> TestResponse:
        """A callback with these elements, as Bandwidth sends it the second time: with credentials."""
        return self.post_callback(make_body(*elements))

    def post_callback(self, body: bytes, *, auth: tuple[str, str] | None = CALLBACK_AUTH, **more: Any) -> TestResponse:
        return self.call("POST", CALLBACKS, key=None, data=body, auth=auth, **more)

    def get(self, path: str, *, key: str | None = API_KEY) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.call("GET", path, key=key)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    def message(self, tag: str) -> Any:
        return self.get(f"{MESSAGES}/{tag}")

    def events(self, tag: str) -> Any:
        return self.get(f"{MESSAGES}/{tag}/events")["events"]

    def statuses(self, tag: str) -> dict[str, str]:
        """The status of each recipient."""
        return {each["to"]: each["status"] for each in self.message(tag)["recipients"]}

    def dispositions(self, tag: str) -> dict[tuple[str, str | None], str]:
        """What each event is to its recipient, by type and recipient."""
        return {(each["type"], each["to"]): each["disposition"] for each in self.events(tag)}


class BusyGateway(FakeGateway):
    """Lets something happen during the call, before it answers."""

    def __init__(self, answer: SendResult | None = None, *, late_in: str | None = None) -> None:
        """``late_in`` is a database in which every deadline passes during the call."""
        super().__init__(answer)
        self.meanwhile: Callable[[str], object] = lambda tag: None
        self._late_in = late_in

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        answer = super().create_message(message, tag=tag)
        if self._late_in is not None:
            execute(self._late_in, "UPDATE messages SET deadline = '2020-01-01 00:00:00.000000'")
        self.meanwhile(tag)
        return answer


def is_problem(answer: TestResponse, status: int) -> bool:
    """Whether this is a complete problem (RFC 9457, section 3.1) of that status."""
    content = json.loads(answer.text) if answer.mimetype == "application/problem+json" else {}
    texts = [content.get(name) for name in ("type", "title", "detail")]
    return (
        answer.status_code == status
        and content.get("status") == status
        and all(isinstance(text, str) and text for text in texts)
    )


def wrong_fields(answer: TestResponse) -> list[str]:
    """The names in ``errors`` of a 422."""
    assert is_problem(answer, 422), answer.text
    errors = json.loads(answer.text)["errors"]
    assert all(isinstance(text, str) and text for texts in errors.values() for text in texts)
    return sorted(errors)


def accepted(service: Service, **fields: Any) -> OutboundMessage:
    """What reached the gateway after a request that must be accepted."""
    answer = service.send(**fields)
    assert answer.status_code == 202, answer.text
    message: OutboundMessage = service.gateway.sent[-1][0]
    return message


def refused(service: Service, **fields: Any) -> list[str]:
    """The fields named by a request that must be refused without a word to the gateway."""
    before = len(service.gateway.sent)
    names = wrong_fields(service.send(**fields))
    assert len(service.gateway.sent) == before
    return names


def sent(service: Service, *to: str, **fields: Any) -> str:
    """The tag of a message, to Alice, Bob and Carol unless others are named, that was accepted."""
    answer = service.send(to=list(to or (ALICE, BOB, CAROL)), **fields)
    assert answer.status_code == 202, answer.text
    tag: str = answer.get_json()["tag"]
    return tag


def execute(database_url: str, *statements: str) -> None:
    """Runs statements on a connection that the application knows nothing of."""
    engine = make_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


OUTAGES = pytest.mark.parametrize(
    ("database_url", "kind"),
    [("sqlite", "broken"), ("postgresql", "broken"), ("postgresql", "unreachable")],
    indirect=["database_url"],
)
"""Runs a test once for each way to lose a database; a file cannot hang up."""


@contextlib.contextmanager
def outage(database_url: str, kind: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Without messages and events on either engine, or with a PostgreSQL that ends and refuses every connection."""
    with broken(database_url) if kind == "broken" else unreachable(database_url, request):
        yield


@contextlib.contextmanager
def broken(database_url: str) -> Iterator[None]:
    """Renames two tables, each in its own transaction: one that holds both locks could deadlock with the program."""
    for table in ("messages", "events"):
        execute(database_url, f"ALTER TABLE {table} RENAME TO taken_{table}")
    yield
    for table in ("messages", "events"):
        execute(database_url, f"ALTER TABLE taken_{table} RENAME TO {table}")


@contextlib.contextmanager
def unreachable(database_url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    server, name = request.getfixturevalue("postgres_server"), make_url(database_url).database
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
