"""Sound: any file that libsndfile reads (or a trusted shell pipe) → 16 kHz mono float32.

In: a path, an open binary file, or an utterance of a data directory. Out: `np.ndarray` float32 `(samples,)`
at `SAMPLE_RATE`, full scale ±1; or an `AudioError` that names file and reason. `load_all` is the loop that
every command runs over a data directory: it finds empty, short, NaN and clipped audio on its way.
"""

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from ia3_speech.cli import UserError

if TYPE_CHECKING:
    from ia3_speech.data.kaldi import Utterance

# What recordings are called: libsndfile's formats, and four that it can't read, so that none is left out of a
# folder without a word.
SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph", ".nist"),
    *(".m4a", ".aac", ".wma", ".amr"),
}
SAMPLE_RATE = 16_000  # Hz, of every wav2vec 2.0 and HuBERT base
RECEPTIVE_FIELD = 400  # samples (25 ms): what one frame of such a base sees, hence the shortest usable input
# Decoded before a segment and thrown away: after a jump an MP3 decoder lacks up to 511 bytes that earlier
# frames lent to later ones, 20 frames or 0.7 s at the lowest bit rates; Vorbis and Opus need a few windows.
LEAD_IN = 1.0  # seconds
SEGMENT_OVERSHOOT = 0.5  # seconds that a segment may outlast its recording (Kaldi's --max-overshoot)

# Clipped: flat tops. Speech scaled up to its peak has single samples at full scale and no runs of them;
# speech cut off at half its peak has 0.1 to 3 % of its samples in such runs, also after resampling or Opus.
FULL_SCALE = 0.99
FLAT_TOP = 3  # samples in a row, of one sign
CLIPPED_SHARE = 0.001  # of all samples

NAMED = 20  # bad utterances that an error lists one by one


class AudioError(UserError):
    """Audio that cannot be used. The message names the file (and the utterance) and the cure."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a waveform. `reason` is a phrase: `too short (0.010 s, 0.025 s are needed)`."""

    kind: Literal["empty", "short", "nan", "clipped"]
    reason: str

    @property
    def fatal(self) -> bool:
        """Whether no model can make use of it. Clipped speech is bad, and still speech."""
        return self.kind != "clipped"


@dataclass(frozen=True, slots=True)
class BadAudio:
    """One utterance that `load_all` found fault with; `left_out` says whether it was not yielded."""

    utterance: str
    file: str
    reason: str
    left_out: bool = True

    def __str__(self) -> str:
        return f"{self.utterance}: {self.file}: {self.reason}"


def load(
    source: Path | str | BinaryIO, *, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Decode to float32 `(samples,)`, 16 kHz, channels averaged.

    Args:
        source: a path, or a seekable binary file object.
        start: where to begin, in seconds (None: at 0).
        end: where to stop, in seconds (None: at the end). Up to 0.5 s after the end of the recording is
            forgiven and cut, as Kaldi's extract-segments does.

    Raises:
        AudioError: the file is missing, is not audio, or ends before the segment or its header says.
    """
    with opened(source) as sound:
        rate, frames = sound.samplerate, sound.frames
        first = round((start or 0.0) * rate)
        last = frames if end is None else round(end * rate)
        outside = first < 0 or last < first or (first > 0 and first >= frames)
        if outside or last - frames > SEGMENT_OVERSHOOT * rate:
            raise AudioError(
                f"{name_of(source)}: the segment from {start or 0:.2f} to {last / rate:.2f} s is not inside "
                f"the recording, which ends at {frames / rate:.2f} s (correct its line in segments)"
            )
        try:
            lead = min(first, round(LEAD_IN * rate))
            sound.seek(first - lead)
            wave = sound.read(max(0, min(last, frames) - first) + lead, dtype="float32", always_2d=True)[
                lead:
            ]
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            raise AudioError(
                f"{name_of(source)}: cannot be decoded: {sentence(error)} (damaged: copy the file again)"
            ) from None
    missing = max(0, min(last, frames) - first) - len(wave)
    if missing > SEGMENT_OVERSHOOT * rate:
        raise AudioError(
            f"{name_of(source)}: ends {missing / rate:.2f} s before its header says it does, at "
            f"{frames / rate:.2f} s (damaged: copy the file again)"
        )
    mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)
    return np.ascontiguousarray(resample(mono, rate, SAMPLE_RATE))


def load_utterance(utterance: "Utterance", *, allow_pipes: bool = False) -> np.ndarray:
    """Decode one utterance of a data directory: its file or pipe, cut to its segment.

    Raises:
        AudioError: as `load`; also for a shell pipe where `allow_pipes` is false, and for one that fails.
    """
    try:
        return load_source(utterance, run_pipe if allow_pipes else refuse_pipe)
    except AudioError as error:
        raise AudioError(f"utterance {utterance.id}: {error}") from None


def load_source(utterance: "Utterance", pipe: Callable[[str], bytes]) -> np.ndarray:
    """`load` for an utterance; `pipe` turns a shell command into the bytes of a sound file."""
    source = utterance.source
    if source.endswith("|"):
        stream = io.BytesIO(pipe(source))
        stream.name = source
        return load(stream, start=utterance.start, end=utterance.end)
    return load(source, start=utterance.start, end=utterance.end)


def load_all(
    utterances: Iterable["Utterance"],
    *,
    minimum_samples: int = RECEPTIVE_FIELD,
    on_error: Literal["fail", "skip"] = "fail",
    bad: list[BadAudio] | None = None,
    allow_pipes: bool = False,
    progress: bool = True,
) -> Iterator[tuple["Utterance", np.ndarray]]:
    """Yield `(utterance, wave)` for each usable utterance, in the order given.

    Args:
        minimum_samples: the base's shortest input, in samples at 16 kHz.
        on_error: "fail": unusable audio stops with one error that lists all of it, once the last utterance
            was looked at. "skip": it is left out. Clipped audio is yielded in both cases.
        bad: receives a `BadAudio` for each fault, clipped audio's too, in both cases.
        progress: a progress bar on stderr, where that is a terminal.

    Raises:
        AudioError: on_error is "fail" and audio is unusable.
    """
    if on_error not in ("fail", "skip"):
        raise ValueError(f"on_error is {on_error!r}, not fail or skip")
    bad = [] if bad is None else bad
    known_before = len(bad)
    # Segments of one recording follow one another, so its pipe runs once for all of them.
    pipe = lru_cache(maxsize=1)(run_pipe) if allow_pipes else refuse_pipe
    for utterance in bar(utterances, "reading audio", "utt", progress):
        file = utterance.source or "(no entry in wav.scp)"
        try:
            wave = load_source(utterance, pipe)
        except AudioError as error:
            bad.append(BadAudio(utterance.id, file, str(error).removeprefix(f"{file}: ")))
            continue
        fault = problem(wave, minimum_samples)
        if fault:
            bad.append(BadAudio(utterance.id, file, fault.reason, left_out=fault.fatal))
        if fault is None or not fault.fatal:
            yield utterance, wave
    if on_error == "fail":
        refuse(bad[known_before:])


def refuse(bad: Sequence[BadAudio]) -> None:
    """Raises AudioError where some of `bad` can't be used: 20 by name, the number of all, the cure."""
    unusable = [entry for entry in bad if entry.left_out]
    if not unusable:
        return
    hint = (
        "Repair these files, or leave them out: for good by deleting their lines in wav.scp and running fix; "
        "for one run by --on-error skip, where a command has it."
    )
    raise AudioError("\n".join([*named(unusable, "unusable or damaged audio"), hint]))


def named(bad: Sequence[BadAudio], what: str) -> list[str]:
    """Lines: how many utterances have `what`, and the first 20 of them."""
    return [f"{len(bad)} {'utterance has' if len(bad) == 1 else 'utterances have'} {what}:", *listed(bad)]


def listed(bad: Sequence[BadAudio]) -> list[str]:
    """A line for each of the first 20, and one for how many more there are."""
    more = [f"  … and {len(bad) - NAMED} more"] if len(bad) > NAMED else []
    return [f"  {entry}" for entry in bad[:NAMED]] + more


def problem(wave: np.ndarray, minimum_samples: int = RECEPTIVE_FIELD) -> Problem | None:
    """The worst thing that is wrong with `wave` (float32 `(samples,)`, 16 kHz), or None."""
    if wave.size == 0:
        return Problem("empty", "empty (no samples)")
    if wave.size < minimum_samples:
        seconds, needed = wave.size / SAMPLE_RATE, minimum_samples / SAMPLE_RATE
        return Problem("short", f"too short ({seconds:.3f} s, {needed:.3f} s are needed)")
    if not np.isfinite(wave).all():
        return Problem("nan", f"{np.count_nonzero(~np.isfinite(wave))} samples are NaN or infinite")
    share = clipped_share(wave)
    if share >= CLIPPED_SHARE:
        return Problem("clipped", f"clipped ({100 * share:.1f} % of the samples are flat at full scale)")
    return None


def clipped_share(wave: np.ndarray) -> float:
    """The share of samples that stand in runs of three or more at full scale, of one sign."""
    if wave.size == 0 or np.abs(wave).max() < FULL_SCALE:
        return 0.0
    flat = 0
    for side in (wave, -wave):
        edges = np.diff(np.concatenate(([0], (side >= FULL_SCALE).astype(np.int8), [0])))
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        flat += int(runs[runs >= FLAT_TOP].sum())
    return flat / wave.size


def duration(path: Path | str) -> float:
    """Length in seconds, from the header: nothing is decoded.

    Raises:
        AudioError: the file is missing or is not audio.
    """
    with opened(path) as sound:
        return sound.frames / sound.samplerate


def speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play `wave` `factor` times as fast, pitch included: sox's `speed`, as Kaldi's 0.9/1.0/1.1 perturbation.

    `(samples,)` → `(about samples / factor,)`. Ko et al. 2015, Audio augmentation for speech recognition.
    """
    if not factor > 0:
        raise ValueError(f"a speed factor is positive, not {factor}")
    return resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE)


def resample(wave: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Band-limited resampling (the SoX resampler) of `(samples,)` from `rate` to `new_rate` Hz."""
    if rate == new_rate or wave.size == 0:
        return wave.astype(np.float32, copy=False)
    import soxr

    return soxr.resample(wave.astype(np.float32, copy=False), rate, new_rate)


def wave_of(audio: Any) -> np.ndarray:
    """(samples,) float32 at 16 kHz, of such numbers or of what `datasets` decodes: ["array"], (samples,) or
    (channels, samples), and ["sampling_rate"]."""
    if isinstance(audio, np.ndarray | list | tuple) or hasattr(audio, "shape"):
        return np.asarray(audio, dtype=np.float32)
    wave = np.asarray(audio["array"], dtype=np.float32)
    return resample(wave.mean(0) if wave.ndim == 2 else wave, audio["sampling_rate"], SAMPLE_RATE)


def opened(source: Path | str | BinaryIO):
    """A `soundfile.SoundFile`, or an AudioError that says what the file is instead."""
    import soundfile

    try:
        # As bytes: soundfile can't encode a name that isn't UTF-8.
        return soundfile.SoundFile(source if hasattr(source, "read") else os.fsencode(source))
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"{name_of(source)}: {diagnosis(source, error)}") from None


def diagnosis(source: Path | str | BinaryIO, error: Exception) -> str:
    """Why this is no audio: missing, a folder, a Git LFS pointer, a Kaldi archive, an unknown format."""
    if hasattr(source, "read"):
        source.seek(0)
        head = source.read(64)
    elif not os.path.exists(source):  # noqa: PTH110 (Path.exists raises where a name is too long)
        if ".ark:" in str(source):
            return (
                "is an entry of a Kaldi archive (write audio files: wav-copy, or ESPnet's format_wav_scp.py)"
            )
        return "no such file (correct wav.scp, or copy the audio there)"
    elif Path(source).is_dir():
        return "is a folder, not an audio file"
    else:
        try:
            with Path(source).open("rb") as file:
                head = file.read(64)
        except OSError as denied:
            return f"cannot be read: {denied.strerror}"
    if not head:
        return "empty (no bytes)"
    if head.startswith(b"version https://git-lfs"):
        return 'is a Git LFS pointer, not audio (run "git lfs pull" in its repository)'
    return f"is not audio that libsndfile reads: {sentence(error)} (convert it to wav, flac, ogg or mp3)"


def run_pipe(command: str) -> bytes:
    """What the shell command `command` (it ends in `|`, as in wav.scp) writes to stdout."""
    done = subprocess.run(
        command.rstrip().removesuffix("|"), shell=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise AudioError(f"{command}: the command failed with code {done.returncode}"
                         f"{': ' + words[-1] if words else ''} (run it by hand to see why)")  # fmt: skip
    return done.stdout


def refuse_pipe(command: str) -> bytes:
    raise AudioError(f"{command}: is a shell command (pass --allow-pipes if you trust this wav.scp)")


def bar(items: Iterable, what: str, unit: str, wanted: bool) -> Iterable:
    """`items` under a progress bar on stderr; none where stderr is not a terminal."""
    from tqdm import tqdm

    return tqdm(
        items, desc=what, unit=unit, dynamic_ncols=True, leave=False, disable=None if wanted else True
    )


def name_of(source: Path | str | BinaryIO) -> str:
    return str(getattr(source, "name", "(audio from a stream)") if hasattr(source, "read") else source)


def sentence(error: Exception) -> str:
    """A library's message without the file's name or the stream's repr, which we put in front ourselves."""
    message = re.sub(r"^Error opening .*[>']: ", "", str(error), flags=re.DOTALL)
    return (message or type(error).__name__).strip().rstrip(".")
