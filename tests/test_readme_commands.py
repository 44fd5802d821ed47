"""README's blocks of bash run, line by line as they stand, in a folder that looks like a clone.

What a reader brings along is put there: recordings, a corpus, a dataset, the hub's base, adapters of recipes.
Three lines take minutes, and get further options here (ADDED says which and why).
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from corpus_files import noise
from stand_in_microphone import microphone_that_plays

from ia3_speech import IA3Config, attach, load_base, save_adapter
from ia3_speech.__main__ import main as ia3_speech
from ia3_speech.adapters import registry
from ia3_speech.data.audio import load_audio
from ia3_speech.routing.gate import measure_speech, write_gate

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio/422-122949-0030.ogg"  # 3 seconds

# Line → the options that it gets here, and why.
ADDED = {
    # nine minutes; tests/egs/test_medical_dictation.py runs all its stages, small
    "bash egs/medical_dictation/run.sh": "--size small --stop-stage 1",
    "ia3-speech serve": "--help",  # it serves until Ctrl-C
    # it would run this test again
    "bash scripts/test.sh": "-n 0 -q tests/test_atomic.py",
    # a small random base in the place of mini, with which any recognition will do
    "bash egs/TEMPLATE/run.sh --corpus DIR --name clinic": (
        "--base facebook/wav2vec2-base-960h --train-opts '--epochs 1' --lm none --out-of-domain none "
        "--register-anyway true"
    ),
}


def blocks() -> list[list[str]]:
    """The lines of each block, without their comments."""
    found = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return [[line.partition(" #")[0].strip() for line in block.splitlines()] for block in found]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, random_base) -> Path:
    """A clone, of which the recipes are copies, since they write there; and a reader's own files."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("ia3_speech", "recipes", "scripts", "tests", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for recipe in ("TEMPLATE", "medical_dictation"):
        outputs = shutil.ignore_patterns("data", "exp", "__pycache__")
        shutil.copytree(ROOT / "egs" / recipe, folder / "egs" / recipe, ignore=outputs)
    wave = load_audio(SPEECH)
    for name in ("audio.wav", "a.wav", "new.wav", "recordings/1.wav", "recordings/2.wav", "films/a.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, wave, 16_000)
    (folder / "notes.txt").write_text("take two tablets of metformin\nno fever, no cough\n")
    (folder / "terms.txt").write_text("metformin\n")
    rows = []
    for number in range(12):
        noise(folder / f"DIR/{number:02d}.wav", 1.0)
        rows.append(f"{number:02d}.wav,sentence {'abcdefghijkl'[number]},speaker {number % 4}\n")
    (folder / "DIR/list.csv").write_text("".join(["file,text,speaker\n", *rows]))
    # the hub, which no test may wait for: a dataset and a base, by the same names in the working directory
    for name, count in (("train", 8), ("test", 4)):
        rows = [f"{n}.wav,{name} {'abcdefgh'[n]},{name} {n % 4}\n" for n in range(count)]
        for number in range(count):
            noise(folder / f"my/dataset/{name}/{number}.wav", 1.0)
        table = "".join(["file_name,transcription,speaker\n", *rows])
        (folder / f"my/dataset/{name}/metadata.csv").write_text(table)
    shutil.copytree(random_base, folder / "facebook/wav2vec2-base-960h")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [*sys.argv])  # which the command sets
        run_here("ia3-speech lm notes.txt --out my.arpa.gz")
        run_here("ia3-speech datadir from-dataset my/dataset data/test --split test")  # "data/test likewise"
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base_folder) -> Path:
    """An adapter of mini that changes nothing, in the place of those that recipes train."""
    if base_folder.name != "mini":
        pytest.skip("ia3_speech/mini is not trained yet")
    base = load_base("mini")
    wave = load_audio(SPEECH)
    speech = measure_speech(base, [wave, wave[:16_000]])  # for --adapter auto
    attach(base.model, IA3Config())
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(base.model, folder, base=base)
    write_gate(folder, speech)
    return folder


def run_here(line: str) -> None:
    """A line of `ia3-speech`, in this process, which has loaded PyTorch already."""
    with pytest.raises(SystemExit) as ended:
        ia3_speech(shlex.split(f"{line} {ADDED.get(line, '')}")[1:])
    assert not ended.value.code, line


def run_in_bash(line: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    words = ["bash", "-c", f"{line} {ADDED.get(line, '')}"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


# What a block's lines leave in the clone.
LEFT = [
    ["egs/medical_dictation/data/espeak_small/train/text"],
    [],
    ["texts/1.json", "out/a.srt", "out/a.ctm"],
    ["ia3_speech_results/exp/DIR/report_test.html"],
    ["data/tr/text", "exp/ward/decode/score.json", "exp/ward/decode/report.html"],
]


def test_no_line_that_gets_options_is_gone():
    lines = [line for block in blocks() for line in block]
    assert set(ADDED) <= set(lines) and len(blocks()) == len(LEFT)


@pytest.mark.parametrize("number", range(len(LEFT)))
def test_a_block_runs(number, clone, adapter, monkeypatch):
    for module in ("xdist", "peft"):  # without which scripts/test.sh would make an environment in the clone
        pytest.importorskip(module)
    for name in ("mandarin", "medical", "speaker42"):
        registry.register(adapter, name)
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, "argv", [*sys.argv])  # which the command sets
    monkeypatch.setitem(sys.modules, "sounddevice", microphone_that_plays(load_audio(SPEECH), 16_000.0))
    for line in blocks()[number]:
        if line.startswith("ia3-speech "):
            run_here(line)
        else:
            run_in_bash(line, clone)
    assert [name for name in LEFT[number] if not (clone / name).is_file()] == []
