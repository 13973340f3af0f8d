"""Payloads on disk; README.md says of each file where it comes from and what is odd about it."""

from pathlib import Path

SAMPLES = Path(__file__).parent


def callbacks() -> list[Path]:
    """Every file that holds the body of one callback, in the order of their names."""
    return sorted((SAMPLES / "callbacks").glob("*.json"))


def load(name: str) -> bytes:
    """The bytes of one file by its name below this folder: ``load("callbacks/message-failed-9902.json")``."""
    return (SAMPLES / name).read_bytes()
