"""Files of messages: every way in which spreadsheets and programs write them, and what is said about the others."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from receiver.errors import WrongFile
from receiver.messages.files import FileFormat, Line, read_lines
from tests.support.builders import ALICE, BOB, CAROL

LUNCH = {"to": [ALICE], "text": "Lunch"}


def read(text: str | bytes, form: FileFormat = FileFormat.CSV, columns: Mapping[str, str] | None = None) -> list[Line]:
    body = text if isinstance(text, bytes) else text.encode()
    return list(read_lines(io.BytesIO(body), form, columns or {}))


def bodies(text: str | bytes, form: FileFormat = FileFormat.CSV, columns: Mapping[str, str] | None = None) -> list[Any]:
    lines = read(text, form, columns)
    assert [line.problem for line in lines] == [None] * len(lines)
    return [line.body for line in lines]


def problems(text: str | bytes, form: FileFormat = FileFormat.CSV) -> dict[int, str]:
    return {line.number: line.problem for line in read(text, form) if line.problem}


@pytest.mark.parametrize(
    "text",
    [
        f"to,text\n{ALICE},Lunch\n",
        f"to,text\n{ALICE},Lunch",
        f"to,text\r\n{ALICE},Lunch\r\n",
        f"to;text\n{ALICE};Lunch\n",
        f"to\ttext\n{ALICE}\tLunch\n",
        f"\ufeffto,text\n{ALICE},Lunch\n",
        f'\ufeff"to","text"\n"{ALICE}","Lunch"\n',
        f"\n\nto,text\n\n , \n{ALICE},Lunch\n,\n",
        f" To ,TEXT\n {ALICE} ,Lunch\n",
        f"text,to\nLunch,{ALICE}\n",
        f"to,text,from,media,applicationId,priority,expiration,reference,tag\n{ALICE},Lunch,,,,,,,\n",
    ],
)
def test_a_csv_file_reads_the_same_however_it_is_written(text: str) -> None:
    assert bodies(text) == [LUNCH]


@pytest.mark.parametrize(
    "text",
    [
        f"to\n{ALICE} {BOB} {CAROL}\n",
        f"to\n{ALICE};{BOB}; {CAROL};\n",
        f'to\n"{ALICE}\n{BOB}\n{CAROL}"\n',
        f"to,to\n{ALICE},{BOB} {CAROL}\n",
        f"to,to,to,to\n{ALICE},{BOB},,{CAROL}\n",
        f'to;to\n"{ALICE};{BOB}";{CAROL}\n',
    ],
)
def test_several_numbers_are_in_one_cell_or_in_several(text: str) -> None:
    assert bodies(text) == [{"to": [ALICE, BOB, CAROL]}]


@pytest.mark.parametrize(
    ("cell", "country"),
    [
        ("19195550101 19195550102", "1"),
        ("(919) 555-0101; 919-555-0102", "1"),
        ("919 555 0101\n919 555 0102", "1"),
        ("1.9195550101E+10;19195550102.0", "1"),
        ("+19195550101 19195550102", "1"),
        ("+1 919 555 0101 +1 (919) 555-0102", None),
        ("\u200b+19195550101 '+19195550102", None),
    ],
)
@pytest.mark.parametrize("form", [FileFormat.CSV, FileFormat.TSV])
def test_a_number_that_a_spreadsheet_wrote_is_read_if_there_is_no_doubt_which_it_is(
    cell: str, country: str | None, form: FileFormat
) -> None:
    tab = "," if form is FileFormat.CSV else "\t"
    text = f'to{tab}from\n"{cell}"{tab}123456\n'.encode()
    (line,) = read_lines(io.BytesIO(text), form, {}, country=country)
    assert line.body == {"to": ["+19195550101", "+19195550102"], "from": "123456"}


def test_the_country_counts_in_json_lines_and_for_the_sender_too() -> None:
    text = b'{"to": ["9195550101", "x", 7], "from": "19195550102"}\n{"to": "9195550101"}\n[1]'
    lines = read_lines(io.BytesIO(text), FileFormat.JSONL, {}, country="1")
    assert [line.body for line in lines] == [
        {"to": [ALICE, "x", 7], "from": "+19195550102"},
        {"to": "9195550101"},
        [1],
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_first_line_may_tell_excel_the_separator(separator: str, quote: str) -> None:
    text = f"{quote}sep={separator}{quote}\r\nto{separator}text\r\n{ALICE}{separator}Lunch\r\n"
    assert bodies(text) == [LUNCH]
    assert read(text)[0].number == 3


def test_a_tsv_file_is_separated_by_tabs_whatever_else_its_header_holds() -> None:
    columns = {"a,b,c": "text"}
    assert bodies(f"to\ta,b,c\n{ALICE}\tLunch\n", FileFormat.TSV, columns) == [LUNCH]


@pytest.mark.parametrize("form", FileFormat)
@pytest.mark.parametrize("begins", [b"PK\x03\x04\x14\x00", b"\xd0\xcf\x11\xe0\xa1"])
def test_a_workbook_must_be_saved_as_csv_whatever_it_is_called(begins: bytes, form: FileFormat) -> None:
    with pytest.raises(WrongFile, match="save it as CSV in UTF-8"):
        read(begins + b"\x00\xff\n", form)


def test_every_field_has_a_column_and_text_stays_as_it_is() -> None:
    header = "to,from,text,media,applicationId,priority,expiration,reference,tag"
    row = f'{ALICE},{BOB}," Lunch, ""noon"";\n ",https://a.example/1 https://a.example/2,app,high,2099-01-01T00:00:00Z,r,t'
    assert bodies(f"{header}\n{row}\n") == [
        {
            "to": [ALICE],
            "from": BOB,
            "text": ' Lunch, "noon";\n ',
            "media": ["https://a.example/1", "https://a.example/2"],
            "applicationId": "app",
            "priority": "high",
            "expiration": "2099-01-01T00:00:00Z",
            "reference": "r",
            "tag": "t",
        }
    ]


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("https://a.example/1;v=2", ["https://a.example/1;v=2"]),
        ("https://a.example/1;v=2 https://a.example/2", ["https://a.example/1;v=2", "https://a.example/2"]),
        ("https://a.example/p;http=1?a=1;b=2#c;d", ["https://a.example/p;http=1?a=1;b=2#c;d"]),
        ("https://a.example/1,2\thttps://a.example/2", ["https://a.example/1,2", "https://a.example/2"]),
        ("https://a.example/1;2\n\u00a0https://a.example/2", ["https://a.example/1;2", "https://a.example/2"]),
    ],
)
def test_media_are_separated_by_white_space_only_because_a_url_may_hold_a_semicolon(cell: str, urls: list[str]) -> None:
    assert bodies(f'to,media\n{ALICE},"{cell}"\n') == [{"to": [ALICE], "media": urls}]


@pytest.mark.parametrize(
    "cell",
    [
        "https://a.example/1;https://a.example/2",
        "https://a.example/1; HTTPS://a.example/2",
        "https://a.example/1 ;https://a.example/2",
        "https://a.example/1;",
        ";https://a.example/1",
    ],
)
def test_a_semicolon_that_was_to_separate_urls_is_reported_instead_of_sent_as_a_part_of_one(cell: str) -> None:
    (problem,) = problems(f"to,media\n{ALICE},{cell}\n").values()
    assert problem.startswith("media: Separate URLs with spaces, not semicolons")


def test_options_name_the_columns_that_are_called_otherwise() -> None:
    text = f"Phone,Message,Notes,Mobile\n{ALICE},Lunch,call me,{BOB}\n"
    columns = {"Phone": "to", "message": "text", "Notes": "", "Mobile": "to"}
    assert bodies(text, columns=columns) == [{"to": [ALICE, BOB], "text": "Lunch"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phone,text\n1,x\n", "'phone'"),
        (f"to,text,\n{ALICE},Lunch,\n", "''"),
        ("text,from\nx,1\n", "no column 'to'"),
        ("to,text,text\n1,x,y\n", "two columns for text"),
        (b"to,\xff\n1,x\n", "UTF-8"),
        ('"to\n1\n', "not CSV"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_with_a_sentence(text: str | bytes, said: str) -> None:
    with pytest.raises(WrongFile, match=said):
        read(text)


@pytest.mark.parametrize("form", FileFormat)
@pytest.mark.parametrize("text", ["", "\n\r\n \n", "\ufeff"])
def test_an_empty_file_has_no_line(text: str, form: FileFormat) -> None:
    assert read(text, form) == []


def test_a_line_is_numbered_by_where_it_begins() -> None:
    text = f'to,text\n\n{ALICE},"one\r\ntwo\n\nthree"\n\n{BOB},x\n'
    assert [line.number for line in read(text)] == [3, 8]


def test_every_line_that_is_no_csv_is_reported_and_the_others_are_read() -> None:
    lines = [b"to,text", b"1", b"1,x,y", b'1,"x"y', b"1,\xfc", b"1,x", b'1,"x']
    found = problems(b"\n".join(lines))
    assert sorted(found) == [2, 3, 4, 5, 7]
    assert "The number of cells is 1, but the header has 2" in found[2]
    assert "The number of cells is 3, but the header has 2" in found[3]
    assert "UTF-8" in found[5]


def test_json_lines_are_bodies_of_post_messages() -> None:
    text = '\ufeff{"to": ["1"], "text": "\\u00fc"}\r\n\r\n  {"to": "1"}\n42'
    assert bodies(text, FileFormat.JSONL) == [{"to": ["1"], "text": "ü"}, {"to": "1"}, 42]
    assert [line.number for line in read(text, FileFormat.JSONL)] == [1, 3, 4]


def test_every_line_that_is_no_json_is_reported_and_the_others_are_read() -> None:
    lines = [b"{}", b'{"to": }', b"{} {}", b"NaN", b"\xff", b"{}", b"[" * 100_000]
    assert problems(b"\n".join(lines), FileFormat.JSONL) == {
        2: "Not JSON at character 8: a value is missing, or text without double quotes.",
        3: "Not JSON at character 4: there is extra text after its end; remove it.",
        4: "Not JSON at character 1: NaN is not a JSON number; write null or leave the field out.",
        5: "Not UTF-8; save the file in UTF-8.",
        7: "Nested too deeply; use fewer levels.",
    }
