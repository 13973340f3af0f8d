"""What the API's description says of each route: what it is for, what it takes, and all that it may answer.

Who may call a route is not said here: that is what its view demands, and document.py adds it, with the answers
that follow from it.
"""

from receiver.core.messages import MAX_KEY
from receiver.core.tags import SHAPE
from receiver.schemas.requests import MessageRequestSchema, MessagesQuerySchema
from receiver.schemas.responses import EventsSchema, MessageSchema, PageSchema, QueueSchema, TallySchema
from receiver.web.openapi import examples
from receiver.web.openapi.fragments import Fragment, found, header, health, parameter, problem, text

TAG = parameter("path", "tag", "The message's tag.", example=examples.TAG, pattern=f"^{SHAPE}$")
KEY = parameter(
    "header",
    "Idempotency-Key",
    f"Makes a repeat of this request the same request, for seven days. 1 to {MAX_KEY} printable ASCII characters, in "
    "quotes or not.",
    example='"lunch-1"',
    pattern=rf'^(?:"(?:[ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY}}}"|[!#-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!-~])?)$',
)
PREFER = parameter(
    "header",
    "Prefer",
    "`respond-async` leaves the message to the workers, which send it at the account's pace (RFC 7240).",
    example="respond-async",
)
RETRY_AFTER = header("In how many seconds to ask again.", pattern="^[0-9]+$")
REPLAYED = {
    "Idempotency-Replayed": header(
        "`true` if this is what an earlier request with the same `Idempotency-Key` led to, and nothing was sent or "
        "queued by this one.",
        enum=["true"],
    )
}
ALWAYS_RETRY_AFTER = header("In how many seconds to ask again.", required=True, pattern="^[0-9]+$")

NOT_FOUND = problem("There is no message with this tag.")
UNCHANGED = {"description": "It is the one whose `ETag` the request names in `If-None-Match`."}
UNSTORED = problem("The database did not answer.", headers={"Retry-After": RETRY_AFTER})

TAG_OF_ANSWER = {"parameters": {"tag": "$response.body#/tag"}}
LINKS = {
    "outcome": {"operationId": "showMessage", "description": "What became of it."} | TAG_OF_ANSWER,
    "events": {"operationId": "listEvents", "description": "What Bandwidth said about it."} | TAG_OF_ANSWER,
    "cancel": {"operationId": "cancelMessage", "description": "Withdraw it while it is queued."} | TAG_OF_ANSWER,
}

OPERATIONS: dict[str, Fragment] = {
    "submissions.create": {
        "operationId": "sendMessage",
        "summary": "Send a message",
        "description": "To 1 to 10 numbers, at once or later. Once a message is stored its `tag` and `sendStatus` are "
        "in every answer, also in errors. Never send again what was answered with 504. A field that is `null` is the "
        "same as one that is absent.",
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
            202: found(
                "Bandwidth accepted it, or it is queued. Do not send it again.",
                MessageSchema,
                examples.MESSAGE,
                headers={
                    "Location": header("The path of the message.", required=True, format="uri-reference"),
                    "Preference-Applied": header("`respond-async`, if it is queued because of `Prefer`."),
                }
                | REPLAYED,
                links=LINKS,
            ),
            409: problem(
                "`sendStatus` is `submitting`: the first request with this key is still being answered; repeat it with "
                "the same key after `Retry-After`. Or it is `refused`: it was cancelled, or a person decided so; send "
                "it again with a new key.",
                said="The first request with this key is still being answered; repeat it, or ask for its tag.",
                headers={"Retry-After": RETRY_AFTER} | REPLAYED,
            ),
            422: problem(
                "A field is wrong; `errors` says which and why. With a `tag`: Bandwidth found it wrong, or its "
                "expiration has passed. Send it again after correcting it, with a new key.",
                said="to[0]: Must be an E.164 number such as +19195551234.",
                headers=REPLAYED,
            ),
            429: problem(
                "With a `tag`: Bandwidth's queue is full. Without: `BANDWIDTH_RATE` or `BANDWIDTH_SENDER_RATE` is used "
                "up, or Bandwidth has asked to slow down, and nothing was stored. Nothing was sent; send it again "
                "after `Retry-After`, or with `Prefer: respond-async`.",
                said="This was not sent. Bandwidth: The queue is full. Send it again later.",
                headers={"Retry-After": ALWAYS_RETRY_AFTER} | REPLAYED,
            ),
            502: problem(
                "Bandwidth refused it, and nothing was sent. If it was for credentials or permissions (401, 403, 404, "
                "or its token endpoint, which `error.type` calls `credentials`) correct the settings, then send it "
                "again with the same key; otherwise correct the message and take a new key.",
                said="This was not sent. Bandwidth: Access is denied. Correct the settings, then send it again.",
                headers=REPLAYED,
            ),
            503: problem(
                "With a `tag`: nothing was sent, because Bandwidth could not be reached, gave no token, or said so. "
                "Without: the database did not answer; with `Prefer: respond-async` it may have been queued. Send it "
                "again later; with a key it is stored once.",
                said="The database did not answer; try again.",
                headers={"Retry-After": RETRY_AFTER} | REPLAYED,
            ),
            504: problem(
                "Nobody can say whether it was sent. Do **not** send it again: ask for its `tag`.",
                said="Nobody can say whether this was sent: do not send it again, ask for its tag.",
                headers=REPLAYED,
            ),
        },
    },
    "submissions.cancel": {
        "operationId": "cancelMessage",
        "summary": "Withdraw a message",
        "description": "While it is `queued`; withdrawing it again is the same as once. Its record stays.",
        "parameters": [TAG],
        "responses": {
            200: found("The message, `refused` because `cancelled`.", MessageSchema, examples.CANCELLED),
            404: NOT_FOUND,
            409: problem(
                "It is not queued, and may be out: `sendStatus` says.",
                said="Only a queued message can be cancelled; this one is accepted.",
            ),
            503: UNSTORED,
        },
    },
    "messages.search": {
        "operationId": "listMessages",
        "summary": "List messages",
        "description": "Those that fit every filter, newest first, in pages.",
        "parameters": [{"in": "query", "schema": MessagesQuerySchema}],
        "responses": {
            200: found("One page.", PageSchema, {"messages": [examples.MESSAGE], "nextCursor": None}),
            400: problem("The query is not UTF-8."),
            422: problem(
                "A filter is unknown, repeated or cannot be read; `errors` says which.",
                said="limit: Must be from 1 to 200.",
            ),
            503: UNSTORED,
        },
    },
    "messages.show": {
        "operationId": "showMessage",
        "summary": "What became of a message",
        "description": "And of each of its recipients.",
        "parameters": [TAG],
        "responses": {200: found("The message.", MessageSchema, examples.MESSAGE), 404: NOT_FOUND, 503: UNSTORED},
    },
    "messages.events": {
        "operationId": "listEvents",
        "summary": "What Bandwidth said about a message",
        "description": "First received first.",
        "parameters": [TAG],
        "responses": {
            200: found("Its events.", EventsSchema, {"events": [examples.EVENT]}),
            404: NOT_FOUND,
            503: UNSTORED,
        },
    },
    "queue.show": {
        "operationId": "showQueue",
        "summary": "How sending is going",
        "responses": {200: found("What waits, and the pace.", QueueSchema, examples.QUEUE), 503: UNSTORED},
    },
    "queue.metrics": {
        "operationId": "showMetrics",
        "summary": "How everything is going, for Prometheus",
        "responses": {200: text("In Prometheus's text format.", "text/plain"), 503: UNSTORED},
    },
    "callbacks.receive": {
        "operationId": "receiveCallback",
        "summary": "Where Bandwidth posts its events",
        "description": "Any array is stored, and so is a bare object; what is no event is kept as it is. Anything but "
        "2xx makes Bandwidth post it again, for 24 hours.",
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
            200: found("All of it is durably stored.", TallySchema, examples.TALLY),
            503: problem("It could not be stored; post it again.", headers={"Retry-After": ALWAYS_RETRY_AFTER}),
        },
    },
    "health.live": {
        "operationId": "isLive",
        "summary": "Whether this process lives",
        "responses": {200: found("It does.", health("live"), {"status": "live"})},
    },
    "health.ready": {
        "operationId": "isReady",
        "summary": "Whether this process can do its work",
        "responses": {
            200: found("It can; perhaps with a `warning`.", health("ready"), {"status": "ready"}),
            503: problem(
                "The database cannot be reached, or is not migrated to this version.",
                headers={"Retry-After": RETRY_AFTER},
            ),
        },
    },
    "documentation.root": {
        "operationId": "leadToPage",
        "summary": "Leads to the page below",
        "responses": {
            302: {
                "description": "To `/docs`.",
                "headers": {"Location": header("The path of the page.", required=True, enum=["/docs"])},
            },
        },
    },
    "documentation.document": {
        "operationId": "showDocument",
        "summary": "This description",
        "responses": {
            200: found("An OpenAPI 3.1 document.", {"type": "object"}, {"openapi": "3.1.0"}),
            304: UNCHANGED,
        },
    },
    "documentation.page": {
        "operationId": "showPage",
        "summary": "This description, for reading",
        "responses": {
            200: text("One page, which needs nothing from elsewhere.", "text/html"),
            304: UNCHANGED,
        },
    },
}
"""For each endpoint of the application, an OpenAPI operation."""
