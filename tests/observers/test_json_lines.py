"""events.jsonl: strict JSON, one object a line, appended, whole lines whatever happened before."""

import io
import json
import math

from streamgmm.events import Event
from streamgmm.observers.json_lines import JsonLines


def records(path):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_event_is_a_line_with_its_time(tmp_path):
    path = tmp_path / "events.jsonl"
    with JsonLines(path, lambda: 0.0) as log:
        log(Event("pass", "pass 1", {"pass": 1, "log_likelihood": -2.5, "change": None}))
    assert records(path) == [
        {"time": "1970-01-01T00:00:00.000+00:00", "kind": "pass", "message": "pass 1", "pass": 1, "log_likelihood": -2.5, "change": None}
    ]


def test_the_file_is_there_after_each_event_and_not_before_the_first(tmp_path):
    path = tmp_path / "events.jsonl"
    log = JsonLines(path)
    assert not path.exists()
    for n in (1, 2):
        log(Event("pass", f"pass {n}"))
        assert len(records(path)) == n  # flushed: whoever looks on sees it
    log.close()


def test_a_resumed_run_appends(tmp_path):
    path = tmp_path / "events.jsonl"
    for n in (1, 2):
        with JsonLines(path) as log:
            log(Event("pass", f"pass {n}"))
    assert [record["message"] for record in records(path)] == ["pass 1", "pass 2"]


def test_half_a_line_of_a_killed_process_stays_one_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "pass"}\n{"kind": "pa', encoding="utf-8")
    with JsonLines(path) as log:
        log(Event("start", "again"))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1] == '{"kind": "pa'
    assert json.loads(lines[2])["message"] == "again"


def test_numbers_that_json_lacks_become_text(tmp_path):
    path = tmp_path / "events.jsonl"
    with JsonLines(path) as log:
        log(Event("floor", "x", {"value": math.nan, "nested": {"list": [math.inf, 1]}}))
    (record,) = records(path)
    assert (record["value"], record["nested"]) == ("nan", {"list": ["inf", 1]})


def test_within_a_pass_a_line_every_ten_seconds():
    stream, times = io.StringIO(), iter(range(100))
    log = JsonLines(stream, lambda: float(next(times)))
    for rows in range(31):
        log(Event("reading", "", {"pass": 1, "rows": rows}))
    assert len(stream.getvalue().splitlines()) == 4


def test_a_clock_that_jumps_back_stops_nothing():
    stream, times = io.StringIO(), iter([1e9, 0.0, 1.0])
    log = JsonLines(stream, lambda: float(next(times)))
    for _ in range(3):
        log(Event("reading", "", {"pass": 1, "rows": 1}))
    assert len(stream.getvalue().splitlines()) == 2


def test_lines_that_cannot_be_written_are_counted_and_end_nothing(tmp_path):
    """Promise P17: a full disk must not end a fit because of its log."""
    path = tmp_path / "later" / "events.jsonl"
    with JsonLines(path) as log:
        for number in range(3):
            log(Event("pass", f"pass {number}"))
        path.parent.mkdir()
        log(Event("pass", "pass 3"))
        log(Event("pass", "pass 4"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["message"], line.get("lost")) for line in lines] == [("pass 3", 3), ("pass 4", None)]
