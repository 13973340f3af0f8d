import re
from dataclasses import FrozenInstanceError

import pytest

from receiver.bandwidth import error_codes
from receiver.bandwidth.error_codes import ERROR_CODES, RANGES, ErrorCode, explain
from receiver.core.events import MAX_ERROR_CODE

BY_RANGE = {
    "Bandwidth client": range(4000, 4700),
    "carrier client": range(4700, 4800),
    "Bandwidth service": range(5000, 5600),
    "carrier service": range(5600, 5700),
    "ambiguous": range(9000, 10000),
}
OUT_OF_RANGE = {5999: "Bandwidth service"}
INVALID_RECIPIENT = (4303, 4350, 4404, 4406, 4408, 4720, 4721)
OPTED_OUT = (4475, 4775)
WITHOUT_A_PRINTED_NAME = {4121, 5112, 5143, 5144, 5146, 5229, 5503}
WITHOUT_A_PRINTED_PRICE = {4475, 4476, 4710, 4735, 4754, 4794, 5229}


def by_range(code: int) -> str:
    return next((category for category, codes in BY_RANGE.items() if code in codes), "unknown")


def assert_reason_and_advice_are_a_sentence_each(row: ErrorCode) -> None:
    for sentence in (row.reason, row.advice):
        assert re.fullmatch(r"[A-Z][^.!?\n]*\.", sentence), sentence
    assert len(row.reason + row.advice) <= 140, row


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_row_is_well_formed(code: int) -> None:
    row = ERROR_CODES[code]
    assert row.code == code
    assert 1000 <= code <= 9999
    assert row.name is None or re.fullmatch(r"[a-z][a-z_-]+", row.name)
    assert row.billable in (True, False, None)
    assert_reason_and_advice_are_a_sentence_each(row)


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_the_category_of_a_row_is_that_of_its_range(code: int) -> None:
    assert ERROR_CODES[code].category == OUT_OF_RANGE.get(code, by_range(code))


def test_no_code_stands_in_two_rows() -> None:
    codes = [row.code for row in error_codes.read_table()]
    assert len(codes) == len(set(codes)) == len(ERROR_CODES)


def test_only_codes_that_bandwidth_never_named_have_no_name() -> None:
    assert {code for code, row in ERROR_CODES.items() if row.name is None} == WITHOUT_A_PRINTED_NAME


def test_only_codes_of_lists_without_prices_have_no_price() -> None:
    assert {code for code, row in ERROR_CODES.items() if row.billable is None} == WITHOUT_A_PRINTED_PRICE


def test_bandwidth_bills_carrier_refusals_and_not_its_own() -> None:
    billed = {code for code, row in ERROR_CODES.items() if row.billable}
    assert {code for code in billed if ERROR_CODES[code].category == "Bandwidth client"} == {4121, 4470}
    assert not any(ERROR_CODES[code].category == "Bandwidth service" for code in billed)
    free = {code for code, row in ERROR_CODES.items() if row.billable is False}
    assert {ERROR_CODES[code].category for code in free} == {"Bandwidth client", "Bandwidth service"}


@pytest.mark.parametrize("code", INVALID_RECIPIENT)
def test_an_invalid_number_is_to_be_removed_or_corrected(code: int) -> None:
    assert "Remove or correct this number" in explain(code).advice
    assert "send again" not in explain(code).advice


@pytest.mark.parametrize("code", OPTED_OUT)
def test_after_an_opt_out_nothing_more_is_sent(code: int) -> None:
    assert "Stop sending" in explain(code).advice
    assert "again" not in explain(code).advice


def test_a_limit_of_a_day_is_waited_for_until_the_next() -> None:
    assert "the next day" in explain(4780).advice


def test_invalid_barred_and_opted_out_numbers_leave_the_lists_and_no_other() -> None:
    assert {code for code, row in ERROR_CODES.items() if row.remove_number} == {
        *INVALID_RECIPIENT,
        *OPTED_OUT,
        4482,
        4492,
    }
    assert not any(explain(codes.start).remove_number for codes, *_ in RANGES if codes.start not in ERROR_CODES)


def test_every_code_is_in_one_range() -> None:
    assert [code for codes, *_ in RANGES for code in codes] == list(range(MAX_ERROR_CODE + 1))


@pytest.mark.parametrize("code", [*ERROR_CODES, *range(4000, 10000, 37), 0, 99999])
def test_whoever_may_send_again_sends_to_the_failed_recipient_alone(code: int) -> None:
    advice = explain(code).advice
    if re.search(r"\bsend(ing)?\b.*\bagain\b", advice, re.IGNORECASE) and "Do not send the same again" not in advice:
        assert "alone" in advice


@pytest.mark.parametrize("code", [code for code in ERROR_CODES if code // 100 in (56, 99)])
def test_what_a_carrier_may_have_delivered_is_sent_again_once_at_most(code: int) -> None:
    assert "once at most" in explain(code).advice


@pytest.mark.parametrize(
    ("code", "category"),
    [
        (4000, "Bandwidth client"),
        (4699, "Bandwidth client"),
        (4799, "carrier client"),
        (5000, "Bandwidth service"),
        (5599, "Bandwidth service"),
        (5601, "carrier service"),
        (5699, "carrier service"),
        (9000, "ambiguous"),
        (9901, "ambiguous"),
        (9998, "ambiguous"),
        (0, "unknown"),
        (1, "unknown"),
        (100, "unknown"),
        (3999, "unknown"),
        (4800, "unknown"),
        (4999, "unknown"),
        (5700, "unknown"),
        (5998, "unknown"),
        (6000, "unknown"),
        (8999, "unknown"),
        (10000, "unknown"),
        (99999, "unknown"),
    ],
)
def test_a_code_in_no_list_is_classified_by_its_range(code: int, category: str) -> None:
    row = explain(code)
    assert (row.code, row.name, row.category, row.billable) == (code, None, category, None)
    assert category == by_range(code)
    assert_reason_and_advice_are_a_sentence_each(row)


def test_a_known_code_is_explained_by_its_row() -> None:
    assert explain(4432) is ERROR_CODES[4432]
    assert explain(4432).name == "rejected-forbidden-country"


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ERROR_CODES[1] = explain(1)  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        explain(4432).advice = "Never mind."  # type: ignore[misc]
