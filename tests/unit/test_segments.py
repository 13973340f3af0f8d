import unicodedata
from itertools import accumulate
from string import ascii_letters, digits

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.core.messages import segments, units
from tests.support.builders import make_message

EMOJI = "\N{GRINNING FACE}"
CYRILLIC = "\N{CYRILLIC SMALL LETTER ZHE}"

# 3GPP TS 23.038 by the names of its characters: another source than the table of the code.
OF_ONE_SEPTET = {*ascii_letters, *digits, *" !\"#$%&'()*+,-./:;<=>?@_\n\r"} | {
    unicodedata.lookup(name)
    for name in [
        *("POUND SIGN", "YEN SIGN", "CURRENCY SIGN", "SECTION SIGN", "INVERTED EXCLAMATION MARK"),
        *("INVERTED QUESTION MARK", "LATIN SMALL LETTER SHARP S", "LATIN CAPITAL LETTER C WITH CEDILLA"),
        *(f"LATIN SMALL LETTER {letter} WITH GRAVE" for letter in "AEIOU"),
        *(f"LATIN {case} LETTER E WITH ACUTE" for case in ("SMALL", "CAPITAL")),
        *(f"LATIN {case} LETTER {letter} WITH DIAERESIS" for case in ("SMALL", "CAPITAL") for letter in "AOU"),
        *(f"LATIN {case} LETTER N WITH TILDE" for case in ("SMALL", "CAPITAL")),
        *(f"LATIN {case} LETTER O WITH STROKE" for case in ("SMALL", "CAPITAL")),
        *(f"LATIN {case} LETTER A WITH RING ABOVE" for case in ("SMALL", "CAPITAL")),
        *(f"LATIN {case} LETTER AE" for case in ("SMALL", "CAPITAL")),
        *(f"GREEK CAPITAL LETTER {name}" for name in ("DELTA", "PHI", "GAMMA", "LAMDA", "OMEGA")),
        *(f"GREEK CAPITAL LETTER {name}" for name in ("PI", "PSI", "SIGMA", "THETA", "XI")),
    ]
}
OF_TWO_SEPTETS = {*"^{}\\[~]|\f", "\N{EURO SIGN}"}


@pytest.mark.parametrize(
    ("text", "count", "why"),
    [
        ("", 1, "an empty text"),
        ("a" * 160, 1, "the most that one segment holds"),
        ("a" * 161, 2, "one septet more"),
        ("a" * 306, 2, "two full segments with headers"),
        ("a" * 307, 3, "one septet more"),
        (CYRILLIC * 70, 1, "the most that one segment holds in UCS-2"),
        (CYRILLIC * 71, 2, "one more"),
        (CYRILLIC * 134, 2, "two full segments with headers"),
        (CYRILLIC * 135, 3, "one more"),
        (EMOJI * 35, 1, "70 code units"),
        (EMOJI * 36, 2, "72 code units"),
        (EMOJI * 66, 2, "33 pairs a segment, and one unit of each stays empty"),
        (EMOJI * 67, 3, "134 code units, but a pair would be split"),
        (CYRILLIC * 66 + EMOJI + CYRILLIC * 66, 3, "134 code units, with a pair at the boundary"),
        (CYRILLIC * 65 + EMOJI + CYRILLIC * 67, 2, "134 code units, with a pair just before the boundary"),
        (CYRILLIC + "[" * 69, 1, "an extension character is one code unit in UCS-2"),
        ("\N{EURO SIGN}" * 80, 1, "160 septets"),
        ("\N{EURO SIGN}" * 81, 2, "162 septets"),
        ("\N{EURO SIGN}" * 152, 2, "76 a segment, and one septet of each stays empty"),
        ("\N{EURO SIGN}" * 153, 3, "306 septets, but an escape would be split"),
        ("\r\n" * 80, 1, "CR and LF are a septet each"),
        ("\r\n" * 81, 2, "162 septets"),
        ("\r" * 160, 1, "CR alone"),
        ("\n" * 160, 1, "LF alone"),
        ("\t" * 71, 2, "a tab is not in the alphabet"),
        ("`" * 71, 2, "nor is a backtick"),
        ("\x1b" * 71, 2, "nor is the escape itself"),
        ("\N{LATIN CAPITAL LETTER C WITH CEDILLA}" * 160, 1, "the capital is in the alphabet"),
        ("\N{LATIN SMALL LETTER C WITH CEDILLA}" * 71, 2, "the small letter is not"),
        ("\N{GREEK CAPITAL LETTER OMEGA}" * 160, 1, "a Greek capital without a Latin twin"),
        ("\N{GREEK CAPITAL LETTER ALPHA}" * 71, 2, "a Greek capital that looks like a Latin letter"),
        ("\N{RIGHT SINGLE QUOTATION MARK}" + "a" * 70, 2, "one curly quote makes all of it UCS-2"),
        ("e\N{COMBINING ACUTE ACCENT}" * 36, 2, "nothing is composed"),
    ],
)
def test_a_text_makes_as_many_segments_as_bandwidth_bills(text: str, count: int, why: str) -> None:
    assert segments(text) == count, why


@pytest.mark.parametrize("character", sorted(OF_TWO_SEPTETS))
def test_an_extension_character_is_two_septets_and_never_split(character: str) -> None:
    assert segments("a" * 158 + character) == 1
    assert segments("a" * 159 + character) == 2
    assert segments("a" * 151 + character + "a" * 153) == 2
    assert segments("a" * 152 + character + "a" * 152) == 3


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert (len(OF_ONE_SEPTET), len(OF_TWO_SEPTETS)) == (127, 10)
    plane = [chr(code) for code in range(0x10000)]
    assert {character for character in plane if segments(character * 71) == 1} == OF_ONE_SEPTET | OF_TWO_SEPTETS
    assert {character for character in OF_ONE_SEPTET if segments(character * 160) == 1} == OF_ONE_SEPTET


def fewest(text: str) -> int:
    """The fewest pieces that fit into 140 bytes, tried out: the last piece may begin anywhere."""
    gsm = {*text} <= OF_ONE_SEPTET | OF_TWO_SEPTETS
    bits = [7 + 7 * (one in OF_TWO_SEPTETS) if gsm else 8 * len(one.encode("utf-16-be")) for one in text]
    before = [0, *accumulate(bits)]
    if before[-1] <= 8 * 140:
        return 1
    best = [0]
    for end in range(1, len(text) + 1):
        best.append(min(best[start] + 1 for start in range(end) if before[end] - before[start] <= 8 * (140 - 6)))
    return best[-1]


def texts(characters: str) -> st.SearchStrategy[str]:
    """Runs of one character each, as long as it takes to meet the boundaries."""
    runs = st.tuples(st.sampled_from(characters), st.integers(1, 3) | st.integers(60, 80) | st.integers(140, 160))
    return st.lists(runs, max_size=5).map(lambda some: "".join(character * length for character, length in some)[:330])


@given(texts("a\n[\N{EURO SIGN}\f") | texts(f"a[{CYRILLIC}{EMOJI}\N{LATIN SMALL LETTER C WITH CEDILLA}"))
@example("a" * 152 + "\N{EURO SIGN}" + "a" * 152)
@example(CYRILLIC * 66 + EMOJI + CYRILLIC * 66)
@settings(max_examples=200, deadline=None)
def test_there_is_no_way_to_send_a_text_in_fewer_segments(text: str) -> None:
    assert segments(text) == fewest(text)


@pytest.mark.parametrize(
    ("recipients", "text", "media", "count", "why"),
    [
        (1, "a" * 161, False, 2, "an SMS takes its segments"),
        (1, "a" * 161, True, 1, "with media it is an MMS"),
        (1, None, True, 1, "media alone"),
        (2, "a" * 307, False, 2, "a group is an MMS: once for each recipient"),
        (10, "a" * 2048, False, 10, "however long its text"),
        (10, None, True, 10, "with media too"),
    ],
)
def test_a_message_takes_a_unit_for_each_recipient_and_segment(
    recipients: int, text: str | None, media: bool, count: int, why: str
) -> None:
    message = make_message(*map(str, range(recipients)), text=text, media=("https://example.com/a.png",) * media)

    assert units(message) == count, why
