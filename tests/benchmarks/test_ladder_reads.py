"""The benchmark of ladders counts reads and bytes right, and says what does not hold."""

import pytest

from benchmarks.ladder_process import Meter
from benchmarks.ladder_reads import complaints, options, store_of, table
from streamgmm import open_source
from streamgmm.events import Event


def process(turns=((10, 1, 1, 1000),) * 4, **changes):
    reads = [{"blocks": blocks, "most": most, "least": least, "bytes": n} for blocks, most, least, n in turns]
    return {
        "contenders": 96,
        "passes": len(reads) - 1,
        "blocks": 10,
        "winner": 8,
        "peak_bytes": 300_000_000,
        "peak_bytes_of_imports": 200_000_000,
        "seconds": 1.0,
        "reads": reads,
        **changes,
    }


def found(many, stored=400_000_000):
    return {"one": process(contenders=1), "many": many, "stored_bytes": stored, "table_bytes": 420_000_000}


@pytest.mark.parametrize(
    ("many", "stored", "said"),
    [
        (process(((10, 2, 1, 1000), *(((10, 1, 1, 1000),) * 3))), 4e8, "did not read each of 10 blocks once"),
        (process(((9, 1, 1, 1000), *(((10, 1, 1, 1000),) * 3))), 4e8, "did not read each of 10 blocks once"),
        (process(passes=4), 4e8, "did not read each"),
        (process(((10, 1, 1, 2000),) * 4), 4e8, "the ladder read 8,000 bytes, one fit 4,000"),
        (process(peak_bytes=600_000_000), 5e8, "400 MB beyond the imports"),
        (process(), 2e8, "not larger than the budget"),
        (process(winner=9), 4e8, "BIC chooses K = 9"),
    ],
)
def test_each_fault_is_said(many, stored, said):
    (line,) = complaints(found(many, stored), options([]))
    assert said in line


def test_nothing_is_said_of_what_holds():
    assert not complaints(found(process()), options([]))
    assert "| the ladder | 96 | 3 | 10 | 1 |" in table(found(process()))


def test_blocks_and_bytes_of_a_pass_are_counted(tmp_path, monkeypatch):
    place = store_of(tmp_path, 100_000)
    source = open_source(place)
    monkeypatch.setattr(type(source), "load", type(source).load)  # given back afterwards
    meter = Meter(source, place)
    source.read(0)
    meter.observe(Event("start", "sampled"))
    for index in (0, 1, 1):
        source.read(index)
    meter.observe(Event("pass", "pass 1"))
    (turn,) = meter.passes
    assert (turn["blocks"], turn["most"], turn["least"]) == (2, 2, 1)
    fresh = open_source(place)
    fresh.read(0)
    meter.turn()
    assert meter.passes[-1]["bytes"] > 100_000 * 4 * 8 / 2, "random numbers hardly compress"
    (tmp_path / "beside").write_bytes(bytes(5))
    (tmp_path / "beside").read_bytes()
    meter.turn()
    assert meter.passes[-1]["bytes"] == 0, "a file beside the store is none of it"
