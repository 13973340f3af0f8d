"""A receiver by hand that does for an event what the service does: FastAPI and asyncpg, the service's own statement.

It stores each event alone, with what the service's rules compute, and finds out what the service counts: repeats,
dispositions, false deliveries. It checks no credentials, logs nothing, and knows no other event than a plain one.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import msgspec
from fastapi import FastAPI, Request, Response

from receiver.bandwidth import callbacks
from receiver.core import times
from receiver.core.events import gather
from receiver.core.status import standing
from receiver.database.engine import WRITE_SETTINGS
from receiver.events.notes import notes_of
from receiver.events.store import DUPLICATE, RECORDED, STORE_PLAIN, Arrival, PlainRow, StoreResult, plain_row

counts: Counter[str] = Counter()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"].replace("+psycopg", "")
    # For the session, which is even quicker than for each transaction.
    pool = asyncpg.create_pool(url, min_size=10, max_size=10, server_settings=dict(WRITE_SETTINGS))
    async with pool as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/callbacks/bandwidth")
async def receive(request: Request) -> Response:
    for gathered in gather(callbacks.parse(await request.body())).values():
        event, now = gathered.event, times.now()
        its_standing = standing(event)
        rows = msgspec.json.encode([plain_row(gathered, its_standing, now=now)]).decode()
        stored = msgspec.json.decode(await app.state.pool.fetchval(STORE_PLAIN, rows, now), type=list[PlainRow])
        arrival = Arrival(event=event, standing=its_standing, is_new=stored[0].deliveries == 1, row=stored[0])
        count(arrival, now)
    return Response()


def count(arrival: Arrival, now: datetime) -> None:
    """Counts what the event is to its recipient."""
    result = StoreResult([RECORDED if arrival.is_new else DUPLICATE], [arrival], now)
    (note,) = notes_of(result)
    counts[note.disposition if note.is_new else "repeat"] += 1
    counts["false delivered"] += note.is_known_false
