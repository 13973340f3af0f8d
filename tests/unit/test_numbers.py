import pytest

from receiver.core.numbers import (
    MAX_RECIPIENTS,
    is_e164,
    is_sender,
    lost_its_digits,
    lost_its_plus,
    meant_by,
    written_for,
)

E164 = [
    ("+12345678902", "an American number"),
    ("+52345678903", "the recipient of Bandwidth's own example of a refused country"),
    ("+10", "the shortest"),
    ("+123456789012345", "the longest: 15 digits"),
]

NOT_E164 = [
    ("", "empty"),
    ("+", "no digit"),
    ("+1", "one digit"),
    ("+1234567890123456", "16 digits"),
    ("12345678902", "no plus"),
    ("+02345678902", "a country code never begins with 0"),
    ("++12345678902", "two pluses"),
    ("+1 234 567 8902", "spaces"),
    ("+1-234-567-8902", "dashes"),
    (" +12345678902", "a space before"),
    ("+12345678902 ", "a space after"),
    ("+12345678902\n", "a line end, which $ would let pass"),
    ("+1234567890\N{ARABIC-INDIC DIGIT TWO}", "a digit that is not ASCII, which \\d would let pass"),
    ("\N{FULLWIDTH PLUS SIGN}12345678902", "a plus that is not ASCII"),
    ("+invalid", "what Bandwidth's own test sends"),
    ("tel:+12345678902", "a URI"),
]

SENDERS = [
    ("+12345678901", "a number"),
    ("2020", "a short code"),
    ("123456", "a longer short code"),
    ("Bandwidth", "an alphanumeric id"),
    ("A", "the shortest alphanumeric id"),
    ("Ab 1-+_&Z9z", "eleven characters, every allowed one"),
]

NOT_SENDERS = [
    ("", "empty"),
    ("+", "no letter"),
    ("+1", "neither a number nor an id with a letter"),
    ("+invalid", "what begins with a plus is meant as a number"),
    ("-_ &", "no letter"),
    ("12345678901", "neither a short code nor a number"),
    ("Twelve chars", "twelve characters"),
    ("Ünicode", "a letter that is not ASCII"),
    ("Acme!", "a character that is not allowed"),
    ("Acme\n", "a line end"),
    ("\N{ARABIC-INDIC DIGIT TWO}020", "a digit that is not ASCII"),
]


@pytest.mark.parametrize(("text", "what"), E164)
def test_a_number_has_a_plus_and_2_to_15_digits_of_which_the_first_is_not_0(text: str, what: str) -> None:
    assert is_e164(text), what


@pytest.mark.parametrize(("text", "why"), NOT_E164)
def test_nothing_else_is_a_number(text: str, why: str) -> None:
    assert not is_e164(text), why


@pytest.mark.parametrize(("text", "what"), SENDERS)
def test_a_sender_is_a_number_a_short_code_or_an_alphanumeric_id(text: str, what: str) -> None:
    assert is_sender(text), what


@pytest.mark.parametrize(("text", "why"), NOT_SENDERS)
def test_nothing_else_is_a_sender(text: str, why: str) -> None:
    assert not is_sender(text), why


def test_a_group_has_at_most_ten_recipients() -> None:
    assert MAX_RECIPIENTS == 10


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("+12345678902", ["+12345678902"]),
        (" 12345678902", ["+12345678902"]),
        ("+1 (234) 567-8902", ["+12345678902"]),
        ("1.234.567.8902\n", ["+12345678902"]),
        ("\u202a+1\u00a0(234)\u00a0567\u20118902\u202c", ["+12345678902"]),
        ("(234) 567-8902", ["+2345678902", "+12345678902"]),
        ("+2345678902", ["+2345678902"]),
        ("+44 20\u00a07946/0958", ["+442079460958"]),
        ("00 44 20 7946 0958", ["+442079460958"]),
        ("011 44 20 7946 0958", ["+442079460958"]),
        ("+00442079460958", []),
        ("0044", ["+44"]),
        ("", []),
        ("+", []),
        ("++12345678902", []),
        ("0234567890", []),
        ("1234567890123456", []),
        ("lunch-1", []),
        ("1795300147488bssu9wfcphe9qiay", []),
    ],
)
def test_a_number_is_known_however_people_write_it(written: str, numbers: list[str]) -> None:
    assert meant_by(written) == numbers


AS_PASTED = [
    ("\u200b+12345678902", "a zero width space before"),
    ("+1234\u200d5678902", "a zero width joiner inside"),
    ("+12345678902\u2060", "a word joiner behind"),
    ("\ufeff+12345678902", "a byte order mark"),
    ("+1234\u00ad567\u00ad8902", "soft hyphens"),
    ("+12345678902\ufe0d", "a variation selector"),
    ("1\ufe0f\u20e3 2\ufe0f\u20e33\ufe0f\u20e34 567 8902", "digits drawn as keys"),
    ("+1 234\u2212567\u22128902", "minus signs"),
    ("+1 234\uff0d567\ufe638902", "full-width and small hyphens"),
    ("+1 234\u2014567\u20158902", "dashes of every length"),
    ("\uff0b12345678902", "a full-width plus"),
    ("\uff0b\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff10\uff12", "full-width digits"),
    ("+\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669\u0660\u0662", "Arabic-Indic digits"),
    ("tel:+12345678902", "a link of a web page"),
    ("TEL:+1-234-567-8902;ext=7", "a link with a parameter"),
    ("sms://%2B12345678902", "a link that was escaped"),
    ("Tel.: +1 234 567 8902", "a letterhead"),
    ("+1 234 567 8902 ext. 7", "an extension"),
    ("+12345678902,", "a comma behind it"),
    ("+12345678902;", "a semicolon behind it"),
    ("+12345678902.", "a full stop behind it"),
    ("<+12345678902>", "angle brackets"),
    ("\u201c+12345678902\u201d", "curly quotes"),
    ("'+12345678902", "the apostrophe of a spreadsheet's text"),
    ('="+12345678902"', "a formula that keeps the plus"),
    ("12345678902.0", "an amount"),
    ("12,345,678,902", "an amount with separators"),
    ("12'345'678'902", "an amount as in Switzerland"),
    ("1.2345678902E+10", "an amount with all its digits"),
    ("\U0001f4de +1 234 567 8902", "a telephone before it"),
    ("+1\u3000234\u2007567\u202f8902", "blanks of other widths"),
    ("+1\u00b7234\u2022567\u30fb8902", "dots between"),
    ("[+1] 234 567 8902", "square brackets"),
]


@pytest.mark.parametrize(("written", "what"), AS_PASTED)
def test_a_pasted_number_is_read_as_the_eye_reads_it(written: str, what: str) -> None:
    assert "+12345678902" in meant_by(written), what


@pytest.mark.parametrize("written", ["+44 (0)20 7946 0958", "+44(0)2079460958", "00 44 (0)20 7946 0958"])
def test_the_0_that_is_dialled_inside_a_country_is_no_digit_of_the_number(written: str) -> None:
    assert meant_by(written) == ["+442079460958"]


@pytest.mark.parametrize(
    "written", ["1.23457E+10", "+12345678902 +12345678903", "12345678902a", "tel:", "\u200b", "%00"]
)
def test_what_lost_digits_or_holds_letters_is_no_number(written: str) -> None:
    assert meant_by(written) == []


@pytest.mark.parametrize(
    ("written", "country", "number"),
    [
        ("12345678902", "1", "+12345678902"),
        ("2345678902", "1", "+12345678902"),
        ("(234) 567-8902", "1", "+12345678902"),
        ("12345678902.0", "1", "+12345678902"),
        ("1.2345678902E+10", "1", "+12345678902"),
        ("+442079460958", "1", "+442079460958"),
        ("011 44 20 7946 0958", "1", "+442079460958"),
        ("442079460958", "44", "+442079460958"),
        ("+1 (234) 567-8902", None, "+12345678902"),
        ("\u200b+12345678902", None, "+12345678902"),
        ("12345678902", None, None),
        ("0012345678902", None, None),
        ("442079460958", "1", None),
        ("1345678902", "1", None),
        ("112345678902", "1", None),
        ("2079460958", "44", None),
        ("02079460958", "44", None),
        ("1.23457E+10", "1", None),
        ("44", "44", None),
        ("lunch", "1", None),
        ("+1 919 555 0101, 0102", None, None),
        ("+19195550101/02", None, None),
        ("+19195550101.5", None, None),
        ("+19195550101 2", None, None),
        ("+19195550101 12", None, None),
        ("+19195550101 ext. 12", None, None),
        ("9195550101 2", "1", None),
    ],
)
def test_a_number_without_its_plus_is_read_only_if_the_country_leaves_no_doubt(
    written: str, country: str | None, number: str | None
) -> None:
    assert written_for(written, country) == number


@pytest.mark.parametrize(
    ("written", "plus", "digits"),
    [
        ("12345678902", True, False),
        ("12345678902.0", True, False),
        ("1.23457E+10", False, True),
        ("1,23457E+10", False, True),
        ("+12345678902", False, False),
        ("12", False, False),
        ("lunch", False, False),
    ],
)
def test_what_a_spreadsheet_took_from_a_number_is_known(written: str, plus: bool, digits: bool) -> None:
    assert (lost_its_plus(written), lost_its_digits(written)) == (plus, digits)
