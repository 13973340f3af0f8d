"""The sender: stores a message with its tag, then calls Bandwidth, then stores the result. Or leaves it to the workers.

Past the commit of ``submitting`` nothing is sent again unless it is known not to have been sent: Bandwidth has no
idempotency key.

The loop that waits for a turn is our own instead of tenacity's: it retries no failure, and how long it sleeps is what
the last transaction returned.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from receiver.core import times
from receiver.core.messages import Accepted, IdempotencyKey, OutboundMessage, Refused, SendResult, units
from receiver.core.pace import Rates
from receiver.core.send_status import RefusedBecause, SendStatus, is_repeatable
from receiver.core.tags import new_tag
from receiver.database import commits
from receiver.database.database import Database, Session
from receiver.database.lookup import message_tagged
from receiver.database.models import Message
from receiver.errors import KeyReused, MessageNotFound, NotQueued, StorageUnavailable, TooFast
from receiver.log import get_logger
from receiver.messages import credentials, idempotency, outbox, pace, queue
from receiver.messages.call import NOT_CALLED, Caller
from receiver.messages.idempotency import KeysTaken
from receiver.messages.outbox import Attempt, MessageReport, report_accepted, report_message
from receiver.messages.pace import Turn

log = get_logger(__name__)

TURN_SECONDS = 2
"""How long a message that is sent at once waits for a turn; its caller, and a thread, wait with it."""

QUEUE_SECONDS = 10
"""When to retry after a 429 that names no time: by then a full queue has room for a group of ten at the default rate of
one message a second (Bandwidth, "Rate limits")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The outcome of a request to send."""

    tag: str
    message: MessageReport | None
    """The message as it is now; None if the result could not be stored, and it shows as unknown meanwhile."""
    retry_after: int | None = None
    """Seconds after which a refused message may be accepted."""
    is_replayed: bool = False
    """Whether an earlier request with the same Idempotency-Key led to this, and the present one did nothing."""


@dataclass(slots=True, kw_only=True)
class _Start:
    """The start of an attempt, and how far it has come in its transaction, which may not be committed yet."""

    message: OutboundMessage
    tag: str
    attempt: Attempt
    key: IdempotencyKey | None = None
    refused: Message | None = None
    """What was read of the message if it was refused and is to be sent again; None for a new message."""
    pk: int | None = None
    """The key of the message, once it is submitting."""
    overtaken: Submission | None = None
    """The outcome, if another request was quicker to send the message again."""

    def submit(self, session: Session) -> None:
        """Stores the message as submitting. Raises KeysTaken if another request stored its Idempotency-Key first."""
        if self.refused is None:
            self.pk = outbox.add_submitting(session, self.message, tag=self.tag, attempt=self.attempt)
            if self.key is not None:
                idempotency.add_keys(session, [(self.key, self.pk)], now=self.attempt.at)
        elif outbox.retry_refused(session, self.refused, self.attempt, now=self.attempt.at):
            self.pk = self.refused.pk
        else:
            commits.write_anyway(session)
            self.overtaken = Submission(tag=self.tag, message=_read(session, self.tag), is_replayed=True)

    def record(self, session: Session, result: SendResult) -> MessageReport | None:
        """Stores the result; returns the message as it is then."""
        if self.pk is None:
            raise ValueError(self.tag)
        now = times.now()
        outbox.record_result(session, self.pk, number=self.attempt.number, result=result, now=now)
        stored = outbox.message_with_key(session, self.pk)
        return report_message(stored, now=now) if stored else None

    def undo_submit(self, session: Session) -> None:
        """Refuses the message, which Bandwidth was not called for, if it was stored.

        It is found by its tag and time: the key and the number of the attempt may belong to others by now, if the
        transaction was undone.
        """
        stored = message_tagged(session, self.tag)
        if stored is not None and stored.submitted_at == self.attempt.at:
            number = self.attempt.number
            outbox.record_result(session, stored.pk, number=number, result=NOT_CALLED, now=times.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends messages at once or queues them for the workers; shared by any number of threads."""

    database: Database
    caller: Caller
    rates: Rates

    def send(self, message: OutboundMessage, *, key: IdempotencyKey | None = None) -> Submission:
        """Sends one message, once, and waits for Bandwidth's response; for a repeated key, see repeat().

        Raises KeyReused, StorageUnavailable and TooFast before anything was stored or sent, never after.
        """
        attempt = self.caller.attempt(times.whole_millisecond(times.now()), number=1)
        start = _Start(message=message, tag=new_tag(attempt.at), attempt=attempt, key=key)
        try:
            submitted = outbox.submit_by_pipeline(
                self.database,
                message,
                tag=start.tag,
                attempt=attempt,
                key=key,
                rates=self.rates,
                credentials=self.caller.gateway.fingerprint,
            )
        except StorageUnavailable as error:
            if error.in_doubt:
                self.caller.store(start.tag, NOT_CALLED, start.undo_submit)
            raise
        if submitted is not None:
            start.pk = submitted.pk
            self.caller.suspicion.is_raised |= submitted.is_suspect
            return self._call(start)
        if key is not None and (earlier := self.repeat(key, at_once=True)) is not None:
            return earlier
        try:
            start = self._submit(message, key=key)
        except KeysTaken:
            return self._repeat_of_rival(key, at_once=True)
        return self._call(start)

    def queue(self, message: OutboundMessage, *, key: IdempotencyKey | None = None) -> Submission:
        """Leaves a message to the workers; for a repeated key, see repeat(). Raises KeyReused, StorageUnavailable."""
        try:
            return self.database.write(partial(_queue_one, message=message, key=key))
        except KeysTaken:
            return self._repeat_of_rival(key, at_once=False)

    def queue_all(self, wanted: Sequence[tuple[OutboundMessage, IdempotencyKey]]) -> int:
        """Queues those of these messages that are new, or were refused without being sent; returns how many.

        When it returns, all of them are durable, whoever queued them. Raises StorageUnavailable.
        """
        while True:
            with self.database.read() as session:
                known = idempotency.rows_of_keys(session, [key for _, key in wanted], now=times.now())
                refused = outbox.not_taken(session, [row.message_pk for row in known.values()]) if known else ()
            new = [(message, key) for message, key in wanted if key.identity not in known]
            try:
                return self.database.write(partial(_queue_all, new=new, refused=refused))
            except KeysTaken:  # another process queues the same file at this moment
                continue

    def known(self, keys: Sequence[IdempotencyKey]) -> set[tuple[str, str]]:
        """Returns the identities of those keys that stand for a message."""
        with self.database.read() as session:
            return set(idempotency.rows_of_keys(session, keys, now=times.now()))

    def repeat(self, key: IdempotencyKey, *, at_once: bool) -> Submission | None:
        """Returns the outcome of the request that came with this key; None if there was none.

        A message that is known not to have been sent is sent again, with its tag: ``at_once``, or by the workers.
        Raises KeyReused when the key came with another body.
        """
        stored = self.database.write(partial(_count_repeat, key=key))
        if stored is None:
            return None
        if stored.send_status == SendStatus.REFUSED and _is_repeatable(stored):
            return self._send_again(stored) if at_once else self.database.write(partial(_queue_again, refused=stored))
        return Submission(tag=stored.tag, message=report_message(stored, now=times.now()), is_replayed=True)

    def _submit(
        self, message: OutboundMessage, *, key: IdempotencyKey | None = None, refused: Message | None = None
    ) -> _Start:
        """Commits the message as submitting when its turn has come.

        Raises TooFast when the turn is too far ahead, and StorageUnavailable, after which the message is refused if it
        was stored all the same: Bandwidth was not called.
        """
        give_up, turn = time.monotonic() + TURN_SECONDS, None
        while True:
            if refused is None:
                attempt = self.caller.attempt(times.whole_millisecond(times.now()), number=1)
                start = _Start(message=message, tag=new_tag(attempt.at), attempt=attempt, key=key)
            else:
                attempt = self.caller.attempt(times.now(), number=refused.attempt + 1)
                start = _Start(message=message, tag=refused.tag, attempt=attempt, refused=refused)
            try:
                turn = self.database.write(partial(self._submit_in_turn, start=start, turn=turn))
            except StorageUnavailable:
                if start.pk is not None:  # the commit failed, or was not confirmed
                    self.caller.store(start.tag, NOT_CALLED, start.undo_submit)
                raise
            if start.pk is not None or start.overtaken is not None:
                return start
            wait = turn.wait.total_seconds() if turn.is_taken else turn.ask_again_in
            if not turn.is_taken and time.monotonic() + wait > give_up:
                raise TooFast(retry_after=math.ceil(turn.wait.total_seconds()))
            time.sleep(wait)

    def _submit_in_turn(self, session: Session, start: _Start, turn: Turn | None) -> Turn:
        """Takes a turn unless ``turn`` was taken before, and submits the message if it may go now."""
        start.pk = start.overtaken = None  # this may be run again, after a conflict
        if turn is None or not turn.is_taken:
            turn = pace.take_turn(
                session,
                self.rates,
                sender=start.message.sender,
                units=units(start.message),
                credentials=self.caller.gateway.fingerprint,
                heeds_refusal=False,  # the caller gets Bandwidth's own response
            )
            self.caller.suspicion.is_raised |= turn.is_suspect
            if not turn.is_taken or turn.wait > timedelta(0):
                return turn
        start.submit(session)
        return turn

    def _call(self, start: _Start) -> Submission:
        """Calls Bandwidth for a message that is submitting, and stores the result."""
        result = self.caller.call(start.message, tag=start.tag, attempt=start.attempt)
        now, pk, attempt = times.now(), start.pk, start.attempt
        report: MessageReport | None
        if (
            isinstance(result, Accepted)
            and pk is not None
            and start.refused is None  # one that was refused before has a past, which only the database knows
            and self.caller.accept(pk, number=attempt.number, result=result, now=now)
        ):
            report = report_accepted(start.message, key=pk, tag=start.tag, attempt=attempt, accepted=result, now=now)
        else:
            report = self.caller.store(start.tag, result, partial(start.record, result=result))
        return Submission(
            tag=start.tag,
            message=report,
            retry_after=result.retry_after if isinstance(result, Refused) else None,
        )

    def _send_again(self, refused: Message) -> Submission:
        """Makes another attempt for a refused message, unless another request is quicker, or it has no turn."""
        try:
            start = self._submit(outbox.to_outbound(refused), refused=refused)
        except TooFast as error:  # it is refused still, which is known
            report = report_message(refused, now=times.now())
            return Submission(tag=refused.tag, message=report, retry_after=error.retry_after, is_replayed=True)
        return start.overtaken or self._call(start)

    def _repeat_of_rival(self, key: IdempotencyKey | None, *, at_once: bool) -> Submission:
        """Returns the outcome for a key that came twice at once, after the other request was stored first."""
        rival = self.repeat(key, at_once=at_once) if key else None
        if rival is None:  # it has expired meanwhile: it was stored seven days ago
            raise StorageUnavailable
        return rival


def cancel(database: Database, tag: str) -> MessageReport:
    """Withdraws a message that is still queued, or was withdrawn before. Raises MessageNotFound, NotQueued."""
    now = times.now()
    report, is_cancelled = database.write(partial(_cancel, tag=tag, now=now))
    if report is None:
        raise MessageNotFound(tag)
    if not is_cancelled:
        raise NotQueued(tag, report.send_status)
    return report


def _cancel(session: Session, tag: str, now: datetime) -> tuple[MessageReport | None, bool]:
    """Returns the message, and whether it is withdrawn, be it by this or before."""
    found = message_tagged(session, tag)
    is_cancelled = found is not None and queue.cancel(session, found.pk, now=now)
    report = _read(session, tag)
    if report is not None and not is_cancelled and report.refused_because is RefusedBecause.CANCELLED:
        commits.write_anyway(session)
        is_cancelled = True
    return report, is_cancelled


def tidy(database: Database) -> int:
    """Makes unknown what was submitting when its process died; returns how many messages.

    Also releases messages that were queued or claimed by a clock that was ahead, and forgets unused credentials.
    """
    now = times.now()
    lapsed = database.write(partial(outbox.write_lapsed, now=now))
    database.write(credentials.delete_unused)
    if ahead := database.write(partial(queue.fix_future_claims, now=now)):
        log.warning("claims in the future released", messages=ahead)
    if lapsed:
        log.warning("requests without a result are unknown", messages=lapsed)
    return lapsed


def _queue_one(session: Session, message: OutboundMessage, key: IdempotencyKey | None) -> Submission:
    (tag,) = _add_queued(session, [(message, key)])
    return Submission(tag=tag, message=_read(session, tag))


def _queue_all(
    session: Session, new: Sequence[tuple[OutboundMessage, IdempotencyKey]], refused: Sequence[Message]
) -> int:
    if new:
        _add_queued(session, new)
    now = times.now()
    queued = len(new) + sum(outbox.retry_refused(session, each, None, now=now) for each in refused)
    if not queued:
        commits.write_anyway(session)
    return queued


def _add_queued(session: Session, wanted: Sequence[tuple[OutboundMessage, IdempotencyKey | None]]) -> list[str]:
    """Stores messages for the workers, with the keys they came with; returns their tags."""
    now = times.whole_millisecond(times.now())
    tags = [new_tag(now) for _ in wanted]
    pks = outbox.add_queued(session, [(tag, message) for tag, (message, _) in zip(tags, wanted, strict=True)], now=now)
    keys = [(key, pk) for (_, key), pk in zip(wanted, pks, strict=True) if key is not None]
    if keys:
        idempotency.add_keys(session, keys, now=now)
    return tags


def _queue_again(session: Session, refused: Message) -> Submission:
    """Queues a refused message, unless another request is quicker to send it again."""
    is_queued = outbox.retry_refused(session, refused, None, now=times.now())
    if not is_queued:
        commits.write_anyway(session)
    return Submission(tag=refused.tag, message=_read(session, refused.tag), is_replayed=not is_queued)


def _count_repeat(session: Session, key: IdempotencyKey) -> Message | None:
    """Returns the message that the key stands for, if any, and counts the repeat. Raises KeyReused."""
    found = idempotency.count_repeat(session, key, now=times.now())
    if found is not None and found.sha256 != key.sha256:
        raise KeyReused
    return outbox.message_with_key(session, found.message_pk) if found else None


def _read(session: Session, tag: str) -> MessageReport | None:
    """Returns the message as this transaction leaves it. Once that is committed, nothing may fail any more."""
    session.expire_all()
    stored = message_tagged(session, tag)
    return report_message(stored, now=times.now()) if stored is not None else None


def _is_repeatable(stored: Message) -> bool:
    because = stored.refused_because
    return because is not None and is_repeatable(RefusedBecause(because), status=stored.error_status)
