"""recipes/*.sh: what is refused, and runs in one folder wait for each other."""

import os
import re
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPT = """
set -euo pipefail
. {script}
out_of_domain=none lm=none
. parse_options.sh
locate "$@"
"""


@pytest.fixture
def located(tmp_path):
    """A function: a recipe's options up to `locate`, which checks them; nothing has been made by then."""

    def run(*options: str, script: str = "adapt.sh; . study.sh") -> subprocess.CompletedProcess:
        places = {"IA3_SPEECH_START_DIR": str(tmp_path), "IA3_SPEECH_ROOT": str(RECIPES.parent)}
        environment = os.environ | places | {"PATH": f"{RECIPES}:{RECIPES}/utils:{os.environ['PATH']}"}
        (tmp_path / "data/x").mkdir(parents=True, exist_ok=True)
        command = ["bash", "-c", SCRIPT.format(script=script), "run.sh", "--corpus", "x", "--stage", "4"]
        return subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--grid", "clip=1", "--curve", "1"), "--grid goes alone"),
        (("--variants", "clip=1"), "--trade-off and --variants need out-of-domain speech"),
        (("--lm", "none", "--hotwords", __file__), "--hotwords FILE needs a language model"),
        (("--corpus-name", "../x"), "--corpus-name is the name of a folder"),
        (("--corpus", "data/x"), "data/x is the corpus itself"),
        (("--corpus-name", "R&D"), "the path data/R&D contains &"),
        (("--init-adapter", "anna$(id)"), "the path anna$(id) contains $"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_nothing_made(located, options, message, tmp_path):
    done = located(*options)
    assert done.returncode == 1 and f"error: {message}" in done.stderr and not done.stdout
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("speaker", ["$(touch${IFS}X)", "`x`", "a;b", "-rf", "..", "J_JOB"])
def test_speakers_are_plain_words(tmp_path, speaker):
    """In the second table; those of the first, among them letters beyond ASCII, are."""
    (tmp_path / "a").write_text("a-1 Zoë_1.x-a@k\n")
    (tmp_path / "b").write_text(f"b-1 b\nc-1 {speaker}\n")
    script = f". {RECIPES}/utils/stages.sh; plain_speakers a; plain_speakers a b"
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: b:2: {speaker} can't name a folder (")


def test_two_runs_in_one_folder_wait_for_each_other(tmp_path):
    script = f". {RECIPES}/utils/stages.sh; lock exp; echo at work; read -r; echo done"
    options = {"cwd": tmp_path, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    first = subprocess.Popen(["bash", "-euc", script], **options)
    assert first.stdout.readline() == "at work\n"
    second = subprocess.Popen(["bash", "-euc", script], **options)
    assert second.stdout.readline() == "waiting for another run that is still at work in exp\n"
    assert first.communicate("\n")[0] == "done\n"
    assert second.communicate("\n")[0] == "at work\ndone\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_step_shows_its_time_and_what_its_command_does(tmp_path, terminal):
    """In a log each 30 seconds, here each second."""
    stages = (RECIPES / "utils/stages.sh").read_text().replace("SECONDS + 30", "SECONDS + 1")
    loop = "for seconds in Progress([2, 2], 'decoding'): time.sleep(seconds)"
    (tmp_path / "work.py").write_text(f"import time; from ia3_speech.common.progress import Progress\n{loop}")
    job = "job() { printf 'epoch 1: lo'; sleep 2; echo ss; run x/log/a.log python work.py; }"
    step = "exp=x stop_stage=9; mkdir -p x/log; step 'stage 4, decode' job"
    (tmp_path / "run.sh").write_text(f"set -euo pipefail\n{stages}\n{job}\n{step}\n")
    command = ["script", "-qec", "bash run.sh", "/dev/null"] if terminal else ["bash", "run.sh"]
    paths = {"PATH": f"{RECIPES}/utils:{os.environ['PATH']}", "PYTHONPATH": str(RECIPES.parent)}
    out = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True).stdout
    assert re.search(r"\d s, decoding: 50 %, about [12] s left", out), out
    erased = "\x1b[K" if terminal else ""
    assert f"\n{erased}epoch 1: loss\n" in out and "decoding" not in (tmp_path / "x/log/a.log").read_text()
    assert re.search(rf"\n{re.escape(erased)}stage 4, decode … \d+ s\n$", out), out
    assert out.startswith("stage 4, decode … \n" + ("" if terminal else "    1 s"))
