"""scripts/: each script starts, and a benchmark replaces its own section of a page."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Modules of the others
NOT_COMMANDS = ("benchmark", "espeak", "onnx_asr_model", "site_pages", "whisper_transplant")
COMMANDS = [file for file in sorted((ROOT / "scripts").rglob("*.py")) if file.stem not in NOT_COMMANDS]


@pytest.mark.parametrize("script", COMMANDS, ids=lambda file: file.stem)
def test_a_script_starts(script, run_command, monkeypatch):
    for module in ("peft", "onnxruntime"):
        pytest.importorskip(module)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.syspath_prepend(str(ROOT / "scripts/mini"))
    done = run_command(script, "--help")
    assert done.code == 0 and "usage:" in done.out


def test_a_benchmark_runs_and_replaces_its_own_section(run_command, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    page = tmp_path / "page.md"
    options = ["--base=tiny", "--rows=2", "--repeats=1", "--loaded=2", "--filled-adapters=0", "--out", page]
    for seconds in (1, 1, 2):  # not --threads, which would hold for this process's other tests
        done = run_command(ROOT / "scripts/bench_bank.py", *options, "--seconds", seconds)
        assert done.code == 0
    text = page.read_text()
    assert text.startswith("# Many adapters at once\n")
    assert text.count(f"\n`python {ROOT}/scripts/bench_bank.py --base=tiny") == 2
    assert text.count("| one adapter attached |") == 2 and "--out" not in text


def test_a_batch_of_training_speech_for_mini(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.syspath_prepend(str(ROOT / "scripts/mini"))
    speech = pytest.importorskip("mini_base_speech")
    material = speech.TrainingSpeech([], ["no fever and no cough"], seed=1, batch_seconds=10)
    waves, lengths, labels = material.batch(0)
    assert waves.shape == (len(labels), lengths.max()) and waves.isfinite().all() and len(labels) > 1
