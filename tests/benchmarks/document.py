"""Writes the figures of `make bench` into docs/speed.md, between its two markers, and draws the chart beside it.

    python -m tests.benchmarks.document

It reads build/bench/bench.json and build/bench/sending.json, so it can be run again without measuring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from tests.benchmarks import report, sending_report
from tests.benchmarks.report import AIMS, ALIKE, ASYNC, CONNECTIONS, ORM, RECEIVING, UNKNOWN, US, VIEW, Figures

BUILD, DOCS = Path("build/bench"), Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of the figures -->"


def main() -> None:
    page = DOCS / "speed.md"
    content, sending = (json.loads((BUILD / f"{name}.json").read_text()) for name in ("bench", "sending"))
    if content["options"]["parts"]:
        raise SystemExit(f"{BUILD / 'bench.json'} holds only {', '.join(content['options']['parts'])}; run make bench.")
    page.write_text(replace(page.read_text(), markdown(content, sending)))
    report.draw(content, DOCS / "speed.svg")


def replace(page: str, figures: str) -> str:
    """Returns the page with these figures between its markers. Raises ValueError if it lacks them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page lacks the marker {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def markdown(content: Mapping[str, Any], sending: Mapping[str, Any]) -> str:
    """Returns the paragraphs and tables of both results."""
    found = report.medians(content["measured"])
    parts = [
        _conditions(content),
        "![Events stored and response times of each contestant, by number of connections](speed.svg)",
        "The service's rate divided by that of each of the others, and in brackets the aim, bold where it is missed:",
        _table(["Connections", *map(str, CONNECTIONS)], _ratios(found)),
        "Other aims:",
        _table(["", "Aim", "Reached"], [*_others(found), *_of_sending(sending)]),
        "Latency in milliseconds (median / p99), and the application's CPU seconds for 10,000 events:",
        _table(["Connections", *map(str, CONNECTIONS)], _costs(found)),
    ]
    if before := [key[1] for key in found if key[0] == UNKNOWN and key[1].startswith(report.BEFORE)]:
        parts += [
            "When no message id is known, because the application sends to Bandwidth itself, each batch is stored by"
            " several statements. Beside the version before:",
            _table(["Connections", *map(str, CONNECTIONS)], [_unknown(found, before[0])]),
        ]
    if content["sends"]:
        parts += [
            "With a network between service and database, simulated by a proxy: events per second, and the time of a"
            " synchronous send; in brackets the round trips to the database of each:",
            _network(found, content["sends"]),
        ]
    parts += [
        f"Where the service's own processor time goes with {each['connections']} connections, by a flame graph:"
        f" {report.summary(each)}."
        for each in content["profiles"]
    ]
    parts += ["Sending, against the simulator on the same cores:", _sending(sending)]
    return "\n\n".join(each if each.startswith(("|", "!")) else _wrapped(each) for each in parts) + "\n"


def _wrapped(text: str) -> str:
    """Returns a paragraph, or a list with an item in each line, in lines of at most 120 characters."""
    return "\n".join(fill(line, 120, subsequent_indent="  " * line.startswith("- ")) for line in text.split("\n"))


def _conditions(content: Mapping[str, Any]) -> str:
    machine, options = content["machine"], content["options"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return (
        f"Measured on {machine['date']}: {machine['cores']} cores ({machine['processor']}), shared by load generator,"
        f" contestant and PostgreSQL {machine['postgresql']} with fsync on; Python {machine['python']}, {packages}."
        f" Medians of {options['rounds']} rounds of {options['seconds']:g} seconds."
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ratios(found: Figures) -> list[list[str]]:
    """A row for each contestant: the service's rate by its own, and the Flask view's by the ORM's."""
    rows = []
    for (one, other), limits in AIMS.items():
        cells = []
        for number in CONNECTIONS:
            if number in limits:
                ratio = found[RECEIVING, one, number]["rate"] / found[RECEIVING, other, number]["rate"]
                cells.append(_verdict(f"{ratio:.2f}", f"{limits[number]:g}", is_met=ratio >= limits[number]))
            else:
                cells.append("")
        rows.append([other if one == US else f"{one} / {other}", *cells])
    return rows


def _verdict(reached: str, aim: str, *, is_met: bool) -> str:
    return f"{reached} ({aim})" if is_met else f"**{reached}** ({aim})"


def _others(found: Figures) -> list[list[str]]:
    """The aims that are not about the rate beside another contestant's."""
    beside = (*(f"{one} / {other}," for one, other in AIMS), UNKNOWN)
    return [_row(aim) for aim in report.aims(found) if not aim.sentence.startswith(beside)]


def _of_sending(sending: Mapping[str, Any]) -> list[list[str]]:
    """The aims of sending."""
    cost, threads = sending["cost"], max(each["threads"] for each in sending["in_flight"])
    bare, least = cost[sending_report.BARE], sending_report.LEAST_UNDER_WAY * threads
    found = [
        report.Aim(
            f"{name}: time added to a bare `requests.post`, in its times",
            sending_report.MOST_ADDED,
            (taken - bare) / bare,
            at_most=True,
        )
        for name, taken in cost.items()
        if name.startswith("Sender.send")
    ]
    found += [
        report.Aim(
            f"requests in flight at 50 ms, worker with {threads} threads on {each['database']}", least, each["mean"]
        )
        for each in sending["in_flight"]
        if each["threads"] == threads
    ]
    return [_row(each) for each in found]


def _sending(sending: Mapping[str, Any]) -> str:
    cost, claims, pace = sending["cost"], sending["claims"], sending["pace"]
    bare = cost[sending_report.BARE]
    times = [f"{taken / bare:.1f} times as long ({name})" for name, taken in cost.items() if taken != bare]
    under_way: dict[str, list[str]] = {}
    for each in sending["in_flight"]:
        under_way.setdefault(each["database"], []).append(f"{each['mean']:.1f} with {each['threads']}")
    short, long = claims[0], claims[-1]
    return "\n".join(
        [
            f"- Beside a bare `requests.post`, a message takes {', '.join(times)}.",
            "- While every response takes 50 ms, a worker keeps so many requests in flight with so many threads: "
            + "; ".join(f"on {name} {', '.join(each)}" for name, each in under_way.items())
            + ".",
            f"- Claiming eight messages from a queue of {long['queued']:,}, behind {long['sent']:,} that were sent,"
            f" takes {long['last'] / short['last']:.1f} times as long as from a queue of {short['queued']:,}.",
            f"- Two workers and a client that sends at once, limited to {pace['rate']} a second together, sent"
            f" {pace['reached']:.2f} a second over {pace['seconds']:g} seconds, and at most {pace['most']} within any"
            " second.",
        ]
    )


def _row(aim: report.Aim) -> list[str]:
    return [aim.sentence, aim.written_limit, aim.written if aim.is_met else f"**{aim.written}**"]


def _costs(found: Figures) -> list[list[str]]:
    """A row for each contestant: its latencies and its processor time."""
    rows = []
    for name in (US, ASYNC, ALIKE, ORM, VIEW):
        cells = []
        for number in CONNECTIONS:
            if figures := found.get((RECEIVING, name, number)):
                latency = f"{figures['p50']:.1f} / {figures['p99']:.1f} ms"
                cells.append(f"{latency}, {figures['app_cpu']:.1f} s")
            else:
                cells.append("")
        rows.append([name, *cells])
    return rows


def _unknown(found: Figures, before: str) -> list[str]:
    rates = [found[UNKNOWN, US, each]["rate"] / found[UNKNOWN, before, each]["rate"] for each in CONNECTIONS]
    return [f"{US} / {before}", *(_verdict(f"{each:.2f}", "1", is_met=each >= 1) for each in rates)]


def _network(found: Figures, sends: Sequence[Mapping[str, float]]) -> str:
    parts = [(delay, report.network(delay)) for delay in report.DELAYS]
    rows = []
    for name, number in dict.fromkeys(key[1:] for key in found if key[0] == parts[0][1]):
        figures = [found[part, name, number] for _, part in parts]
        cells = [f"{each['rate']:,.0f} ({each['round_trips']:.2f})" for each in figures]
        rows.append([f"{name}, {number}", *cells])
    rows.append(["POST /messages", *(f"{each['ms']:.1f} ms ({each['round_trips']:.2f})" for each in sends)])
    rows.append(["the bare request to Bandwidth in it", *(f"{each['bare_ms']:.1f} ms" for each in sends)])
    return _table(["Each way", *(f"{delay * 1000:g} ms" for delay, _ in parts)], rows)


if __name__ == "__main__":
    main()
