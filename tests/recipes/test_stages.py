"""recipes/utils: keys of what went in, markers of finished work, and jobs that run once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ia3_speech import attach, save_adapter
from ia3_speech.adapters.record import PEFT_WEIGHTS
from ia3_speech.model import ia3

UTILS = Path(__file__).parents[2] / "recipes/utils"


def bash(script: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PATH": f"{UTILS}:{os.environ['PATH']}",
        "IA3_SPEECH_COMMIT": "abc1234",
        "IA3_SPEECH_DIRTY": "true",
        "IA3_SPEECH_COMMAND": r"bash run.sh --name $'a\nb'",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True
    )


def key(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([UTILS / "key.py", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    assert len(done.stdout) == 17
    return done.stdout


def data_directory(folder: Path, audio: bytes = b"sound") -> Path:
    data = folder / "data/train"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "data/a 1.wav").write_bytes(audio)
    (data / "wav.scp").write_text("a a 1.wav\nb cat x.wav |\n")
    (data / "text").write_text("a hello\nb world\n")
    return data


def test_key_of_text(tmp_path):
    assert key("seed=1", cwd=tmp_path) == key("seed=1", cwd=tmp_path)
    assert key("seed=1", cwd=tmp_path) != key("seed=2", cwd=tmp_path)
    assert key("a", "b", cwd=tmp_path) != key("b", "a", cwd=tmp_path) != key("a b", cwd=tmp_path)


def test_key_of_a_word_is_not_that_of_a_folder_with_its_name(tmp_path):
    before = key("small", cwd=tmp_path)
    (tmp_path / "small").mkdir()
    assert key("small", cwd=tmp_path) == before != key("./small", cwd=tmp_path)


def test_key_of_a_file_is_that_of_its_contents(tmp_path):
    (tmp_path / "a.yaml").write_text("x: 1\n")
    (tmp_path / "b.yaml").write_text("x: 1\n")
    assert key("./a.yaml", cwd=tmp_path) == key("./b.yaml", cwd=tmp_path)
    (tmp_path / "b.yaml").write_text("x: 2\n")
    assert key("./a.yaml", cwd=tmp_path) != key("./b.yaml", cwd=tmp_path)


def test_key_of_a_folder_looks_into_linked_folders(tmp_path):
    elsewhere = data_directory(tmp_path / "elsewhere")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/train").symlink_to(elsewhere)
    (elsewhere / "around").symlink_to(tmp_path / "corpus")  # a ring ends
    before = key("./corpus", cwd=tmp_path)
    (elsewhere / "text").write_text("a hello\nb word\n")
    assert key("./corpus", cwd=tmp_path) != before


def test_where_a_path_of_the_line_is_meant(tmp_path):
    for folder in ("stood/data/notes", "recipe/recordings", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    script = f"""
    IA3_SPEECH_START_DIR={tmp_path}/stood
    . stage.sh
    place data/notes; place /data/notes; place recordings; place {tmp_path}/outside; place mini
    """
    done = bash(script, tmp_path / "recipe")
    assert done.stdout.split() == [
        f"{tmp_path}/stood/data/notes", "/data/notes", "./recordings", f"{tmp_path}/outside", "mini",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("scots", "scots\n{home}/scots/{weights}\n"),
        (
            "exp/mine:0.5+scots",
            "{stood}/exp/mine/adapter:0.5+scots\n{stood}/exp/mine/adapter/{weights}\n{home}/scots/{weights}\n",
        ),
        ("exp/theirs", "exp/theirs\n{recipe}/exp/theirs/adapter/{weights}\n"),
    ],
)
def test_an_adapter_of_the_line_is_meant_where_the_user_stood(tmp_path, tiny_base, monkeypatch, given, said):
    base, home = tiny_base(), tmp_path / "home/adapters"
    attach(base.model)
    for place in (
        home / "scots",
        tmp_path / "stood/exp/mine/adapter",
        tmp_path / "recipe/exp/theirs/adapter",
    ):
        save_adapter(base.model, place, base=base)
    (tmp_path / "stood/scots").mkdir()  # no adapter, so the name is meant
    monkeypatch.setenv("IA3_SPEECH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IA3_SPEECH_START_DIR", str(tmp_path / "stood"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    script = f". stage.sh; take_adapter '{given}'; printf '%s\\n' \"$init_adapter\" \"${{init_files[@]}}\""
    done = bash(script, tmp_path / "recipe")
    assert done.stdout == said.format(
        home=home, stood=tmp_path / "stood", recipe=tmp_path / "recipe", weights=PEFT_WEIGHTS
    ), done.stderr


def test_names_below_exp(tmp_path):
    script = """
    fail() { echo "$*"; }
    . stage.sh
    for name in ok 'R&D' "anna's" 'a\\b' 'x]' 'a b'; do check_corpus_name "$name"; done
    check_init_name base base log; check_init_name start base log
    """
    done = bash(script, tmp_path)
    cure = "(give another --corpus-name)"
    assert done.stdout.splitlines() == [
        *(
            f"no folder below data/ and exp/ can be called {name} {cure}"
            for name in ("R&D", "anna's", r"a\b", "x]")
        ),
        "--init-name can't be base: something else below exp/ is called that",
    ]


def test_a_small_run_takes_no_full_runs_name(tmp_path, tiny_base, monkeypatch):
    for name, number in (("full", 1.5), ("small", 2.0)):
        base = tiny_base()
        attach(base.model)
        for vector in ia3.vectors(base.model).values():
            vector.l.data.fill_(number)
        save_adapter(base.model, tmp_path / name, base=base)
    monkeypatch.setenv("IA3_SPEECH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    script = """
    recipe_id=egs/x; . stage.sh
    size=full; register ./full medical
    size=small; register ./small medical; register ./small other
    size=full; register ./full other
    """
    done = bash(script, tmp_path)
    store = tmp_path / "home/adapters"
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "medical", "medical_small", "other", "other",
    ], done.stderr  # fmt: skip
    made = {name: load_file(store / name / PEFT_WEIGHTS) for name in ("medical", "medical_small", "other")}
    assert {name: float(next(iter(one.values())).max()) for name, one in made.items()} == {
        "medical": 1.5, "medical_small": 2.0, "other": 1.5,
    }  # fmt: skip


def test_key_of_a_data_directory(tmp_path):
    one, two = data_directory(tmp_path / "one"), data_directory(tmp_path / "two")
    first = key(str(one), cwd=tmp_path)
    assert key(str(two), cwd=tmp_path) == first  # wherever it lies
    os.utime(tmp_path / "two/data/a 1.wav", (0, 0))
    (two / ".backup").mkdir()
    (two / ".backup/text").write_text("a hullo\n")
    assert key(str(two), cwd=tmp_path) == first  # dates and hidden files don't count
    data_directory(tmp_path / "two", audio=b"noise")
    assert key(str(two), cwd=tmp_path) != first  # another recording
    data_directory(tmp_path / "two")
    (two / "utt2accent").write_text("a scottish\n")
    assert key(str(two), cwd=tmp_path) != first


def test_key_of_a_corpus_of_data_directories(tmp_path):
    data_directory(tmp_path / "one")
    data_directory(tmp_path / "two")
    first = key("./one", cwd=tmp_path)
    assert key("./two", cwd=tmp_path) == first
    (tmp_path / "two/data/train/text").write_text("a hello\nb word\n")
    assert key("./two", cwd=tmp_path) != first


STAGES = """
. stage.sh
stage=1 stop_stage=9
if begin 2 "work" out/.done ./input "n=1"; then
  mkdir -p out; cat input >>out/log
  [[ $(<input) != bad ]] || exit 7
  finish
fi
"""


def test_a_stage_is_done_once_for_its_inputs(tmp_path):
    (tmp_path / "input").write_text("x\n")
    assert bash(STAGES, tmp_path).stdout == "stage 2, work\n"
    assert bash(STAGES, tmp_path).stdout == "stage 2, work: done\n"
    assert (tmp_path / "out/log").read_text() == "x\n"
    (tmp_path / "input").write_text("y\n")
    assert bash(STAGES, tmp_path).stdout == "stage 2, work\n"
    assert (tmp_path / "out/log").read_text() == "x\ny\n"
    marker = (tmp_path / "out/.done").read_text()
    assert re.fullmatch(
        r"key [0-9a-f]{16}\nseconds \d+\nfinished \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n"
        r"commit abc1234\ndirty true\ncommand bash run\.sh --name \$'a\\nb'\n",
        marker,
    )


def test_a_failed_stage_leaves_no_marker(tmp_path):
    (tmp_path / "input").write_text("bad\n")
    assert bash(STAGES, tmp_path).returncode == 7
    assert not (tmp_path / "out/.done").exists()
    (tmp_path / "input").write_text("good\n")
    assert bash(STAGES, tmp_path).stdout == "stage 2, work\n"


def test_a_stage_out_of_range_is_silent(tmp_path):
    (tmp_path / "input").write_text("x\n")
    for bounds in ("stage=3 stop_stage=9", "stage=1 stop_stage=1"):
        done = bash(STAGES.replace("stage=1 stop_stage=9", bounds), tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "out").exists()


def test_once(tmp_path):
    command = "bash -c 'echo run >>exp/a/log; test ! -e broken'"
    assert bash(f"once exp/a K1 {command}", tmp_path).returncode == 0
    assert bash(f"once exp/a K1 {command}", tmp_path).stdout == "exp/a: done\n"
    assert (tmp_path / "exp/a/log").read_text() == "run\n"


def test_once_resumes_what_failed_and_sets_aside_what_has_other_inputs(tmp_path):
    command = "bash -c 'echo run >>exp/a/log; test ! -e broken'"
    (tmp_path / "broken").touch()
    assert bash(f"once exp/a K1 {command}", tmp_path).returncode == 1
    assert not (tmp_path / "exp/a/.done").exists()
    (tmp_path / "broken").unlink()
    assert bash(f"once exp/a K1 {command}", tmp_path).returncode == 0
    assert (tmp_path / "exp/a/log").read_text() == "run\nrun\n"
    done = bash(f"once exp/a K2 {command}", tmp_path)
    assert done.stdout == "exp/a was made from other inputs and moves to exp/.backup/a\n"
    assert (tmp_path / "exp/a/log").read_text() == "run\n"
    assert (tmp_path / "exp/.backup/a/log").read_text() == "run\nrun\n"
    done = bash(f"once exp/a K3 {command}", tmp_path)
    assert done.stdout == "exp/a was made from other inputs and moves to exp/.backup/a.2\n"
    assert (tmp_path / "exp/.backup/a.2/log").read_text() == "run\n"


EVERY = """
stage=1; stop_stage=9; decode_cmd=run
. stage.sh
every 5 "work" run exp/log/work.JOB.log exp/a_seedJOB {n} {key} bash -c '{command}'
"""


def test_more_seeds_leave_the_logs_of_those_that_are_done(tmp_path):
    line = {"key": "K1", "command": "echo this is JOB"}
    assert bash(EVERY.format(n=1, **line), tmp_path).stdout == "stage 5, work (log: exp/log/work.1.log)\n"
    done = bash(EVERY.format(n=3, **line), tmp_path)
    assert done.stdout.startswith("stage 5, work (log: exp/log/work.2…3.log)\n"), done.stderr
    logs = [(tmp_path / f"exp/log/work.{seed}.log").read_text() for seed in (1, 2, 3)]
    assert all(f"\nthis is {seed}\n" in log for seed, log in enumerate(logs, 1))


def test_the_log_of_the_job_that_failed_is_shown(tmp_path):
    failing = EVERY.format(n=3, key="K1", command="echo this is JOB; test JOB != 2")
    done = bash(failing, tmp_path)
    assert done.returncode == 1 and "\nthis is 2\n" in f"\n{done.stderr}"
    assert "this is 1" not in done.stderr


def test_what_moves_aside_is_said(tmp_path):
    assert bash(EVERY.format(n=1, key="K1", command="true"), tmp_path).returncode == 0
    done = bash(EVERY.format(n=1, key="K2", command="true"), tmp_path)
    assert "    exp/a_seed1 was made from other inputs and moves to exp/.backup\n" in done.stdout
    assert (tmp_path / "exp/.backup/a_seed1").is_dir()
