"""A fast receiver written by hand: FastAPI and asyncpg, one statement for each event."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

STATEMENT = """
WITH message AS (SELECT pk FROM messages WHERE tag = $1),
new AS (
    INSERT INTO events (message_id, recipient, type, error_code, message_pk, payload, received_at)
    SELECT $2, $3, $4, $5, pk, $6, now() FROM message
    ON CONFLICT DO NOTHING RETURNING message_pk, recipient, type)
UPDATE recipients SET status = substr(new.type, 9), updated_at = now()
FROM new WHERE recipients.message_pk = new.message_pk AND recipients.recipient = new.recipient
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"].replace("+psycopg", "")
    async with asyncpg.create_pool(url, min_size=10, max_size=10) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/callbacks/bandwidth")
async def receive(request: Request) -> Response:
    for element in await request.json():
        message = element["message"]
        code, payload = element.get("errorCode", 0), json.dumps(element)
        identity = message["id"], element["to"], element["type"], code
        await app.state.pool.execute(STATEMENT, message["tag"], *identity, payload)
    return Response()
