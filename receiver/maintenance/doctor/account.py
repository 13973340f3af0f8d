"""Bandwidth: does it give a token, can it be asked with it, and do its clock and ours agree?"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from receiver.bandwidth.client import BandwidthAccount, Client
from receiver.bandwidth.oauth import CREDENTIALS
from receiver.bandwidth.probe import ProbeResponse, ask_bandwidth, search_failure
from receiver.bandwidth.responses import NoToken
from receiver.maintenance.doctor.findings import Finding, Mark, ok, skipped, warning, wrong
from receiver.settings import Settings

LONGEST_CALL = 10.0
"""Seconds; a question is answered sooner, or something is wrong."""

DOUBTFUL_SKEW, WRONG_SKEW = timedelta(seconds=5), timedelta(seconds=60)
"""`receiver reconcile` looks within a minute of our clock."""

SECOND = timedelta(seconds=1)


def examine(settings: Settings) -> Iterator[Finding]:
    """A token, if there is to be one, and one question with it."""
    has_credentials = settings.bandwidth_client_secret if settings.bandwidth_client_id else settings.bandwidth_password
    if not (settings.bandwidth_account_id and has_credentials):
        for check in ("token", "Bandwidth", "clock"):
            yield skipped(check, "needs BANDWIDTH_ACCOUNT_ID and credentials")
        return
    seconds = min(LONGEST_CALL, settings.bandwidth_connect_timeout + settings.bandwidth_read_timeout)
    account = replace(BandwidthAccount.of(settings), connect_timeout=seconds / 2, read_timeout=seconds / 2)
    with closing(Client(account)) as client:
        fetched = token(client)
        yield fetched
        if fetched.mark is Mark.WRONG:
            for check in ("Bandwidth", "clock"):
                yield skipped(check, "needs a token")
            return
        reply = ask_bandwidth(client, account)
    yield credentials(reply)
    yield clock(reply)


def token(client: Client) -> Finding:
    """Whether the client id and secret are exchanged for a token, and how long that is used."""
    try:
        fetched = client.token()
    except NoToken as error:
        refused = error.refused
        found, _, remedy = (refused.description or "there is none").partition(". ")
        if refused.type != CREDENTIALS:
            remedy = "check BANDWIDTH_TOKEN_URL, the network and the firewall, or try again later."
        return wrong("token", found.rstrip("."), remedy[:1].lower() + remedy[1:])
    if fetched is None:
        return skipped("token", "not needed: BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD are used")
    return ok("token", f"BANDWIDTH_TOKEN_URL issued one, valid for {fetched.life:.0f} s")


def credentials(reply: ProbeResponse) -> Finding:
    """Whether Bandwidth answers this account's question."""
    trouble = search_failure(reply)
    if trouble is None:
        return ok("Bandwidth", "takes the credentials, and answers questions about the account's messages")
    if reply.status == 429:
        return warning("Bandwidth", trouble.found, trouble.remedy)
    if reply.status is None and reply.distrust:
        return wrong("Bandwidth", f"{trouble.found}: {reply.distrust}", trouble.remedy)
    if reply.status is not None and reply.complaint is None:
        found = f"{trouble.found}, and not in Bandwidth's JSON"
        return wrong("Bandwidth", found, "something answers in its place: check BANDWIDTH_API_URL and any proxy.")
    return wrong("Bandwidth", trouble.found, trouble.remedy)


def clock(reply: ProbeResponse) -> Finding:
    """Whether our clock is right, by the Date of whatever answered."""
    date = reply.date
    if date is None:
        return skipped("clock", "there was no answer with a Date to compare it with")
    skew = least_skew(date, asked_at=reply.asked_at, answered_at=reply.answered_at)
    if abs(skew) <= DOUBTFUL_SKEW:
        return ok("clock", "agrees with Bandwidth's to within seconds")
    found = f"is {abs(skew).total_seconds():.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} Bandwidth's"
    mark = wrong if abs(skew) > WRONG_SKEW else warning
    return mark("clock", found, "set this machine's clock by NTP: expirations, overdue and reconcile go by it.")


def least_skew(date: datetime, *, asked_at: datetime, answered_at: datetime) -> timedelta:
    """By how much our clock is ahead at least: the Date is anything between two whole seconds, and was written at any
    moment between question and answer."""
    ahead, behind = asked_at - (date + SECOND), date - answered_at
    return max(ahead, timedelta(0)) - max(behind, timedelta(0))
