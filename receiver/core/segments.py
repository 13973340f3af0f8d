"""SMS segments: what a text takes of the pace, and what Bandwidth bills.

Bandwidth, "What are Bandwidth's SMS character limits and concatenation practices?": a segment has 140 bytes. A text
whose every character is in the GSM 7-bit alphabet is written in septets, any other in UTF-16 code units; when one
segment is not enough, each gives 6 bytes to the header that joins them.

The rule is written here because the libraries that count right have had no release for years, and those that had one
lately divide the length, which is wrong where an escape or a surrogate pair would be split.
"""

from collections.abc import Iterable

# 3GPP TS 23.038, section 6.2.1: the default alphabet in its own order, without the escape, which is no character.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Section 6.2.1.1: each of these is an escape and a septet.
_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM_7 = _BASIC | _EXTENSION


def segments(text: str) -> int:
    """How many SMS segments ``text`` makes; an empty text is one."""
    if _GSM_7.issuperset(text):
        return _filled((2 if character in _EXTENSION else 1 for character in text), whole=160, part=153)
    return _filled((2 if character > "\uffff" else 1 for character in text), whole=70, part=67)


def units(*, recipients: int, text: str | None, media: bool) -> int:
    """What a message takes of the pace: recipients x segments; an MMS, as every group message is, has one segment."""
    return recipients if media or recipients > 1 else segments(text or "")


def _filled(sizes: Iterable[int], *, whole: int, part: int) -> int:
    """How many segments characters of these sizes fill: one of size ``whole``, else each of size ``part``."""
    total, count, room = 0, 1, part
    for size in sizes:
        total += size
        # Neither an escape and its septet nor a surrogate pair is split over two segments.
        if size > room:
            count, room = count + 1, part
        room -= size
    return 1 if total <= whole else count
