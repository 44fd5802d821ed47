"""Audio in all forms that users give: paths, folders, a pipe; arrays, tensors, bytes, cells of `datasets`."""

import io
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from ia3_speech.common.errors import AudioError, UserError
from ia3_speech.data import audio as audio_files
from ia3_speech.data.audio import AUDIO_SUFFIXES, SAMPLE_RATE, load_audio

STDIN = "-"
Item = TypeVar("Item")
# Audio and video that is not decoded: of dictation machines, telephones, cameras, and older formats.
UNREAD_SUFFIXES = {
    *(".dss", ".ds2", ".dvf", ".msv", ".vox", ".gsm", ".voc", ".spx", ".wv", ".ape", ".tta", ".mpc", ".shn"),
    *(".mp1", ".mp2", ".mpa", ".ac3", ".dts", ".ra", ".rm", ".avi", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".ogv", ".vob", ".qt"),
}
ACCEPTED = (
    "accepted are float samples, {array, sampling_rate}, {bytes, path}, a path, the bytes of an audio file, "
    "and decoders with get_all_samples()"
)

# Also tensors and torchcodec's decoders, whose types are not imported here.
AudioInput = str | os.PathLike[str] | BinaryIO | bytes | np.ndarray | dict[str, Any] | Any


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe."""

    audio: AudioInput  # anything that `to_waveform` accepts
    path: str | None  # its name in messages and results; None for samples and bytes
    target: Path = Path()  # its place below an output folder, still with the suffix of the audio
    sampling_rate: int = SAMPLE_RATE  # of samples alone, in Hz

    @property
    def id(self) -> str | None:
        """The id in Kaldi's files: the path below the searched folder, without the suffix and with a dash
        between folders (`monday-001`); None without a path."""
        return "-".join((*self.target.parts[:-1], file_stem(self.target))) or None

    def load(self) -> np.ndarray:
        """float32 `(samples,)` at 16 kHz; as `to_waveform`."""
        return to_waveform(self.audio, self.sampling_rate)


def as_recording(audio: AudioInput, sampling_rate: int = SAMPLE_RATE) -> Recording:
    """A recording of anything that `to_waveform` accepts."""
    if hasattr(audio, "read"):
        return Recording(audio, audio_files.source_name(audio))
    if isinstance(audio, str | os.PathLike):
        return Recording(audio, os.fspath(audio))
    path = audio.get("path") if isinstance(audio, dict) else None
    return Recording(audio, path and str(path), sampling_rate=sampling_rate)


def recording_duration(recording: Recording) -> float:
    """Seconds according to the file's header; 0 where it cannot be read."""
    if isinstance(recording.audio, np.ndarray):
        return len(recording.audio) / SAMPLE_RATE
    try:
        return audio_files.audio_duration(recording.audio)
    except AudioError:
        return 0.0


def find_recordings(paths: Iterable[str]) -> tuple[list[Recording], list[str]]:
    """The recordings that `paths` name, and a message for each path that names none.

    Folders are searched at any depth; their files are sorted, hidden ones left out.
    """
    recordings: list[Recording] = []
    bad: list[str] = []
    for path in paths:  # os.path, since Path's methods raise for an impossible name
        if os.path.isdir(path):  # noqa: PTH112
            files = files_below(Path(path), bad)
            audio = [file for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
            recordings += [Recording(file, str(file), file.relative_to(path)) for file in audio]
            unread = [file for file in files if file.suffix.lower() in UNREAD_SUFFIXES]
            bad += [f"{file}: its format is not decoded (convert it to wav, flac or mp3)" for file in unread]
            if Path(path, "wav.scp").exists() and not audio:
                bad.append(f"{path}: is a Kaldi data directory (ia3-speech decode {Path(path)} DECODE_DIR)")
            elif not audio:
                bad.append(f"{path}: no audio files in this folder ({' '.join(sorted(AUDIO_SUFFIXES))})")
        elif not os.path.exists(path):  # noqa: PTH110
            bad.append(f"{path}: no such file or folder")
        elif stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 (/dev/stdin behind `|`, and <(command))
            with open(path, "rb") as pipe:  # noqa: PTH123 (as above)
                piped, unread = recordings_from_pipe(pipe, path)
            recordings += piped
            bad += unread
        else:
            recordings.append(Recording(path, path, Path(Path(path).name)))
    return recordings, bad


def files_below(folder: Path, bad: list[str]) -> list[Path]:
    """The files below a folder, sorted, without hidden files. `bad` receives unreadable folders."""
    files: list[Path] = []
    denied: list[OSError] = []
    seen: set[str] = set()
    tops = [folder]  # links are followed last, so that a file has its real path if that is below `folder`
    while tops:
        for parent, folders, names in os.walk(tops.pop(0), onerror=denied.append):
            if (place := os.path.realpath(parent)) in seen:
                folders[:] = []
                continue
            seen.add(place)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            tops += [link for name in folders if (link := Path(parent, name)).is_symlink()]
            files += [Path(parent, name) for name in names if name[0] != "."]
    bad += [f"{error.filename}: {error.strerror}" for error in denied]
    return sorted(files)


def recordings_from_pipe(stream: BinaryIO, name: str = STDIN) -> tuple[list[Recording], list[str]]:
    """`find_recordings` for the content of a pipe: an audio file, which begins with RIFF or holds zero bytes;
    or paths, one a line. Raises UserError where it is empty."""
    data = stream.read()
    if data.startswith(b"RIFF") or b"\0" in data[:4096]:
        file = io.BytesIO(data)
        file.name = name
        return [Recording(file, name, Path("stdin" if name == STDIN else Path(name).name))], []
    paths = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(b"\n") if line.strip()]
    if not paths:
        raise UserError("no files were given, and stdin is empty (--help shows how to use it)")
    return find_recordings(paths)


def file_stem(target: Path) -> str:
    """A file's name without an audio suffix."""
    return target.stem if target.suffix.lower() in AUDIO_SUFFIXES else target.name


def output_paths(recordings: Sequence[Recording], folder: Path, suffix: str) -> list[Path]:
    """The output file of each recording below `folder`: `a.wav` → `a.txt`; sub-folders are kept. Raises
    UserError where two different recordings would have the same output file."""
    owners: dict[Path, Recording] = {}
    paths = []
    for recording in recordings:
        target = recording.target
        paths.append(folder / target.with_name(file_stem(target) + suffix))
        other = owners.setdefault(paths[-1], recording)
        if other is not recording and Path(other.path).resolve() != Path(recording.path).resolve():
            both = f"{other.path} and {recording.path} would both be written to {paths[-1]}"
            raise UserError(f"{both} (rename one, or give each a different `output_dir`)")
    return paths


def is_one_recording(audio: Any) -> bool:
    """Whether `audio` is a single recording and not a sequence; a list of numbers is a sequence."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | dict) or not isinstance(audio, Iterable):
        return True
    return any(hasattr(audio, name) for name in ("read", "__array__", "get_all_samples"))


def leave_undecoded() -> None:
    """Where torchcodec is missing, let `datasets` yield its audio as by `Audio(decode=False)`, which
    `to_waveform` decodes, instead of an ImportError."""
    datasets = sys.modules.get("datasets")
    if datasets and not datasets.config.TORCHCODEC_AVAILABLE:
        datasets.Audio.decode_example = lambda audio, cell, **_: cell


def to_waveform(audio: Any, sampling_rate: int = SAMPLE_RATE) -> np.ndarray:
    """float32 `(samples,)` at 16 kHz of a cell of a dataset, or of any other object that holds audio.

    Args:
        audio: one of
            - samples, float, `(samples,)`, as an array, a tensor (of any device) or a list, at
            `sampling_rate`;
            - {"array": samples, `(samples,)` or `(channels, samples)`, "sampling_rate": in Hz}, as `datasets`
              decoded audio before version 4;
            - {"bytes": of an audio file, or None, "path": its path, or None}: rows of `Audio(decode=False)`;
            - a path, an open binary file, or the bytes of an audio file;
            - a decoder with `get_all_samples()`, whose result has `data`, `(channels, samples)`, and
              `sample_rate`, such as torchcodec's, to which `datasets` 4 decodes.
        sampling_rate: of samples alone, in Hz.

    Raises:
        AudioError: it is none of these, or a file that `load_audio` refuses.
        ValueError: samples that are not float, or not of this shape.
    """
    name = None
    if isinstance(audio, dict):
        if audio.get("array") is not None:
            if not audio.get("sampling_rate"):
                raise AudioError('has "array", but no "sampling_rate" beside it, in Hz')
            return from_samples(audio["array"], audio["sampling_rate"], channels=True)
        name, content = audio.get("path"), audio.get("bytes")
        if content is None and not name:
            raise AudioError(f"is a dictionary of {', '.join(map(str, audio)) or 'nothing'}: {ACCEPTED}")
        audio = name if content is None else content
    if isinstance(audio, bytes | bytearray):
        stream = io.BytesIO(audio)
        stream.name = str(name or "(bytes)")  # in messages
        return load_audio(stream)
    if isinstance(audio, str | os.PathLike) or hasattr(audio, "read"):
        return load_audio(audio)
    if hasattr(audio, "get_all_samples"):
        try:
            samples = audio.get_all_samples()
        except (RuntimeError, ValueError, OSError) as error:
            raise AudioError(f"cannot be decoded: {str(error).strip().splitlines()[0]}") from None
        return from_samples(samples.data, samples.sample_rate, channels=True)
    if isinstance(audio, list | tuple) or hasattr(audio, "__array__"):
        return from_samples(audio, sampling_rate)
    raise AudioError(f"is {'empty (None)' if audio is None else f'a {type(audio).__name__}'}: {ACCEPTED}")


def from_samples(samples: Any, sampling_rate: float, *, channels: bool = False) -> np.ndarray:
    """The waveform of `(samples,)`; with `channels`, of `(channels, samples)` too."""
    if hasattr(samples, "detach"):  # a tensor, perhaps with gradients, on a device, or bfloat16
        samples = samples.detach().cpu()
        samples = samples.float() if samples.is_floating_point() else samples
    wave = np.asarray(samples)
    wrong_shape = wave.ndim != 1 and not (channels and wave.ndim == 2)
    if wrong_shape or (wave.size and not np.issubdtype(wave.dtype, np.floating)):
        wanted = "(samples,) or (channels, samples)" if channels else "(samples,)"
        is_not = f"not {wave.dtype} of shape {wave.shape} (divide int16 by 32768)"
        raise ValueError(f"a waveform is float, of shape {wanted} and full scale ±1, {is_not}")
    wave = wave.astype(np.float32, copy=False)
    if wave.ndim == 2:
        return audio_files.to_mono([(wave.T, sampling_rate)], "audio")
    return audio_files.resample(wave, sampling_rate, SAMPLE_RATE)


@dataclass(frozen=True)
class Part:
    """A part of a list: 3/8 is every eighth item from the third on."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Part":
        """The part that the option `part` names; None: the whole. Raises UserError."""
        number, _, count = (text or "1/1").partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UserError(f"`part={text}`: write it as 3/8, the third of eight parts")
        return cls(int(number), int(count))

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        return items[self.number - 1 :: self.count]

    @property
    def stem(self) -> str:
        """3of8, for names of files."""
        return f"{self.number}of{self.count}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
