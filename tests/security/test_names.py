"""Threat rows S25 and S26: names of columns and files stay text: one line, no escape sent, nothing read as markup."""

import io
import json
import re

import pytest

from streamgmm import commands
from streamgmm.commands.where import Where
from streamgmm.events import Event
from streamgmm.initialisers._sample import draw_sample
from streamgmm.model_file import load_model
from streamgmm.observers.json_lines import JsonLines
from streamgmm.observers.plain_lines import PlainLines
from streamgmm.observers.progress_bar import ProgressBar
from streamgmm.picture import save_picture
from streamgmm.sources import open_source
from tests.running import Shell, survey_rows, write_store

FIT = ("-k", 2, "--init", "random", "--max-iter", 2, "--executor", "serial")
NAMES = {
    "newline": "mag\nwarning: forged line",
    "escape": "mag\x1b[2J\x1b]0;owned\x07",
    "carriage return": "mag\rforged",
    "script": "<script>alert(1)<script>",
    "image": "<img src=x onerror=alert(1)>",
    "markup": "[bold red]mag[link=https:evil]",
    "dollars": "$x_{1}^2$ mag",
    "right to left": "mag\u202egam",
    "zero width": "m\u200bag",
    "C1 control": "mag\x9b2J",
    "separator": "mag\u2028forged",
}
RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e]")  # all controls but the end of a line

hostile = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


def store_with(folder, name):
    """A store whose column has a name that our own writer would refuse."""
    store = write_store(folder / "stars.zarr", survey_rows(300))
    (store / "mag").rename(store / name)
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["columns"] = ["pm_ra", "pm_dec", name]
    (store / "zarr.json").write_text(json.dumps({key: document[key] for key in ("zarr_format", "node_type", "attributes")}))
    return store


@pytest.fixture(scope="module", params=NAMES.values(), ids=NAMES)
def fitted(request, tmp_path_factory):
    """A hostile name, a store with such a column, and a run that fitted it."""
    folder = tmp_path_factory.mktemp("named")
    store = store_with(folder, request.param)
    commands.fit(store, folder / "run", n_components=2, init="random", max_iter=2, where=Where(executor="serial"))
    return request.param, store, folder / "run"


def test_s25_s26_output_is_text(fitted, tmp_path, capsys):
    """Every verb that shows names; each on a line that it does not leave."""
    (_, store, run), shell = fitted, Shell(capsys)
    for arguments in (
        ("inspect", store),
        ("plan", store, "-k", 2),
        ("fit", store, "--run", tmp_path / "run", *FIT),
        ("inspect", run, "--correlations"),
        ("score", run, store, "--executor", "serial"),
        ("sample", run, "-n", 2),
        ("fit", store, "--run", tmp_path / "x", "--features", "absent", *FIT),
    ):
        code, out, err = shell(*arguments)
        assert code in (0, 4), err
        assert not RAW.search(err)
        if arguments[0] != "sample":  # its output is a CSV file, which quotes what it must
            assert not RAW.search(out)
            assert not any(line.startswith(("forged", "warning: forged")) for line in (out + err).splitlines())


def test_s25_logs_are_one_line_an_event(fitted):
    lines = (fitted[2] / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["kind"] for line in lines)
    assert not RAW.search("".join(lines))


@hostile
@pytest.mark.parametrize("kind", ["warning", "start", "floor", "finish", "skipped"])
def test_s25_observers_escape_what_events_say(name, kind):
    event = Event(kind, f"component 3 falls along {name}", {"column": name, "task": name})
    for make in (PlainLines, JsonLines, ProgressBar):
        stream = io.StringIO()
        with make(stream) as observer:
            observer(event)
            observer(Event("reading", name, {"task": name, "rows": 1, "of": 2, "seconds": 1.0}))
        written = stream.getvalue()
        assert "\x1b[2J" not in written
        assert "\x07" not in written
        assert not any(line.startswith(("forged", "warning: forged")) for line in written.splitlines())
        if make is not ProgressBar:
            assert not RAW.search(written)
            assert all(len(line) > 10 for line in written.splitlines())


def test_s26_a_picture_shows_names_as_text(fitted, tmp_path):
    """A name with dollars is no formula, and one with anything else is no error."""
    name, store, run = fitted
    path = save_picture(tmp_path / "p.png", load_model(run / "model.zarr"), draw_sample(open_source(store), 0), title=name)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert RAW.search(name) is None or name.encode() not in path.read_bytes()
