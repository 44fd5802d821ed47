"""Small corpora for tests: audio files of noise, and the content of a data directory."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance

# Speaker → set, gender, age.
SPEECHOCEAN762_SPEAKERS = {
    "0001": ("train", "m", 6), "0005": ("train", "f", 10), "0006": ("train", "f", 13),
    "1027": ("train", "m", 37), "1029": ("train", "f", 19), "1033": ("train", "m", 20),
    "0024": ("test", "f", 11), "1030": ("test", "m", 27),
}  # fmt: skip
SPEECHOCEAN762_TEXTS = ("WE CALL IT BEAR", "IT'S A LADDER")


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """A limit of file sizes stands in for a full disk: the system refuses to write on."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def noise(path: Path, seconds: float = 1.5) -> Path:
    """An audio file, 16 kHz, in the format that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(len(path.name)).standard_normal(round(16000 * seconds))
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".ogg" else {}
    soundfile.write(path, wave.astype(np.float32), 16000, **options)
    return path


def sound_directory(folder: Path, waves: Mapping[str, np.ndarray], texts: dict[str, str] | str = "a") -> Path:
    """A data directory of these waves, which lie beside it as ID.wav, 16 kHz, and of texts by id; a speaker's
    name is the part of the id before the first dash."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    utterances = []
    for id, wave in waves.items():
        soundfile.write(file := folder.parent / f"{id}.wav", wave, 16_000)
        text = texts if isinstance(texts, str) else texts[id]
        utterances.append(Utterance(id, id.partition("-")[0], id, str(file), text=text))
    write_data_directory(folder, utterances)
    return folder


def write_table(path: Path, lines: Mapping[str, str]) -> None:
    """A table of a data directory, or the texts of a decode directory; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {value}".rstrip() + "\n" for key, value in lines.items()), "utf-8")


def text_directory(folder: Path, texts: Mapping[str, str], speakers: Mapping[str, str] | None = None) -> Path:
    """A data directory without audio, of texts by id; speakers are by id, or ids up to the first dash."""
    speakers = speakers or {id: id.partition("-")[0] for id in texts}
    spoken: dict[str, list[str]] = {}
    for id, speaker in speakers.items():
        spoken.setdefault(speaker, []).append(id)
    write_table(folder / "text", texts)
    write_table(folder / "utt2spk", speakers)
    write_table(folder / "spk2utt", {speaker: " ".join(spoken[speaker]) for speaker in sorted(spoken)})
    return folder


def csv_corpus(folder: Path, lines: list[str], encoding="utf-8", files=None, name="list.csv") -> Path:
    """A folder with these lines in a CSV file, and the recordings that they name, a second each."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(("\n".join(lines) + "\n").encode(encoding))
    for file in files if files is not None else [line.split(",")[0] for line in lines[1:]]:
        noise(folder / file, 1.0)
    return folder


def names(folder: Path) -> list[str]:
    """Of the files and folders in a folder."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, str]:
    """File name → text, with line ends as they are."""
    return {file.name: file.read_bytes().decode() for file in folder.iterdir() if file.is_file()}


def content(folder: Path) -> dict[str, list[str]]:
    """File name → lines, of a data directory."""
    return {path.name: path.read_text().splitlines() for path in sorted(folder.iterdir())}


def speechocean762(folder: Path) -> Path:
    """The published layout: tables with TABs, capitals, ids that begin with a 0; one speaker in .ogg."""
    for speaker, (name, gender, age) in SPEECHOCEAN762_SPEAKERS.items():
        lines = {"spk2gender": [f"{speaker}\t{gender}"], "spk2age": [f"{speaker}\t{age}"], "spk2utt": []}
        for number, text in enumerate(SPEECHOCEAN762_TEXTS):
            id = f"0{speaker}{number:04d}"
            if number:  # only the first sentence is everybody's
                text = f"{text} {'ABCDEFGH'[list(SPEECHOCEAN762_SPEAKERS).index(speaker)]}"
            file = f"WAVE/SPEAKER{speaker}/{id}.WAV"
            real = folder / file
            noise(real.with_suffix(".ogg") if speaker == "1030" else real)
            lines |= {
                table: [*lines.get(table, []), f"{id}\t{value}"]
                for table, value in (("wav.scp", file), ("text", text), ("utt2spk", speaker))
            }
        for table, rows in lines.items():
            path = folder / name / table
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as file:
                file.writelines(f"{row}\n" for row in rows)
    return folder


def kaldi_directories(
    folder: Path, speakers: int = 10, each: int = 4, label: str | None = None, sets=("train", "test")
) -> Path:
    """Kaldi data directories FOLDER/{train,test} with short audio files."""
    rng = np.random.default_rng(0)
    for name in sets:
        utterances = []
        for number in range(speakers * each):
            speaker = f"{name}{number % speakers:02d}"
            id = f"{speaker}-{number:03d}"
            path = folder / "audio" / f"{id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(8000).astype(np.float32), 16000)
            labels = {label: f"visit{number % 20:02d}"} if label else {}
            utterances.append(Utterance(id, speaker, id, str(path), text=f"text {number}", labels=labels))
        write_data_directory(folder / name, utterances)
    return folder
