"""The API's description: complete, valid, and what the program does; and its page, which needs nothing else."""

import base64
import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, get_args, get_type_hints

import pytest
from flask import Flask
from marshmallow import Schema
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from receiver import VERSION
from receiver.core.send_status import SendStatus
from receiver.events.store import Tally
from receiver.messages.outbox import ErrorReport, MessageReport, RecipientReport
from receiver.reports.messages import EventReport, MessagePage
from receiver.reports.overview import PaceReport, QueueReport
from receiver.schemas import responses
from receiver.web.authentication import Access, requires
from receiver.web.openapi.document import register
from tests.support import pages
from tests.support.builders import ALICE, API_KEY, BOB, make_element
from tests.support.service import LATER, MESSAGES, OUTAGES, Service, outage, sent
from tests.web.test_authentication import ACCESS

Found = tuple[str, dict[str, Any], Any]
"""Where in the document an example is, the schema it must fit, and the example."""


@pytest.fixture(scope="module")
def document(shared_service: Service) -> Any:
    return shared_service.get("/openapi.json")


@pytest.fixture(scope="module")
def page(shared_service: Service) -> str:
    answer = shared_service.call("GET", "/docs", key=None)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    return answer.text


def operations(document: Any) -> dict[tuple[str, str], Any]:
    """Each operation, by method and route as Flask writes it."""
    return {
        (method.upper(), path.replace("{", "<").replace("}", ">")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def fits(document: Any, schema: dict[str, Any], example: Any) -> list[str]:
    """What is wrong with the example."""
    validator = OAS31Validator(
        schema | {"components": document["components"]}, format_checker=OAS31Validator.FORMAT_CHECKER
    )
    return [error.message for error in validator.iter_errors(example)]


def examples(node: Any, place: str = "") -> Iterator[Found]:
    """Every example in the document that stands beside a schema, or in one."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from examples(each, f"{place}/{number}")
    if not isinstance(node, dict):
        return
    if "example" in node:
        yield place, node.get("schema", node), node["example"]
    for name, each in node.get("examples", {}).items():
        yield f"{place}/{name}", node["schema"], each["value"]
    for name, each in node.items():
        if name not in ("example", "examples"):
            yield from examples(each, f"{place}/{name}")


def test_the_document_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_is_described_and_every_described_one_exists(document: Any) -> None:
    assert set(operations(document)) == set(ACCESS)


SCHEMES = {
    Access.PUBLIC: [],
    Access.CALLBACK: [["callbackCredentials"]],
    Access.READ: [["apiKey"], ["readOnlyApiKey"]],
    Access.WRITE: [["apiKey"]],
}


@pytest.mark.parametrize("route", ACCESS, ids=" ".join)
def test_what_a_route_demands_is_what_its_view_demands(document: Any, route: tuple[str, str]) -> None:
    operation, access = operations(document)[route], ACCESS[route]

    assert [list(each) for each in operation["security"]] == SCHEMES[access]
    assert ("401" in operation["responses"]) == (access is not Access.PUBLIC)
    assert ("403" in operation["responses"]) == (access is Access.WRITE)


def test_a_route_that_is_not_described_is_named() -> None:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/open", "open_door", requires(Access.PUBLIC)(lambda: "come in"))

    with pytest.raises(LookupError, match="open_door"):
        register(app)


def test_every_example_fits_its_schema(document: Any) -> None:
    found = list(examples(document))

    assert len(found) > 40
    wrong = {place: fits(document, schema, example) for place, schema, example in found}
    assert {place: errors for place, errors in wrong.items() if errors} == {}


@pytest.mark.parametrize(
    "wrong", [{"sendStatus": "lost"}, {"createdAt": "2026-02-30T00:00:00Z"}, {"tag": None}, {"error": {}}]
)
def test_an_example_that_does_not_fit_would_be_seen(document: Any, wrong: dict[str, Any]) -> None:
    message = document["paths"]["/messages/{tag}"]["get"]["responses"]["200"]["content"]["application/json"]

    assert fits(document, message["schema"], message["example"]) == []
    assert fits(document, message["schema"], message["example"] | wrong) != []


def test_the_curl_examples_are_those_of_the_page(document: Any) -> None:
    described = [sample["source"] for each in operations(document).values() for sample in each.get("x-codeSamples", [])]

    assert {_words(each) for each in described} == {_words(each) for each in pages.API.examples("sh")}


def _words(curl: str) -> tuple[str, ...]:
    return tuple(shlex.split(curl.replace("\\\n", " ")))


def test_the_bodies_of_the_curl_examples_are_the_documents_examples(document: Any) -> None:
    for operation in operations(document).values():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            shown = (
                [content["example"]]
                if "example" in content
                else [each["value"] for each in content["examples"].values()]
            )
            curls = [_words(sample["source"]) for sample in operation["x-codeSamples"]]
            assert shown == [json.loads(words[words.index("-d") + 1]) for words in curls]


def test_every_status_of_the_page_is_described(document: Any) -> None:
    named = {
        status for row in pages.API.first_column("Response to `POST /messages`") for status in re.findall(r"\d{3}", row)
    }

    assert named <= set(document["paths"]["/messages"]["post"]["responses"])


@pytest.mark.parametrize(
    ("schema", "report"),
    [
        (responses.MessageSchema, MessageReport),
        (responses.RecipientSchema, RecipientReport),
        (responses.ErrorSchema, ErrorReport),
        (responses.EventSchema, EventReport),
        (responses.PageSchema, MessagePage),
        (responses.QueueSchema, QueueReport),
        (responses.PaceSchema, PaceReport),
        (responses.TallySchema, Tally),
    ],
)
def test_what_may_be_null_is_said_to_be(schema: type[Schema], report: type[Any]) -> None:
    hints = get_type_hints(report)
    assert dataclasses.is_dataclass(report)
    nullable = {field.attribute or name: field.allow_none for name, field in schema().fields.items()}

    assert nullable == {name: type(None) in get_args(hints[name]) for name in nullable}


def test_answers_have_the_fields_that_are_described_and_no_others(service: Service, document: Any) -> None:
    tag = sent(service, ALICE, BOB)
    service.callback(make_element("failed", BOB, tag=tag, errorCode=4720))
    message, [event, *_] = service.message(tag), service.events(tag)
    shown = {
        "Message": message,
        "Recipient": message["recipients"][1],
        "Summary": message["summary"],
        "Event": event,
        "Page": service.get(MESSAGES),
        "Queue": service.get("/queue"),
        "Pace": service.get("/queue")["pace"],
        "Tally": service.callback().get_json(),
    }

    for name, answer in shown.items():
        schema = document["components"]["schemas"][name]
        assert set(answer) == set(schema["properties"]) == set(schema["required"]), name
        assert fits(document, schema, answer) == [], name


def test_every_word_is_described_with_its_meaning(document: Any) -> None:
    described = document["components"]["schemas"]["Message"]["properties"]["sendStatus"]

    assert described["enum"] == [each.value for each in SendStatus]
    assert all(f"- `{each}`: {each.meaning}" in described["description"] for each in SendStatus)


@OUTAGES
@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_description_needs_no_database(
    database_url: str, kind: str, path: str, request: pytest.FixtureRequest
) -> None:
    with Service(database_url) as service, outage(database_url, kind, request):
        assert service.call("GET", path, key=None).status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_who_has_the_description_is_not_sent_it_again(shared_service: Service, path: str) -> None:
    first = shared_service.call("GET", path, key=None)
    again = shared_service.call("GET", path, key=None, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.data) == (304, b"")
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"


def test_the_page_shows_every_operation_every_schema_and_every_curl_example(document: Any, page: str) -> None:
    anchors = set(re.findall(r'id="(\w+)"', page))
    ids = {operation["operationId"] for operation in operations(document).values()}

    assert anchors == ids | set(document["components"]["schemas"])
    assert set(re.findall(r'href="#(\w+)"', page)) == anchors
    assert page.count("curl -s") == sum(len(each.get("x-codeSamples", [])) for each in operations(document).values())


def test_the_page_needs_nothing_from_elsewhere_and_its_policy_allows_nothing(
    shared_service: Service, page: str
) -> None:
    policy = shared_service.call("GET", "/docs", key=None).headers["Content-Security-Policy"]
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    assert not re.search(r"<(script|link|img|iframe|form|object)|\bstyle=|\bon\w+=|url\(|@import", page)
    assert {target for target in re.findall(r'(?:href|src)="([^#"]*)', page) if target} == {"openapi.json"}


def test_what_is_queued_and_what_is_withdrawn_fits_too(sqlite_service: Service, document: Any) -> None:
    answer = sqlite_service.send(headers=LATER)
    tag = answer.get_json()["tag"]
    schema = document["components"]["schemas"]["Message"]

    assert fits(document, schema, answer.get_json()) == []
    assert fits(document, schema, sqlite_service.call("DELETE", f"{MESSAGES}/{tag}").get_json()) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", [None, API_KEY, "nonsense"])
def test_the_bare_address_leads_to_the_page_whoever_asks(shared_service: Service, method: str, key: str | None) -> None:
    answer = shared_service.call(method, "/", key=key)

    assert (answer.status_code, answer.headers["Location"], answer.data) == (302, "/docs", b"")
    assert shared_service.call("GET", answer.headers["Location"], key=None).mimetype == "text/html"


def test_the_document_names_the_server_that_it_comes_from_first(document: Any) -> None:
    """The first is relative to the document's own address (OpenAPI 3.1, "Server Object"), so it is right anywhere."""
    urls = [each["url"] for each in document["servers"]]

    assert urls[0] == "/"
    assert urls[1:] == ["http://127.0.0.1:8080"]
    assert all(each["description"] for each in document["servers"])


def test_the_version_is_that_of_the_package(document: Any, page: str) -> None:
    assert document["info"]["version"] == VERSION == version("bandwidth-receiver")
    assert f"Version {VERSION}" in page


def test_on_a_telephone_the_page_is_as_wide_as_the_screen(page: str) -> None:
    """What a browser is needed to see was seen in one, from 320 pixels; this keeps what it takes."""
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    [narrow] = re.findall(r"@media \(max-width: 40rem\) \{(.*)\}", style, re.DOTALL)

    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "overflow-wrap: anywhere" in narrow  # no word is wider than the screen
    assert "tbody, tr, td { display: block; }" in narrow  # a table's columns stand below each other
    assert "td:first-child { white-space: normal; }" in narrow
    assert re.search(r"^pre \{[^}]*overflow-x: auto", style, re.MULTILINE)  # a long line is scrolled by itself
    assert not re.search(r"[^-]width: *\d+px|min-width: *\d{2,}(?!.*rem)", style)
