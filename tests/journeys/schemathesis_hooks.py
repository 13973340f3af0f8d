"""Rules of requests that JSON Schema cannot express, so that schemathesis does not break them."""

from typing import Any

import schemathesis
from schemathesis import Case, HookContext

from receiver.core import times

USED: set[str] = set()


@schemathesis.hook
def before_call(_context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    if case.operation.label == "POST /messages":
        _take_a_fresh_key(case)
        if isinstance(case.body, dict):
            case.body |= _allowed_together(case.body)


def _take_a_fresh_key(case: Case) -> None:
    """Replaces a key that was used before: with another body it would be refused."""
    key = case.headers.get("Idempotency-Key")
    if key in USED:
        case.headers["Idempotency-Key"] = f"fresh-{len(USED)}"
    USED.add(case.headers.get("Idempotency-Key", ""))


def _allowed_together(body: dict[str, Any]) -> dict[str, Any]:
    """What must change: a past expiration, a sender among the recipients, a reference beside another tag."""
    changed: dict[str, Any] = {}
    if isinstance(body.get("to"), list) and body.get("from") in body["to"]:
        changed["from"] = "2020"
    expiration = times.parse(body.get("expiration"))
    if expiration is not None and expiration <= times.now():
        changed["expiration"] = "2099-12-31T23:59:59Z"
    if isinstance(body.get("tag"), str) and isinstance(body.get("reference"), str):
        changed["reference"] = body["tag"]
    return changed
