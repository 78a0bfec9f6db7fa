"""The benchmark of exact passes, tried on few rows: peers agree, ratios are taken within turns, what is missing is named."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import environments, exact_pass
from benchmarks.cells import CELLS
from benchmarks.evaluator import exact_passes, largest_difference
from benchmarks.pass_floors import floors_of, floors_text
from benchmarks.pass_summary import Case, lines_of
from benchmarks.pass_table import readme_table
from benchmarks.peer_process import passes_within
from benchmarks.processes import ROOT, ModuleFailed, answer_of, tree_peak_bytes, tree_processor_seconds
from benchmarks.standard import standard_mixture, standard_rows, true_start

PEERS = ROOT / "benchmarks" / "peers"


def measurement(seconds, **more):
    likeness = {"title": "T", "version": "1", "arithmetic": "float64", "own_start": False, "log_likelihood": -1.0}
    numbers = {"seconds_per_pass": seconds, "processor_seconds_per_pass": seconds, "peak_bytes": 1}
    return {**likeness, **numbers, "deviation": 0.0, "parameters_deviation": 0.0, **more}


def lines(cell="B", ours=((0.1, 0.2), (0.05, 0.1)), onedal=((1.0, 1.0), (0.2, 0.3)), dgemm=1e9):
    measured = {}
    for n_threads, mine, theirs in zip((1, 2), ours, onedal, strict=True):
        measured[Case("float64", n_threads, "streamgmm")] = [measurement(s) for s in mine]
        measured[Case("float64", n_threads, "onedal")] = [measurement(s) for s in theirs]
    roof = {"flops": dgemm, "copied_bytes_per_second": 1e9}
    return lines_of(CELLS[cell], measured, {("float64", n): [roof, roof] for n in (1, 2)})


def run_tiny(tmp_path, capsys, monkeypatch, *arguments):
    few_rows = ["--rows-share", "0.001", "--repeats", "1"]
    command = ["exact_pass", *few_rows, "--json", str(tmp_path / "r.json"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    code = exact_pass.main()
    return code, json.loads((tmp_path / "r.json").read_text()), capsys.readouterr().out


@pytest.mark.parametrize("rows_type", ["float64", "float32"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("name", ["streamgmm", "streamgmm_float32", "numpy", "sklearn"])
def test_peers_of_our_own_environment_agree_with_the_judge(name, covariance_type, rows_type):
    peer = importlib.import_module(f"benchmarks.peers.{name}_peer")
    mixture = standard_mixture(4, 3, seed=1)
    rows, start = standard_rows(mixture, 3000, seed=1).astype(rows_type), true_start(mixture, covariance_type)
    exact = peer.arithmetic(rows_type) == "float64"
    assert exact == (name == "streamgmm" or (rows_type == "float64" and name != "streamgmm_float32"))
    assert peer.supports(covariance_type, rows_type) == ""
    found = peer.fit(peer.prepare(rows, 2), start, 3, 2)
    assert largest_difference(found, exact_passes(rows, start, 3)) < (1e-12 if exact else 1e-3)


def test_the_command_measures_judges_and_shows(tmp_path, capsys, monkeypatch):
    code, report, out = run_tiny(
        tmp_path,
        capsys,
        monkeypatch,
        *["--cells", "C", "--threads", "1", "--types", "float64", "--peers", "streamgmm", "numpy"],
        *["--passes", "30", "--readme"],
    )
    part = report["parts"][0]
    assert part["left_out"] == []
    assert [line["peer"] for line in part["lines"]] == ["streamgmm", "numpy"]
    assert max(line["deviation"] for line in part["lines"]) < 1e-12
    assert min(line["peak_bytes"] for line in part["lines"]) > 10**7
    assert code == 0
    for text in ("## C: 8,960 x 6, K = 64, diag", "of the responsibilities", "## Floors", "| cell | peer |"):
        assert text in out
    monkeypatch.setattr(sys, "argv", ["exact_pass", "--from", str(tmp_path / "r.json"), "--readme"])
    assert exact_pass.main() == 0
    shown = capsys.readouterr().out
    assert shown.split() == out.split()


def test_ratios_are_taken_within_a_turn():
    by_case = {(line["peer"], line["threads"]): line for line in lines()}
    assert by_case["streamgmm", 1]["times"]["onedal"] == pytest.approx([7.5, 5.0, 10.0])
    assert by_case["onedal", 1]["times"]["onedal"] == [1, 1, 1]
    assert by_case["streamgmm", 2]["times"]["one_thread"] == pytest.approx([2, 2, 2])
    assert by_case["streamgmm", 2]["times"]["sklearn"] is None
    assert by_case["streamgmm", 2]["fastest_peer"] == "onedal"


def test_floors_are_met_not_met_or_not_measured():
    found = {(floor["threads"], floor["floor"]): floor["met"] for floor in floors_of(lines())}
    assert found[1, "4 x oneDAL"] is True
    assert found[2, "4 x oneDAL"] is False
    assert found[2, "60 x scikit-learn"] is None
    assert found[2, "1.85 x 1 thread"] is True
    assert found[1, "100% of dgemm"] is True
    assert (1, "1.85 x 1 thread") not in found
    text = floors_text(floors_of(lines()))
    assert all(f"| {word} |" in text for word in ("met", "NOT met", "not measured"))


@pytest.mark.parametrize(("dgemm", "met"), [(1e9, True), (1e15, False)])
def test_in_cell_d_one_of_two_is_enough(dgemm, met):
    slower = lines("D", onedal=((0.1, 0.2), (0.05, 0.1)), dgemm=dgemm)
    assert {floor["met"] for floor in floors_of(slower) if floor["floor"].startswith("1.5 x")} == {met}


def test_the_readme_has_a_line_for_each_cell_and_peer():
    part = {"cell": {**vars(CELLS["B"])}, "lines": lines()}
    body = readme_table([part]).splitlines()[2:]
    assert len(body) == 2
    assert body[0].startswith("| B: 1,000,000 x 6, K = 64, full | T 1 | 0.150 | 0.075 |")


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(tmp_path, capsys, monkeypatch):
    code, report, out = run_tiny(
        tmp_path,
        capsys,
        monkeypatch,
        *["--cells", "E", "--threads", "1", "--types", "float64", "--peers", "numpy", "onedal"],
        *["--python", f"onedal={tmp_path / 'nowhere'}"],
        *["--passes", "500"],  # of so few rows: fewer are not told from the noise of a busy machine, and refused
    )
    assert code == 0
    assert [line["peer"] for line in report["parts"][0]["lines"]] == ["numpy"], report["parts"][0]["left_out"]
    assert "Left out: onedal, float64: " in out
    assert "cannot be started" in out


def test_an_environment_that_cannot_be_made_is_a_reason(tmp_path, monkeypatch):
    def refuse(command):
        raise environments.NoEnvironment("no network")

    monkeypatch.setattr(environments, "_run", refuse)
    given = exact_pass.options(["--peers", "onedal", "numpy", "--environments", str(tmp_path)])
    assert exact_pass.interpreters(given) == ({"numpy": sys.executable}, {"onedal": "no network"})


def test_an_environment_is_made_once_and_shared_by_equal_pins(tmp_path, monkeypatch):
    commands = []

    def made(command):
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
        return "numpy==2\n"

    monkeypatch.setattr(environments, "_run", made)
    monkeypatch.setattr(environments, "_pip", lambda: ["pip"])
    first = environments.interpreter_of("spark", tmp_path)
    assert [command[-1] for command in commands] == [str(Path(first).parents[1]), str(PEERS / "spark.txt"), "freeze"]
    assert environments.interpreter_of("spark", tmp_path) == environments.interpreter_of("spark_rdd", tmp_path) == first
    assert len(commands) == 3
    assert environments.interpreter_of("onedal", tmp_path) != first


@pytest.mark.parametrize("path", sorted(PEERS.glob("*.txt")), ids=lambda path: path.stem)
def test_pins_are_exact_and_belong_to_a_peer(path):
    assert (PEERS / f"{path.stem}_peer.py").exists()
    pins = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)


def test_a_failing_process_tells_its_last_line():
    with pytest.raises(ModuleFailed, match=r"status 2: .*required"):
        answer_of("benchmarks.peer_process", [], 1, sys.executable, 60)


def test_measurements_fill_their_time():
    assert passes_within(2.0, 0.1) == 20
    assert passes_within(2.0, 3.0) == 2
    assert passes_within(2.0, 13.0) == 1
    assert passes_within(2.0, 1e-9) == 300


def test_memory_and_time_of_children_count():
    """The child holds 100 MB and works until it is told to end."""
    work = "t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    code = f"import sys, time\nx = bytearray(10**8)\n{work}\nprint(1, flush=True)\nsys.stdin.read()"
    memory, seconds = tree_peak_bytes(), tree_processor_seconds()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert tree_peak_bytes() > memory + 9 * 10**7
    assert tree_processor_seconds() > seconds + 0.2
    child.communicate()
    assert child.returncode == 0
