"""The API's description, route by route: purpose, parameters, body and every possible response.

The credentials of a route are declared by its view; document.py adds them and the responses that follow from them.
"""

from typing import Any

from marshmallow import Schema

from receiver.core.messages import MAX_KEY
from receiver.core.tags import SHAPE
from receiver.schemas.requests import MessageRequestSchema, MessagesQuerySchema
from receiver.schemas.responses import EventsSchema, MessageSchema, PageSchema, ProblemSchema, QueueSchema, TallySchema
from receiver.web.openapi import examples

PROBLEM = "application/problem+json"

Fragment = dict[str, Any]
"""A part of an OpenAPI document; a schema in it may be a class of ours."""


def json_response(description: str, schema: type[Schema] | Fragment, example: Any, **more: Any) -> Fragment:
    """A response in JSON; ``more`` are further members of it."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {"description": description, "content": content, **more}


def problem_response(description: str, *, headers: Fragment | None = None, detail: str | None = None) -> Fragment:
    """An error; ``detail`` is that of the example, otherwise the description is."""
    content = {PROBLEM: {"schema": ProblemSchema, "example": {"detail": detail or description}}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def text_response(description: str, content_type: str) -> Fragment:
    return {"description": description, "content": {content_type: {"schema": {"type": "string"}}}}


def health_schema(status: str) -> Fragment:
    properties = {"status": {"const": status}, "warning": {"type": "string"}}
    return {"type": "object", "required": ["status"], "properties": properties}


def header(description: str, *, required: bool = False, **schema: Any) -> Fragment:
    return {"description": description, "required": required, "schema": {"type": "string"} | schema}


def parameter(place: str, name: str, description: str, **schema: Any) -> Fragment:
    required = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, "description": description, "schema": {"type": "string"} | schema} | required


TAG = parameter("path", "tag", "The tag of the message.", example=examples.TAG, pattern=f"^{SHAPE}$")
KEY = parameter(
    "header",
    "Idempotency-Key",
    "Makes it safe to repeat this request for seven days: the message is sent once, and every request with this key "
    f"gets its outcome. 1 to {MAX_KEY} printable ASCII characters, with or without quotes.",
    example='"lunch-1"',
    pattern=rf'^(?:"(?:[ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY}}}"|[!#-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!-~])?)$',
)
PREFER = parameter(
    "header",
    "Prefer",
    "`respond-async` queues the message; workers send it at the account's rate (RFC 7240).",
    example="respond-async",
)
RETRY_AFTER = header("The number of seconds to wait before the next attempt.", pattern="^[0-9]+$")
ALWAYS_RETRY_AFTER = header("The number of seconds to wait before the next attempt.", required=True, pattern="^[0-9]+$")
REPLAYED = {
    "Idempotency-Replayed": header(
        "`true` if this is the outcome of an earlier request with the same `Idempotency-Key`, and this one sent or "
        "queued nothing.",
        enum=["true"],
    )
}

NOT_FOUND = problem_response("There is no message with this tag.")
UNCHANGED = {"description": "The client has the current version: its `If-None-Match` names the `ETag`."}
DATABASE_UNAVAILABLE = problem_response("The database did not respond.", headers={"Retry-After": RETRY_AFTER})

TAG_OF_RESPONSE = {"parameters": {"tag": "$response.body#/tag"}}
LINKS = {
    "outcome": {"operationId": "showMessage", "description": "The outcome of the message."} | TAG_OF_RESPONSE,
    "events": {"operationId": "listEvents", "description": "The events about the message."} | TAG_OF_RESPONSE,
    "cancel": {"operationId": "cancelMessage", "description": "Cancels the message while it is queued."}
    | TAG_OF_RESPONSE,
}

OPERATIONS: dict[str, Fragment] = {
    "messages.create": {
        "operationId": "sendMessage",
        "summary": "Send a message",
        "description": "Sends a message to 1 to 10 numbers, now or later. Once it is stored, every response has its "
        "`tag` and `sendStatus`, including errors. Never resend after a 504. A field that is `null` counts as absent.",
        "parameters": [KEY, PREFER],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": MessageRequestSchema,
                    "examples": {"at once": {"value": examples.LUNCH}, "later": {"value": examples.DINNER}},
                }
            },
        },
        "responses": {
            202: json_response(
                "Bandwidth accepted the message, or it is queued. Do not send it again.",
                MessageSchema,
                examples.MESSAGE,
                headers={
                    "Location": header("The path of the message.", required=True, format="uri-reference"),
                    "Preference-Applied": header("`respond-async` if the message is queued because of `Prefer`."),
                }
                | REPLAYED,
                links=LINKS,
            ),
            409: problem_response(
                "If `sendStatus` is `submitting`, the first request with this key is still in progress: repeat it with "
                "the same key after `Retry-After`. If it is `refused`, the message was cancelled, or a person decided "
                "that it was not sent: send it with a new key.",
                detail="The first request with this key is still in progress; repeat it, or look up its tag.",
                headers={"Retry-After": RETRY_AFTER} | REPLAYED,
            ),
            422: problem_response(
                "A field is invalid; `errors` names it and says why. With a `tag`, Bandwidth rejected the field, or "
                "the message has expired. Correct it and send it with a new key.",
                detail="to[0]: Must be an E.164 number such as +19195551234.",
                headers=REPLAYED,
            ),
            429: problem_response(
                "Nothing was sent. With a `tag`, Bandwidth's queue is full. Without one, `BANDWIDTH_RATE` or "
                "`BANDWIDTH_SENDER_RATE` is used up, or Bandwidth asked us to slow down, and nothing was stored. Send "
                "the message again after `Retry-After`, or with `Prefer: respond-async`.",
                detail="This was not sent. Bandwidth: The queue is full. Send it again later.",
                headers={"Retry-After": ALWAYS_RETRY_AFTER} | REPLAYED,
            ),
            502: problem_response(
                "Bandwidth refused the message, and nothing was sent. If the cause is credentials or permissions (401, "
                "403 or 404 from Bandwidth, or `error.type` is `credentials`), correct the settings and send it with "
                "the same key; otherwise correct the message and send it with a new key.",
                detail="This was not sent. Bandwidth: Access is denied. Correct the settings, then send it again.",
                headers=REPLAYED,
            ),
            503: problem_response(
                "With a `tag`, nothing was sent: Bandwidth could not be reached, issued no token, or reported an error "
                "of its own. Without one, the database did not respond; with `Prefer: respond-async` the message may "
                "have been queued. Send it again later; with a key it is stored only once.",
                detail="The database did not respond; try again.",
                headers={"Retry-After": RETRY_AFTER} | REPLAYED,
            ),
            504: problem_response(
                "The message may or may not have been sent. Do **not** send it again: look up its `tag`.",
                detail="It is unknown whether this was sent. Do not send it again; look up its tag.",
                headers=REPLAYED,
            ),
        },
    },
    "messages.cancel": {
        "operationId": "cancelMessage",
        "summary": "Cancel a message",
        "description": "Cancels a message that is `queued`. Cancelling it again changes nothing. The message can still "
        "be looked up.",
        "parameters": [TAG],
        "responses": {
            200: json_response("The message, `refused` because `cancelled`.", MessageSchema, examples.CANCELLED),
            404: NOT_FOUND,
            409: problem_response(
                "The message is not queued and may have been sent: see `sendStatus`.",
                detail="Only a queued message can be cancelled; this one is accepted.",
            ),
            503: DATABASE_UNAVAILABLE,
        },
    },
    "messages.search": {
        "operationId": "listMessages",
        "summary": "List messages",
        "description": "Returns the messages that match all filters, newest first, in pages.",
        "parameters": [{"in": "query", "schema": MessagesQuerySchema}],
        "responses": {
            200: json_response("One page.", PageSchema, {"messages": [examples.MESSAGE], "nextCursor": None}),
            400: problem_response("The query is not UTF-8."),
            422: problem_response(
                "A filter is unknown, repeated or unreadable; `errors` names it.",
                detail="limit: Must be from 1 to 200.",
            ),
            503: DATABASE_UNAVAILABLE,
        },
    },
    "messages.show": {
        "operationId": "showMessage",
        "summary": "Show a message",
        "description": "Returns the message and the outcome for each recipient.",
        "parameters": [TAG],
        "responses": {
            200: json_response("The message.", MessageSchema, examples.MESSAGE),
            404: NOT_FOUND,
            503: DATABASE_UNAVAILABLE,
        },
    },
    "messages.events": {
        "operationId": "listEvents",
        "summary": "List the events about a message",
        "description": "Returns what Bandwidth reported about the message, in order of arrival.",
        "parameters": [TAG],
        "responses": {
            200: json_response("The events.", EventsSchema, {"events": [examples.EVENT]}),
            404: NOT_FOUND,
            503: DATABASE_UNAVAILABLE,
        },
    },
    "health.queue": {
        "operationId": "showQueue",
        "summary": "Show the queue and the sending rates",
        "responses": {
            200: json_response("The queue and the sending rates.", QueueSchema, examples.QUEUE),
            503: DATABASE_UNAVAILABLE,
        },
    },
    "health.metrics": {
        "operationId": "showMetrics",
        "summary": "Show the metrics for Prometheus",
        "responses": {
            200: text_response("Metrics in Prometheus's text format.", "text/plain"),
            503: DATABASE_UNAVAILABLE,
        },
    },
    "callbacks.receive": {
        "operationId": "receiveCallback",
        "summary": "Receive a callback from Bandwidth",
        "description": "Stores any array or object; an element that is not an event is kept unchanged. Bandwidth "
        "redelivers a callback for up to 24 hours until the response is 2xx.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": ["array", "object"], "description": "Bandwidth's events."},
                    "example": examples.EVENTS,
                }
            },
        },
        "responses": {
            200: json_response("Every element is durably stored.", TallySchema, examples.TALLY),
            503: problem_response(
                "The callback could not be stored; post it again.", headers={"Retry-After": ALWAYS_RETRY_AFTER}
            ),
        },
    },
    "health.live": {
        "operationId": "isLive",
        "summary": "Check whether this process is alive",
        "responses": {200: json_response("The process is alive.", health_schema("live"), {"status": "live"})},
    },
    "health.ready": {
        "operationId": "isReady",
        "summary": "Check whether this process can do its work",
        "responses": {
            200: json_response(
                "The process is ready; a `warning` says what needs attention.",
                health_schema("ready"),
                {"status": "ready"},
            ),
            503: problem_response(
                "The database cannot be reached, or is not migrated to this version.",
                headers={"Retry-After": RETRY_AFTER},
            ),
        },
    },
    "documentation.root": {
        "operationId": "leadToPage",
        "summary": "Redirect to this description",
        "responses": {
            302: {
                "description": "Redirects to `/docs`.",
                "headers": {"Location": header("The path of the page.", required=True, enum=["/docs"])},
            },
        },
    },
    "documentation.document": {
        "operationId": "showDocument",
        "summary": "Get this description as an OpenAPI document",
        "responses": {
            200: json_response("An OpenAPI 3.1 document.", {"type": "object"}, {"openapi": "3.1.0"}),
            304: UNCHANGED,
        },
    },
    "documentation.page": {
        "operationId": "showPage",
        "summary": "Show this description as a web page",
        "responses": {
            200: text_response("A self-contained page.", "text/html"),
            304: UNCHANGED,
        },
    },
}
"""For each endpoint of the application, its OpenAPI operation."""
