"""README: its lines are short, its links lead to files, and its blocks of bash and Python run as they stand.

The commands run in a folder that looks like a clone and contains a reader's own files: recordings, a corpus,
a dataset, the hub's base, adapters of recipes. ADDED holds further options of some lines, and why.
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
README = (ROOT / "README.md").read_text("utf-8")
SPEECH = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio/422-122949-0030.ogg"  # 3 seconds

# Line → the options that it gets here, and why.
ADDED = {
    # nine minutes; tests/egs/test_medical_dictation.py runs all its stages, small
    "bash egs/medical_dictation/run.sh": "--size small --stop-stage 1",
    "ia3-speech serve": "--help",  # it serves until Ctrl-C
    # it would run this test again
    "bash scripts/test.sh": "-n 0 -q tests/test_atomic.py",
    # tests/egs runs the other stages
    "bash egs/TEMPLATE/run.sh --corpus DIR --name clinic": "--stop-stage 3 --out-of-domain none",
}
# The lines of each block of bash, without comments.
BLOCKS = [
    [line.partition(" #")[0].strip() for line in block.splitlines()]
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
]
# Files that the lines write, by the first line of their block.
WRITTEN = {
    "bash egs/medical_dictation/run.sh": ["egs/medical_dictation/data/espeak_small/train/text"],
    "ia3-speech transcribe audio.wav": ["texts/1.json", "out/a.srt", "out/a.ctm"],
    "bash egs/TEMPLATE/run.sh --corpus DIR --stop-stage 3": ["ia3_speech_results/data/DIR/train/text"],
    "ia3-speech datadir from-dataset my/dataset data/train --split train": [
        "data/tr/text", "exp/ward/decode/score.json", "exp/ward/decode/report.html"
    ],
}  # fmt: skip


def test_its_lines_are_short():
    """Tables and code apart."""
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_its_links_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_python_block_runs(tmp_path, monkeypatch, capsys, tiny_folder, speaker42):
    """With a small random base in place of mini, and the adapters that the first command registers."""
    registry.register(speaker42, "medical")
    monkeypatch.chdir(tmp_path)
    soundfile.write("audio.wav", load_audio(SPEECH)[:16_000], 16_000)
    code = re.search(r"## Python\n\n```python\n(.*?)```", README, re.DOTALL)[1]
    names: dict = {}
    exec(code.replace('"mini"', repr(str(tiny_folder))), names)
    assert capsys.readouterr().out.startswith("(Word(text=")
    assert len(names["logits"]) == 3 and names["logits"][0].shape == names["logits"][1].shape


@pytest.fixture(scope="module")
def clone(tmp_path_factory, random_base) -> Path:
    """A clone with copies of the recipes, which write beside themselves; and a reader's own files."""
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
    rows = [f"{n:02d}.wav,sentence {'abcdefghijkl'[n]},speaker {n % 4}\n" for n in range(12)]
    for number in range(12):
        noise(folder / f"DIR/{number:02d}.wav", 1.0)
    (folder / "DIR/list.csv").write_text("".join(["file,text,speaker\n", *rows]))
    # in place of the hub: a dataset and a base, by the same names in the working directory
    for name, count in (("train", 8), ("test", 4)):
        rows = [f"{n}.wav,{name} {'abcdefgh'[n]},{name} {n % 4}\n" for n in range(count)]
        for number in range(count):
            noise(folder / f"my/dataset/{name}/{number}.wav", 1.0)
        table = "".join(["file_name,transcription,speaker\n", *rows])
        (folder / f"my/dataset/{name}/metadata.csv").write_text(table)
    shutil.copytree(random_base, folder / "facebook/wav2vec2-base-960h")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [*sys.argv])  # the command changes it
        run("ia3-speech lm notes.txt --out my.arpa.gz", folder)
        run("ia3-speech datadir from-dataset my/dataset data/test --split test", folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, random_base, clone) -> dict[str, Path]:
    """Adapters that change nothing, in place of those that recipes train: of mini, and of a small base the
    adapter that learns from corrections."""
    wave, folders = load_audio(SPEECH), {}
    for name, model in (("medical", "mini"), ("clinic", random_base)):
        base = load_base(model)
        speech = measure_speech(base, [wave, wave[:16_000]])  # for --adapter auto
        attach(base.model, IA3Config())
        folders[name], trained_on = tmp_path_factory.mktemp("adapter"), {"data": str(clone / "data/test")}
        save_adapter(base.model, folders[name], base=base, training=trained_on)
        write_gate(folders[name], speech)
    return folders | dict.fromkeys(("mandarin", "speaker42"), folders["medical"])


def run(line: str, folder: Path) -> None:
    """Run a line: `ia3-speech` in this process, which has loaded PyTorch already, all else in bash."""
    words = f"{line} {ADDED.get(line, '')}"
    if line.startswith("ia3-speech "):
        with pytest.raises(SystemExit) as ended:
            ia3_speech(shlex.split(words)[1:])
        assert not ended.value.code, line
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", "-c", words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_the_lines_of_the_tables_above_are_there():
    assert set(ADDED) <= {line for block in BLOCKS for line in block}
    assert set(WRITTEN) <= {block[0] for block in BLOCKS}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block[0])
def test_a_block_runs(block, clone, adapters, monkeypatch):
    for module in ("xdist", "peft"):  # without which scripts/test.sh would make an environment in the clone
        pytest.importorskip(module)
    for name, adapter in adapters.items():
        if name != "clinic" or any("clinic" in line for line in block):  # auto takes adapters of one base
            registry.register(adapter, name)
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, "argv", [*sys.argv])  # the command changes it
    monkeypatch.setitem(sys.modules, "sounddevice", microphone_that_plays(load_audio(SPEECH), 16_000.0))
    for line in block:
        run(line, clone)
    assert [name for name in WRITTEN.get(block[0], []) if not (clone / name).is_file()] == []
