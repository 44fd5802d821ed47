"""scripts/bench_training.py: what its tables say of runs."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    return importlib.import_module("bench_training")


def test_the_tables(bench):
    """Rates are compared with PEFT's as documented, and ours with the bare loop of the same placements."""
    by_name = {system.name: system for system in bench.SYSTEMS}
    names = (
        "PEFT's IA³, Trainer, fp32",
        "ours, PEFT's placements, bf16",
        "a bare loop, PEFT's placements, bf16",
    )
    seconds = ([10.0, 10.0], [5.0, 2.5], [2.0, 2.0])
    wers = ([0.5, 0.4, 0.45], [0.6, 0.4, 0.3], [0.6, 0.5, 0.41])
    runs = {
        by_name[name]: bench.Run(100.0, took, wer, 1234, bench.MIB)
        for name, took, wer in zip(names, seconds, wers, strict=True)
    }
    assert bench.speed_table("mini", runs).splitlines()[-3:] == [
        "| PEFT's IA³, Trainer, fp32 | 1,234 | 10.0 s | 10.0 s | 1.00 |  | 1 |",
        "| ours, PEFT's placements, bf16 | 1,234 | 20.0 s | 40.0 s | 4.00 | 1.25 | 1 |",
        "| a bare loop, PEFT's placements, bf16 | 1,234 | 50.0 s | 50.0 s | 5.00 |  | 1 |",
    ]
    table = bench.race_table(runs, bench.Options(Path("train"), Path("dev"))).splitlines()
    assert table[0] == "## mini, 30 utterances, until dev's word error rate is 40.0%"
    assert table[-3:] == [
        "| PEFT's IA³, Trainer, fp32 | 20.0 | 1.00 | 50.0%, 40.0%, 45.0% |",
        "| ours, PEFT's placements, bf16 | 7.5 | 2.67 | 60.0%, 40.0%, 30.0% |",
        "| a bare loop, PEFT's placements, bf16 | not reached |  | 60.0%, 50.0%, 41.0% |",
    ]


def test_the_table_of_operations(bench):
    run = bench.Run(10.0, [9.0, 2.0], kinds={"GELU": 0.25, "other": 1.5})
    lines = bench.profile_table("mini", {bench.PROFILED[0]: run}).splitlines()
    assert lines[2] == "| ms a second of audio | PEFT's IA³, Trainer, fp32 |"
    assert "| GELU | 25.0 |" in lines and "| norms | 0.0 |" in lines
    assert lines[-2:] == ["| all operations | 175.0 |", "| the epoch | 200.0 |"]
