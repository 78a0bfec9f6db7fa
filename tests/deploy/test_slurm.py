"""The SLURM script, run with stand-ins for SLURM's own commands: it requeues on 75 and on nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "slurm" / "streamgmm.sbatch"


@pytest.fixture
def slurm(tmp_path):
    """Runs the script with a `streamgmm` that exits as told; returns (exit code, what was called)."""
    log = tmp_path / "log"
    for name, body in {
        "srun": 'shift; "$@"',  # without --ntasks
        "streamgmm": 'printf "streamgmm|%s\\n" "$(IFS="|"; echo "$*")" >>"$LOG"; exit "$CODE"',
        "scontrol": 'echo "scontrol $*" >>"$LOG"',
    }.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)

    def run(code, *arguments, **variables):
        told = {"LOG": str(log), "CODE": str(code), "SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", str(SCRIPT), *arguments], env=told | variables, capture_output=True, text=True, check=False)
        return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr

    return run


def test_words_reach_the_command_whole(slurm):
    code, called, _ = slurm(0, "-k", "16", STORE="a store.zarr", RUN="run", FEATURES="pmra,pmdec", SLURM_CPUS_PER_TASK="4")
    assert code == 0
    assert called == ["streamgmm|fit|a store.zarr|--features|pmra,pmdec|--run|run|--threads|4|-k|16"]


def test_a_stopped_fit_is_queued_again(slurm):
    code, called, _ = slurm(75, STORE="s", RUN="r")
    assert code == 75
    assert called[-1] == "scontrol requeue 7"


@pytest.mark.parametrize("failed", [1, 4, 8])
def test_a_failed_fit_is_not(slurm, failed):
    code, called, _ = slurm(failed, STORE="s", RUN="r")
    assert code == failed
    assert not any(line.startswith("scontrol") for line in called)


def test_a_missing_path_is_named(slurm):
    code, called, said = slurm(0, RUN="r")
    assert code != 0
    assert called == []
    assert "STORE" in said
