"""Run the commands of pages' console blocks, and write their outputs below them.

    cd docs; python ../scripts/run_examples.py language_models.md transcribe.md dictation.md
    python ../scripts/run_examples.py --check dictation.md       code 1 where an output differs

In a block that starts with ```console, a line that starts with `$ ` is a command (a line that ends in a
backslash is continued), and the lines until the next command are its output on stdout and stderr. All
commands run in order in one folder with the files that `make_speech` makes, which is the registry of
adapters too. The script needs the package espeakng-loader (dependency group `demo`).
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
from espeak import ESPEAK_SAMPLE_RATE, PEAK, Espeak, Voice, synthesize

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance

ROOT = Path(__file__).resolve().parent.parent
AUDIO = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
PYTHON = re.compile(r"(?<=```python\n).*?(?=```)", re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)
MAX_LINES = 30  # of an output
VOICES = {"doctor": Voice("en-us", "f5", 150, 50), "caller": Voice("en-us", "m7", 150, 50)}
SENTENCES = {
    "train": (
        "start metformin five hundred milligrams twice a day full stop",
        "the patient takes metformin and ramipril comma and no insulin",
        "stop ramipril because of a dry cough full stop",
        "new line continue metformin and check the kidneys",
        "no fever comma no cough and no headache today full stop",
        "blood pressure is one hundred and twenty over eighty full stop",
        "the dose of ramipril is five milligrams",
        "increase metformin to one gram twice a day",
        "she has type two diabetes and takes metformin",
        "he takes ramipril for high blood pressure",
        "the chest is clear and the heart is regular",
        "how are you feeling today",
        "review the patient in two weeks",
    ),
    "dev": (
        "start ramipril two milligrams once a day full stop",
        "the patient takes ramipril and metformin",
        "new line stop metformin before the scan",
        "no cough comma no fever this morning",
        "check the blood pressure in two weeks",
        "he has diabetes and takes metformin twice a day",
        "review the dose of ramipril today full stop",
        "the heart is clear",
    ),
}
PAUSE_SECONDS, NOISE = 0.8, 1e-3  # after phrases; of full scale, since no room is silent
VISIT = (  # phrases, the doctor's
    "no fever comma blood pressure one hundred and thirty over eighty",
    "full stop increase metformin to five hundred",
    "milligrams twice a day full stop",
    "new line review in two weeks full stop",
)
NOTE = ("blood pressure one hundred and thirty over eighty", *VISIT[1:3], "new line")
NOTE += ("review in two weeks full stop",)
CALL = (  # in turn, the doctor first
    "how is your blood pressure today",
    "it is high and i have no fever",
    "are you taking two tablets a day",
    "yes five milligrams twice a day",
)


def make_speech(folder: Path) -> None:
    """Make the files of the commands' folder, except example.py and the adapters."""
    (folder / "audio").symlink_to(AUDIO)
    (folder / "speech").symlink_to(AUDIO.parent)
    for speaker, voice in VOICES.items():
        for name, texts in SENTENCES.items():
            ids = [f"{speaker}-{name}-{number:02d}" for number in range(len(texts))]
            spoken = [Utterance(id, speaker, id, "", text=text) for id, text in zip(ids, texts, strict=True)]
            out = folder / speaker
            recorded = synthesize([(utterance, voice) for utterance in spoken], out / "audio" / name)
            write_data_directory(out / name, recorded)
    espeak = Espeak()
    pauses = {"visit": [*product(VISIT, [PAUSE_SECONDS])]}
    pauses["note"] = [("no fever", 0.5), ("comma", 0.5), *product(NOTE, [PAUSE_SECONDS])]
    for name, phrases in pauses.items():
        waves = [speak(espeak, text, "doctor", seconds) for text, seconds in phrases]
        write_wave(folder / f"{name}.wav", np.concatenate(waves))
    call = []  # (samples, 2) of each phrase
    for number, text in enumerate(CALL):
        wave = speak(espeak, text, ("doctor", "caller")[number % 2], PAUSE_SECONDS)
        call.append(np.stack([wave, 0 * wave][:: -1 if number % 2 else 1], axis=1))
    write_wave(folder / "call.wav", np.concatenate(call))


def train_adapters(folder: Path) -> None:
    """Train exp/doctor and exp/caller."""
    for speaker in VOICES:
        sets = f"--train {speaker}/train --dev {speaker}/dev --out exp/{speaker}"
        line = f"ia3-speech train --config ia3_plus --precision no --epochs 3 {sets}"
        run(line, folder).check_returncode()


def speak(espeak: Espeak, text: str, speaker: str, pause: float) -> np.ndarray:
    """float32 (samples,), 16 kHz, with a pause in seconds after it."""
    voice = VOICES[speaker]
    wave = espeak.speak(text, f"{voice.accent}+{voice.variant}", voice.rate, voice.pitch)
    wave = resample(wave, ESPEAK_SAMPLE_RATE, SAMPLE_RATE)
    return np.pad(wave * (PEAK / np.abs(wave).max()), (0, round(pause * SAMPLE_RATE)))


def write_wave(path: Path, wave: np.ndarray) -> None:
    """Write a WAV file of a wave with some noise."""
    soundfile.write(path, wave + np.random.default_rng(0).normal(0, NOISE, wave.shape), SAMPLE_RATE)


def with_outputs(block: str, folder: Path) -> str:
    """The block with the outputs of its commands, which run in this folder."""
    return "".join(f"{line}{output(line[2:], folder)}" for line in COMMAND.findall(block))


def output(line: str, folder: Path) -> str:
    """The first lines of a command's output; a failure is reported on stderr."""
    done = run(line, folder)
    lines = done.stdout.decode().replace(f"{ROOT}/", "").expandtabs(4).splitlines()
    if done.returncode:
        print(f"exit code {done.returncode}: {line}", file=sys.stderr)
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], "…"]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def run(line: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a command; its stdout includes stderr."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "110", "IA3_SPEECH_HOME": str(folder)}
    environment |= {"OMP_NUM_THREADS": "1"}  # the same digits on any number of processors
    python = f'python() {{ "{sys.executable}" "$@"; }}\n'
    shell = f'{python}ia3-speech() {{ python -m ia3_speech "$@"; }}\n{line}'
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(["bash", "-c", shell], cwd=folder, env=environment, check=False, **pipes)


def main(*pages: Path, check: bool = False) -> int:
    """Run the commands of pages and write their outputs into them.

    Args:
        pages: Markdown files; the commands of a page find what those before it wrote
        check: write nothing; code 1 where an output differs
    """
    changed = 0
    with tempfile.TemporaryDirectory() as folder:
        make_speech(Path(folder))
        train_adapters(Path(folder))
        for page in pages:
            text = page.read_text("utf-8")
            (Path(folder) / "example.py").write_text("\n".join(PYTHON.findall(text)), "utf-8")
            new = BLOCK.sub(lambda block: with_outputs(block[0], Path(folder)), text)
            if not check:
                write_text(page, new)
            elif new != text:
                names = text.splitlines(), new.splitlines(), "the page", "now"
                lines = difflib.unified_diff(*names, n=1, lineterm="")
                print(*lines, f"{page}: an output has changed", sep="\n", file=sys.stderr)
                changed = 1
    return changed


if __name__ == "__main__":
    command(main)
