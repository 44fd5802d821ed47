"""recipes/*.sh: what options mean and what is refused, and how a step is shown."""

import os
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
        (("--curve", "1 two"), "--curve takes numbers"),
        (("--variants", "clip=1"), "--trade-off and --variants need out-of-domain speech"),
        (("--lm", "none.arpa"), "--lm none.arpa: no such file"),
        (("--lm", "none", "--hotwords", __file__), "--hotwords FILE needs a language model"),
        (("--replay", "absent"), "--replay absent: no data directory"),
        (("--stage", "6", "--stop-stage", "5"), "--stop-stage must be a number from 6 on"),
        (("--corpus-name", "../x"), "--corpus-name is the name of a folder"),
        (("--corpus", "data/x"), "data/x is the corpus itself"),
        (("word",), "unexpected argument 'word'"),
        (("--corpus-name", "R&D"), "the path data/R&D contains &"),
        (("--corpus-name", "a b"), "the path data/a b contains a space"),
        (("--init-adapter", "anna$(id)"), "the path anna$(id) contains $"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_nothing_made(located, options, message, tmp_path):
    done = located(*options)
    assert done.returncode == 1 and f"error: {message}" in done.stderr and not done.stdout
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("speaker", ["$x", "`x`", "a;b", "it's", 'a"b', "-rf", "..", "J_JOB", "{a,b}"])
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


def test_a_step_shows_progress_as_it_comes_where_there_is_no_terminal(tmp_path):
    """Line by line: the second one is written when the first has been read."""
    script = f"""
    . {RECIPES}/utils/stages.sh
    exp=exp; mkdir -p exp/log
    slow() {{ run exp/log/x.log echo loading "&&" echo epoch 1: loss 2 "&&" cat fifo; }}
    step "stage 5, train" slow
    step "stage 6, decode" run exp/log/y.log echo "exp/a: up to date"
    step "stage 7, fail" false
    """
    os.mkfifo(tmp_path / "fifo")
    path = f"{RECIPES}/utils:{os.environ['PATH']}"
    done = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = [done.stdout.readline() for _ in range(2)]
    assert lines == ["stage 5, train … \n", "    epoch 1: loss 2\n"]
    (tmp_path / "fifo").write_text("fold 1 of 4, about 2 minutes left\nother\n")
    rest = done.communicate()[0].splitlines()
    assert rest[0] == "    fold 1 of 4, about 2 minutes left" and rest[1].startswith("stage 5, train … ")
    assert rest[2:4] == ["stage 6, decode … up to date", "stage 7, fail … "] and done.returncode == 1
