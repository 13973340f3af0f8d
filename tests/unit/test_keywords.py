"""What is an opt-out or an opt-in is what the eye reads, not which bytes it is made of."""

import pytest

from receiver.core.keywords import KEYWORDS, OPT_INS, OPT_OUTS, YES, keyword

INVISIBLE = {
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "variation selector": "\ufe0f",
    "left-to-right mark": "\u200e",
    "right-to-left isolate": "\u2067",
    "soft hyphen": "\u00ad",
    "word joiner": "\u2060",
    "combining grapheme joiner": "\u034f",
    "Hangul filler": "\u3164",
    "supplementary variation selector": "\U000e0100",
    "control character": "\x07",
}

AROUND = {
    "curly quotes": "\u201c{}\u201d",
    "single curly quotes": "\u2018{}\u2019",
    "guillemets": "\u00ab{}\u00bb",
    "a comma": "{},",
    "an ellipsis": "{}\u2026",
    "three dots": "{}...",
    "round brackets": "({})",
    "square brackets": "[{}]",
    "full-width brackets": "\uff08{}\uff09",
    "an emoji": "{} \U0001f44d",
    "an emoji with a skin tone": "{}\U0001f64f\U0001f3fd",
    "a heart with its selector": "{} \u2764\ufe0f",
    "a family": "{} \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a flag": "{} \U0001f1fa\U0001f1f8",
    "a stop sign before it": "\U0001f6d1{}",
    "what half an emoji became": "{}\ufffd",
    "a trade mark": "{}\u2122",
    "an asterisk": "*{}*",
    "a dash": "\u2014 {}",
    "no-break spaces": "\u00a0{}\u202f",
    "lines": "\n\n{}\r\n\t",
    "a full stop of Chinese": "{}\u3002",
    "an ideographic space": "\u3000{}",
    "an inverted exclamation mark": "\u00a1{}!",
}


@pytest.mark.parametrize("word", sorted(KEYWORDS))
def test_a_keyword_alone_is_one_whatever_its_case(word: str) -> None:
    assert [keyword(each) for each in (word, word.lower(), word.title())] == [word] * 3


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_stands_around_a_word_does_not_change_it(around: str) -> None:
    for word in ("STOP", "Start", "opt out"):
        assert keyword(around.format(word)) == word.upper().replace(" ", "")


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
def test_what_cannot_be_seen_does_not_change_a_word_wherever_it_stands(character: str) -> None:
    for place in range(5):
        assert keyword(f"{'STOP'[:place]}{character}{'STOP'[place:]}") == "STOP"
    assert keyword(character.join("unstop")) == "UNSTOP"


@pytest.mark.parametrize(
    "blank",
    [" ", "  ", "\u00a0", "\u2009", "\u3000", "\n", "-", "\u2010", "\u2011", "\u2013", "\u2014", "\u2212", " - "],
)
def test_blanks_and_hyphens_inside_are_folded(blank: str) -> None:
    assert (keyword(f"opt{blank}out"), keyword(f"Stop{blank}All")) == ("OPTOUT", "STOPALL")


@pytest.mark.parametrize(
    "written",
    ["\uff33\uff34\uff2f\uff30", "\U0001d412\U0001d413\U0001d40e\U0001d40f", "\u24c8\u24e3\u24de\u24df", "\u017ftop"],
    ids=["full-width", "mathematical", "in circles", "long s"],
)
def test_letters_that_look_alike_by_their_standard_are_the_same(written: str) -> None:
    assert keyword(written) == "STOP"


@pytest.mark.parametrize(
    "talk",
    [
        *(None, "", " ", "...", "\U0001f44d", "\u200b"),
        *("Stop. Thank you", "Don't stop", "Please stop", "Stop by at noon", "stop it", "STOP 2", "STOP, please"),
        *("STOPP", "ST.OP", "non-stop", "The end", "Yes please", "Start now", "HELP", "opt/out", "Ok, cancel"),
        *("STOP\nSent from my telephone", "STOP." + " " * 5000 + "x", "S\u0301TOP"),
    ],
)
def test_talk_is_none(talk: str | None) -> None:
    assert keyword(talk) == ""


def test_a_word_opts_out_or_in_and_never_both() -> None:
    assert OPT_OUTS | OPT_INS | {YES} == KEYWORDS
    assert not OPT_OUTS & (OPT_INS | {YES})
    assert max(map(len, KEYWORDS)) <= 16
