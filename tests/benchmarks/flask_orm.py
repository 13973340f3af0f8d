"""A receiver written by hand: Flask and the ORM, four statements and a commit for each event."""

import os
from datetime import UTC, datetime

from flask import Flask, request
from sqlalchemy import BigInteger, Identity, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)
# As many connections as a 2-core server can use; threads beyond them wait their turn instead of crowding the database.
engine = create_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=10)


class Base(DeclarativeBase):
    pass


class Message(Base):
    __tablename__ = "messages"
    pk: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tag: Mapped[str]


class Recipient(Base):
    __tablename__ = "recipients"
    message_pk: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    recipient: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    updated_at: Mapped[datetime]


class Event(Base):
    __tablename__ = "events"
    pk: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    message_id: Mapped[str]
    recipient: Mapped[str]
    type: Mapped[str]
    error_code: Mapped[int]
    message_pk: Mapped[int] = mapped_column(BigInteger)
    payload: Mapped[str]
    received_at: Mapped[datetime]


@app.post("/callbacks/bandwidth")
def receive() -> tuple[str, int]:
    now = datetime.now(UTC)
    for element in request.get_json():
        identity = {
            "message_id": element["message"]["id"],
            "recipient": element["to"],
            "type": element["type"],
            "error_code": element.get("errorCode", 0),
        }
        with Session(engine) as session:
            message = session.scalars(select(Message).filter_by(tag=element["message"]["tag"])).one()
            if session.scalars(select(Event).filter_by(**identity)).first():
                continue
            payload = request.get_data(as_text=True)
            session.add(Event(**identity, message_pk=message.pk, payload=payload, received_at=now))
            session.query(Recipient).filter_by(message_pk=message.pk, recipient=element["to"]).update(
                {"status": element["type"].removeprefix("message-"), "updated_at": now}, synchronize_session=False
            )
            session.commit()
    return "", 200
