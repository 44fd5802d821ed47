"""What a user wants transcribed (files, folders, a pipe, arrays) becomes a list of recordings.

In: paths as they were typed, or stdin. Out: a `Recording` for each, in the order given, with its name in
messages and the place of its text below an output folder; and a message for each path that leads nowhere.
Nothing is decoded yet.
"""

import io
import mimetypes
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.audio import AUDIO_SUFFIXES, SAMPLE_RATE, AudioError, audio_duration, source_name
from ia3_speech.data.audio_cells import decoded

STDIN = "-"
# Audio and video that is not decoded, where `mimetypes` does not know it: of dictation machines and
# telephones, and older formats.
UNREAD_SUFFIXES = {
    *(".dss", ".ds2", ".dvf", ".msv", ".vox", ".gsm", ".voc", ".spx", ".wv", ".ape", ".tta", ".mpc"),
    *(".shn", ".mp1", ".mp2", ".ac3", ".dts", ".ra", ".rm", ".avi", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".ogv", ".vob"),
}
UNREAD = "since it is of no format that is decoded (convert it to wav, flac, ogg or mp3)"
# What is audio or video by its type and holds no sound: playlists, scores, subtitles.
WITHOUT_SOUND = {
    *(".m3u", ".m3u8", ".m4u", ".mxu", ".pls", ".ram", ".wax", ".wvx", ".wmx", ".asx", ".mid", ".midi"),
    *(".kar", ".rmi", ".csd", ".orc", ".sco", ".ass"),
}

# Also tensors and torchcodec's decoders, whose types are not imported here.
AudioInput = str | os.PathLike[str] | BinaryIO | bytes | np.ndarray | dict[str, Any] | Any


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe.

    Attributes:
        audio: a path, a binary file object, or whatever else `audio_cells.to_waveform` accepts.
        path: what messages and results call it; None for samples and bytes.
        target: its place below an output folder, still with the suffix of the audio.
    """

    audio: AudioInput
    path: str | None
    target: Path = Path()

    @property
    def id(self) -> str | None:
        """What Kaldi's files call it: its place below the folder that was searched, without the suffix and
        with a dash between folders (`monday-001`); None where it has no place."""
        return "-".join((*self.target.parts[:-1], file_stem(self.target))) or None

    def load(self, sampling_rate: int = SAMPLE_RATE) -> np.ndarray:
        """float32 `(samples,)` at 16 kHz; `sampling_rate` is that of samples alone, in Hz.

        Raises:
            AudioError: as `load_audio`; or what it holds is not audio.
            ValueError: the array is not a waveform.
        """
        return decoded(self.audio, sampling_rate)


def as_recording(audio: AudioInput) -> Recording:
    """A recording of anything that `audio_cells.to_waveform` accepts."""
    if hasattr(audio, "read"):
        return Recording(audio, source_name(audio))
    if isinstance(audio, str | os.PathLike):
        return Recording(audio, os.fspath(audio))
    path = audio.get("path") if isinstance(audio, dict) else None
    return Recording(audio, path and str(path))


def recording_duration(recording: Recording) -> float:
    """Seconds according to the file's header; 0 where it cannot be read, and for stdin."""
    try:
        return audio_duration(recording.audio) if recording.path != STDIN else 0.0
    except AudioError:
        return 0.0


def find_recordings(paths: Iterable[str]) -> tuple[list[Recording], list[str]]:
    """The recordings that `paths` name, and a message for each path that names none.

    Folders are searched at any depth; their files are sorted, hidden ones left out.
    """
    recordings: list[Recording] = []
    bad: list[str] = []
    for path in paths:  # by os.path: Path's own methods raise for a name that no file can have
        if os.path.isdir(path):  # noqa: PTH112
            found = sorted(audio_files_below(Path(path), bad))
            recordings += [Recording(file, str(file), file.relative_to(path)) for file in found]
            if not found:
                bad.append(f"{path}: {no_audio_in(Path(path))}")
        elif os.path.exists(path):  # noqa: PTH110
            recordings.append(Recording(path, path, Path(Path(path).name)))
        else:
            bad.append(f"{path}: no such file or folder")
    return recordings, bad


def audio_files_below(folder: Path, bad: list[str]) -> Iterator[Path]:
    """The audio files of a folder and its sub-folders. `bad` receives the folders that cannot be read, and
    the files that are audio or video by their names and not of a format that is decoded."""
    denied: list[OSError] = []
    unread: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=denied.append):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in files:
            if name[0] != "." and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(parent, name)
            elif name[0] != "." and is_unread_audio(name):
                unread.append(Path(parent, name))
    bad += [f"{error.filename}: {error.strerror}" for error in denied]
    bad += [f"{file}: not read, {UNREAD}" for file in sorted(unread)]


def is_unread_audio(name: str) -> bool:
    """Whether a file is audio or video by its name, which is not that of a format that is decoded."""
    suffix = Path(name).suffix.lower()
    kind = mimetypes.guess_type(f"./{name}")[0] or ""  # ./ since data: begins a URL
    by_type = kind.startswith(("audio/", "video/")) and suffix not in WITHOUT_SOUND
    return suffix in UNREAD_SUFFIXES or by_type


def no_audio_in(folder: Path) -> str:
    if (folder / "wav.scp").exists():
        return f"is a Kaldi data directory (ia3-speech decode {folder} DECODE_DIR)"
    return f"no audio files in this folder (searched for {' '.join(sorted(AUDIO_SUFFIXES))})"


def recordings_from_stdin(stream: BinaryIO) -> tuple[list[Recording], list[str]]:
    """`find_recordings` for what a pipe holds: an audio file, or paths, one a line.

    Audio is recognised by RIFF at its beginning (WAV) or by zero bytes (all other formats).

    Raises:
        UserError: the stream is empty.
    """
    data = stream.read()
    if data.startswith(b"RIFF") or b"\0" in data[:4096]:
        file = io.BytesIO(data)
        file.name = STDIN
        return [Recording(file, STDIN, Path("stdin"))], []
    paths = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(b"\n") if line.strip()]
    if not paths:
        raise UserError("no files were given, and stdin is empty (--help shows how to use it)")
    return find_recordings(paths)


def file_stem(target: Path) -> str:
    """A file's name without the suffix of audio."""
    return target.stem if target.suffix.lower() in AUDIO_SUFFIXES else target.name


def output_paths(recordings: Sequence[Recording], folder: Path, suffix: str) -> list[Path]:
    """The output file of each recording below `folder`: `a.wav` → `a.txt`; sub-folders are kept.

    Raises:
        UserError: two different recordings would have one output file.
    """
    owners: dict[Path, Recording] = {}
    paths = []
    for recording in recordings:
        target = recording.target
        paths.append(folder / target.with_name(file_stem(target) + suffix))
        other = owners.setdefault(paths[-1], recording)
        if other is not recording and Path(other.path).resolve() != Path(recording.path).resolve():
            raise UserError(
                f"{other.path} and {recording.path} would both be written to {paths[-1]} (give each an "
                f"--output-dir of its own; or give the folder above them, whose sub-folders are kept)"
            )
    return paths
