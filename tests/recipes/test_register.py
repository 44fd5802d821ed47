"""recipes/utils: a small run takes no full run's name, and two runs in one folder wait for each other."""

import os
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

from ia3_speech import attach, save_adapter
from ia3_speech.adapters.record import PEFT_WEIGHTS
from ia3_speech.model import ia3

ROOT = Path(__file__).parents[2]


def environment(home: Path) -> dict[str, str]:
    path = f"{ROOT}/recipes/utils:{Path(sys.executable).parent}:{os.environ['PATH']}"
    places = {"IA3_SPEECH_ROOT": str(ROOT), "IA3_SPEECH_START_DIR": str(home), "PYTHONPATH": str(ROOT)}
    return os.environ | {"PATH": path, "IA3_SPEECH_HOME": str(home)} | places


def test_a_small_run_takes_no_full_runs_name(tmp_path, tiny_base):
    for name, number in (("full", 1.5), ("small", 2.0)):
        base = tiny_base()
        attach(base.model)
        for vector in ia3.vectors(base.model).values():
            vector.l.data.fill_(number)
        save_adapter(base.model, tmp_path / name, base=base)
    script = """
    register.sh full medical full
    register.sh small medical small name; register.sh small other small
    register.sh full other full
    """
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
    )
    store = tmp_path / "home/adapters"
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "medical", "medical_small", "other", "other",
    ], done.stderr  # fmt: skip
    assert (tmp_path / "name").read_text() == "medical_small\n"
    made = {name: load_file(store / name / PEFT_WEIGHTS) for name in ("medical", "medical_small", "other")}
    assert {name: float(next(iter(one.values())).max()) for name, one in made.items()} == {
        "medical": 1.5, "medical_small": 2.0, "other": 1.5,
    }  # fmt: skip


def test_two_runs_in_one_folder_wait_for_each_other(tmp_path):
    script = ". lock.sh exp; sleep 1; echo done"
    command = ["bash", "-euc", script]
    options = {"cwd": tmp_path, "env": environment(tmp_path), "stdout": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, **options)
    time.sleep(0.3)
    second = subprocess.Popen(command, **options)
    assert [run.communicate()[0] for run in (first, second)] == [
        "done\n", "waiting for another run that is still at work in exp\ndone\n",
    ]  # fmt: skip
