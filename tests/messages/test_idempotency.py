"""Idempotency keys that transactions meet at."""

from datetime import timedelta
from functools import partial

from receiver.core import times
from receiver.database.database import Database
from receiver.messages.idempotency import add_keys
from tests.support.builders import ALICE, make_key, make_message, make_sender
from tests.support.locks import Held, threads

DAY = timedelta(days=1)


def test_an_expired_key_that_another_transaction_is_deleting_is_passed_over_without_waiting(postgres: Database) -> None:
    now = times.now()
    sender, key = make_sender(postgres), make_key(expires_at=now + DAY)
    sender.queue(make_message(ALICE), key=key)
    delete_expired = partial(add_keys, keys=[], now=now + 2 * DAY)

    held = Held(delete_expired)
    with threads() as pool:
        one = pool.submit(lambda: postgres.write(held))
        held.wait()
        try:
            postgres.write(delete_expired)
            assert sender.known([key]) == {key.identity}
        finally:
            held.release()
        one.result()

    assert sender.known([key]) == set()
