"""Reads the counters that a service or a worker exposes to Prometheus."""

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def counted(text: str) -> dict[tuple[str, ...], float]:
    """Every counter above zero and the count of every histogram, by name (without `receiver_`) and label values."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.type == "counter" or (family.type == "histogram" and sample.name.endswith("_count")):
                labels = (value for _, value in sorted(sample.labels.items()))
                found[sample.name.removeprefix("receiver_"), *labels] = sample.value
    return {series: value for series, value in found.items() if value}


def increase(read: Callable[[], str], work: Callable[[], Any]) -> dict[tuple[str, ...], float]:
    """By how much each series grew while ``work`` ran; ``read`` returns the exposition."""
    before = counted(read())
    work()
    after = counted(read())
    return {series: value - before.get(series, 0) for series, value in after.items() if value != before.get(series, 0)}
