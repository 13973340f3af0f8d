import pytest

from receiver.core.numbers import MAX_RECIPIENTS, is_e164, is_sender, meant_by

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
