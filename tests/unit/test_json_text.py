"""What is said of a body that is not JSON: which mistake it is, and where."""

import gzip
import zlib
from json import JSONDecodeError
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.core.json_text import DECODER, explain, find_fault

MISTAKES = {
    b"": "The body is empty; send JSON.",
    b" \r\n": "The body is empty; send JSON.",
    b"to=%2B19195550101&text=x": "The body is a form; send JSON.",
    b"to[]=x": "The body is a form; send JSON.",
    b"--x-1\r\nContent-Disposition: form-data": "The body is a form; send JSON.",
    b"\n<message/>": "The body is XML or HTML; send JSON.",
    gzip.compress(b"{}", mtime=0): "The body is compressed (gzip); send it as it is, without Content-Encoding.",
    zlib.compress(b"{}"): "The body is compressed (deflate); send it as it is, without Content-Encoding.",
    b"\xef\xbb\xbf{}": "The body begins with a byte order mark (BOM); send it without.",
    '{"a": 1}'.encode("utf-16"): "The body is in UTF-16; send it in UTF-8.",
    '{"a": 1}'.encode("utf-16-le"): "The body is in UTF-16; send it in UTF-8.",
    '{"a": 1}'.encode("utf-16-be"): "The body is in UTF-16; send it in UTF-8.",
    "[]".encode("utf-32"): "The body is in UTF-32; send it in UTF-8.",
    '{"a":\n"ü"}'.encode("latin-1"): "The body is not UTF-8 at line 2, column 2; send it in UTF-8.",
    b'{"a": "\xed\xa0\x80"}': "The body is not UTF-8 at line 1, column 8; send it in UTF-8.",
    b"[" * 100_000: "The body is nested too deeply; send fewer levels.",
}
"""What is wrong with a body as a whole."""

FAULTS = {
    '{"a": [1,],\n "b": 2}': (1, 9, "an extra comma"),
    '{"a": 1,\n}': (1, 8, "an extra comma"),
    '[{"a": 1},\r\n\r\n]': (1, 10, "an extra comma"),
    '{"a": 1,, "b": 2}': (1, 8, "an extra comma"),
    "[,1]": (1, 2, "an extra comma"),
    '{"a": 1\n "b": 2}': (2, 2, "a comma is missing"),
    '{"a" 1}': (1, 6, "a colon is missing"),
    '{"a": }': (1, 7, "a value is missing"),
    '{"a": hello}': (1, 7, "without double quotes"),
    "{a: 1}": (1, 2, "a field's name"),
    "{'a': 1}": (1, 2, "double quotes, not single"),
    "'{}'": (1, 1, "double quotes, not single"),
    '{"a": \u201cx\u201d}': (1, 7, "straight quotes, not curly"),
    '{"a": True}': (1, 7, "write true, not True"),
    '{"a": [None]}': (1, 8, "write null, not None"),
    '{"a": 1} // one': (1, 10, "a comment"),
    '{"ü": "ü", /* two */ "b": 1}': (1, 12, "a comment"),
    '{"a": "x\ny"}': (1, 9, "a line break"),
    '{"a": "x\x00"}': (1, 9, "control character"),
    r'{"a": "C:\dir"}': (1, 10, "an unknown escape"),
    '{"a": 1} {"a": 2}': (1, 10, "extra text after its end"),
    '{"a": 1}\n{"a": 2}\n': (2, 1, "extra text after its end"),
    '{"a": [1': (1, 9, "its end is missing"),
    '{"a": 1\n': (2, 1, "its end is missing"),
    '{"a":\n "x': (2, 4, "the string that begins at line 2, column 2 has no end"),
    '{"a": "NaN",\n "b": NaN}': (2, 7, "NaN is not a JSON number"),
    '["\\"Infinity", -Infinity]': (1, 16, "-Infinity is not a JSON number"),
}
"""What is wrong at a line and column."""


def explained(body: bytes) -> str:
    with pytest.raises((ValueError, RecursionError)) as raised:
        DECODER.decode(body.decode())
    error: Any = raised.value
    return explain(body, error)


@pytest.mark.parametrize(("body", "said"), MISTAKES.items(), ids=lambda value: repr(value)[:40])
def test_a_body_that_is_something_else_is_named(body: bytes, said: str) -> None:
    assert explained(body) == said


@pytest.mark.parametrize(("text", "fault"), FAULTS.items(), ids=lambda value: repr(value)[:40])
def test_a_mistake_is_reported_with_its_line_and_column(text: str, fault: tuple[int, int, str]) -> None:
    line, column, words = fault
    said = explained(text.encode())

    assert said.startswith(f"The body is not JSON at line {line}, column {column}: ")
    assert words in said


def test_a_comma_too_many_is_found_where_newer_versions_of_python_see_it() -> None:
    text = '{"a": 1 , }'

    assert find_fault(text, JSONDecodeError("Illegal trailing comma before end of object", text, 8)) == (
        "an extra comma; remove it",
        8,
    )


@given(body=st.binary(max_size=60) | st.text("[]{},:\"'\\ \n+a1=<NaTrue\ufeff\u201c", max_size=20).map(str.encode))
@example(body=b"\xef\xbb\xbf\xc3")
@example(body=b"\x00")
def test_whatever_the_body_is_the_answer_is_a_sentence_that_does_not_repeat_it(body: bytes) -> None:
    try:
        DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        said = explain(body, error)
        assert said.startswith("The body ")
        assert said.endswith(".")


@pytest.mark.parametrize("body", [b'{"text": "secret', b'{"text": secret}', b"{'text': 'secret'}", b"secret=secret"])
def test_what_is_written_there_is_never_repeated(body: bytes) -> None:
    assert "secret" not in explained(body)
