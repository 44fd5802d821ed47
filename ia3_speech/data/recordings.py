"""Recordings: what a user names (files, folders, a pipe, arrays) → what there is to transcribe.

In: paths as they were typed, or stdin. Out: a `Source` for each recording, in the order given, with what to
call it and where its text would go; and a line for each path that leads nowhere. Nothing is decoded yet.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data import audio
from ia3_speech.data.audio import SAMPLE_RATE, SUFFIXES, AudioError

STDIN = "-"

Audio = str | os.PathLike[str] | BinaryIO | np.ndarray


@dataclass(frozen=True)
class Source:
    """A recording to transcribe: what to read, what to call it, and its place below a folder of results."""

    audio: Audio
    path: str | None
    target: Path = Path()

    def load(self, sampling_rate: int = SAMPLE_RATE) -> np.ndarray:
        """Float32 `(samples,)`, 16 kHz. Raises AudioError; ValueError for an array that is no waveform."""
        if not isinstance(self.audio, np.ndarray):
            return audio.load(self.audio)
        if self.audio.ndim != 1 or not np.issubdtype(self.audio.dtype, np.floating):
            raise ValueError(
                f"a waveform is float, of shape (samples,) and full scale ±1, not {self.audio.dtype} of "
                f"shape {self.audio.shape} (average channels; divide int16 by 32768)"
            )
        return audio.resample(self.audio, sampling_rate, SAMPLE_RATE)


def source_of(recording: Audio) -> Source:
    if isinstance(recording, np.ndarray):
        return Source(recording, None)
    if hasattr(recording, "read"):
        return Source(recording, audio.name_of(recording))
    return Source(recording, os.fspath(recording))


def seconds_of(source: Source) -> float:
    """The length of a file by its header; 0 where that can't be read, and for what isn't a file."""
    try:
        return audio.duration(source.audio) if source.path != STDIN else 0.0
    except AudioError:
        return 0.0


def find(paths: Iterable[str]) -> tuple[list[Source], list[str]]:
    """Files as they are, folders searched (sorted; hidden files left out); and a line for each bad path."""
    sources: list[Source] = []
    bad: list[str] = []
    for path in paths:  # by os.path: Path's own methods raise for a name that no file can have
        if os.path.isdir(path):  # noqa: PTH112
            found = sorted(files_below(Path(path), bad))
            sources += [Source(file, str(file), file.relative_to(path)) for file in found]
            if not found:
                bad.append(f"{path}: {nothing_in(Path(path))}")
        elif os.path.exists(path):  # noqa: PTH110
            sources.append(Source(path, path, Path(Path(path).name)))
        else:
            bad.append(f"{path}: no such file or folder")
    return sources, bad


def files_below(folder: Path, bad: list[str]) -> Iterator[Path]:
    """The audio files of a folder and the folders in it; a folder that can't be read is `bad`."""
    denied: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=denied.append):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in files:
            if name[0] != "." and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place, name)
    bad += [f"{error.filename}: {error.strerror}" for error in denied]


def nothing_in(folder: Path) -> str:
    if (folder / "wav.scp").exists():
        return f"is a Kaldi data directory (python -m ia3_speech.decode {folder} DECODE_DIR)"
    return f"no audio files in this folder (searched for {' '.join(sorted(SUFFIXES))})"


def from_stdin(stream: BinaryIO) -> tuple[list[Source], list[str]]:
    """What a pipe holds: a sound file (a WAV begins with RIFF, all have zero bytes), or paths, one a line.

    Raises:
        UserError: it is empty.
    """
    data = stream.read()
    if data.startswith(b"RIFF") or b"\0" in data[:4096]:
        sound = io.BytesIO(data)
        sound.name = STDIN
        return [Source(sound, STDIN, Path("stdin"))], []
    paths = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(b"\n") if line.strip()]
    if not paths:
        raise UserError("no files were given, and stdin is empty (--help shows how to use it)")
    return find(paths)


def targets(sources: Sequence[Source], folder: Path, suffix: str) -> list[Path]:
    """Where each source's text goes below `folder`: `a.wav` → `a.txt`; sub-folders of a folder are kept.

    Raises:
        UserError: two different sources would go to one file.
    """
    taken: dict[Path, Source] = {}
    places = []
    for source in sources:
        target = source.target
        stem = target.stem if target.suffix.lower() in SUFFIXES else target.name
        places.append(folder / target.with_name(stem + suffix))
        other = taken.setdefault(places[-1], source)
        if other is not source and Path(other.path).resolve() != Path(source.path).resolve():
            raise UserError(
                f"{other.path} and {source.path} would both be written to {places[-1]} (give each an "
                f"--output-dir of its own; or give the folder above them, whose sub-folders are kept)"
            )
    return places
