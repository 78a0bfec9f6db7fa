"""How numbers and foreign text are put into messages."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.wording import human_bytes, human_number, human_seconds, one_line, redacted_words, strict_values


@given(st.text())
def test_one_line_is_printable_and_leaves_plain_text(text):
    found = one_line(text)
    assert found.isprintable()
    assert found == text or not text.isprintable()
    assert one_line(found) == found


@pytest.mark.parametrize(("n", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (2.4e9, "2.4 GB"), (3e18, "3e+03 PB")])
def test_bytes(n, said):
    assert human_bytes(n) == said


@pytest.mark.parametrize(("x", "said"), [(0, "0"), (12.345, "12.3"), (1_234_567, "1.23 M"), (-5e9, "-5 G"), (math.inf, "inf")])
def test_numbers(x, said):
    assert human_number(x) == said


@pytest.mark.parametrize(("seconds", "said"), [(-1, "0 s"), (0.2, "1 s"), (59, "59 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")])
def test_times(seconds, said):
    assert human_seconds(seconds) == said


def test_user_names_and_passwords_of_urls_are_not_told():
    assert (
        redacted_words("no store at s3://key:secret@bucket/x, nor at https://h/y@z")
        == "no store at s3://***@bucket/x, nor at https://h/y@z"
    )


def test_plain_values_for_strict_json():
    assert strict_values({1: (math.nan, math.inf, 0.5), "a": [None, True, 3, "x", object]}) == {
        "1": ["nan", "inf", 0.5],
        "a": [None, True, 3, "x", "<class 'object'>"],
    }
