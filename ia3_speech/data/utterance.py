"""Utterances of a corpus (speaker, audio, text), their waveforms, and faults of a waveform.

Every command that reads a data directory loops over `load_utterances`, which finds missing, empty, short,
NaN, clipped and silent audio, and lists all faults at the end.
"""

import io
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np

from ia3_speech.common.errors import AudioError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.common.progress import Progress
from ia3_speech.data.audio import SAMPLE_RATE, audio_duration, load_audio, segment_of

LEAVE_OUT = (
    "Repair these files, or leave them out with `on_error=skip`, or by deleting their lines in utt2spk."
)
MAX_LISTED = 20  # utterances that a message lists

RECEPTIVE_FIELD = 400  # samples (25 ms) that a frame of a wav2vec 2.0 base sees, so the shortest usable input
# Clipping shows as flat tops: 0.1 to 3 % of the samples of speech that was cut off at half its peak, even
# after resampling or Opus; only single samples of speech that was scaled up to its peak.
FULL_SCALE = 0.99
FLAT_TOP = 3  # samples in a row, of one sign
CLIPPED_SHARE = 0.001  # of all samples
SILENT_PEAK = 1e-4  # of full scale, -80 dB: three steps of 16 bit, below the noise of any microphone
SILENT_SECONDS = 0.5  # shorter audio is not called silent


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance, with everything that the tables of a Kaldi data directory say about it."""

    id: str  # unique in its data directory
    speaker: str  # the speaker's id, in Kaldi a prefix of the utterance's
    recording: str  # the key of wav.scp; the utterance's id where there are no segments
    source: str  # an absolute path, or a shell command that ends in `|`; empty where there is no wav.scp
    start: float | None = None  # from segments, seconds in the recording, as `end`; None: the whole
    end: float | None = None
    text: str | None = None  # the transcript, None where there is no `text`
    duration: float | None = None  # seconds, from utt2dur, segments or reco2dur; None: unknown
    # `{"accent": "scottish", "gender": "f"}`, from utt2LABEL, else spk2LABEL
    labels: dict[str, str] = field(default_factory=dict)
    # Whether a shell command in `source` may be run: set by who reads the directory, never by the directory
    allow_pipe: bool = field(default=False, compare=False)

    @property
    def is_piped(self) -> bool:
        """Whether the audio is the output of a shell command (Kaldi's `sox … |`)."""
        return self.source.endswith("|")


def with_duration(utterance: Utterance, *, check: bool = False) -> Utterance:
    """The utterance with the duration of its segment, or of its file by the header; unknown for a pipe. With
    `check` raises AudioError where the segment is not inside its recording, by the header of that file, or
    where that file is missing or not audio."""
    if check and utterance.end is not None and not utterance.is_piped:
        frames = round(header_duration(utterance.source) * SAMPLE_RATE)
        segment_of(utterance.source, SAMPLE_RATE, frames, utterance.start, utterance.end)
    if utterance.duration is not None or (utterance.is_piped and utterance.end is None):
        return utterance
    end = audio_duration(utterance.source) if utterance.end is None else utterance.end
    return replace(utterance, duration=end - (utterance.start or 0.0))


# The segments of a recording follow one another: its header is read once.
header_duration = lru_cache(maxsize=1)(audio_duration)


def load_utterance(utterance: Utterance) -> np.ndarray:
    """Decode one utterance to float32 `(samples,)`, 16 kHz: its file or pipe, cut to its segment. Raises
    AudioError as `load_audio`; also for a shell pipe that fails, or is not allowed."""
    try:
        return load_source(utterance)
    except AudioError as error:
        raise AudioError(f"utterance {utterance.id}: {error}") from None


def load_utterances(
    utterances: Iterable[Utterance],
    *,
    minimum_samples: int = RECEPTIVE_FIELD,
    on_error: Literal["fail", "skip"] = "fail",
    bad: "list[BadAudio] | None" = None,
    progress: str | None = "reading audio",
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Yield `(utterance, wave)` for each usable utterance, in the order given. Raises AudioError where
    on_error is "fail" and audio is unusable.

    Args:
        minimum_samples: the base's shortest input, in samples at 16 kHz.
        on_error: "fail": raise one error that lists all unusable audio, after the last utterance. "skip":
            leave such utterances out. Clipped audio is yielded in both cases.
        bad: receives a `BadAudio` for each unusable or clipped utterance, in both cases.
        progress: the name of what runs (see `Progress`); None: show no progress.
    """
    bad = [] if bad is None else bad
    for utterance in Progress(utterances, progress, hidden=progress is None):
        file = utterance.source or "(no entry in wav.scp)"
        wave, problem = load_checked(partial(load_source, utterance), file, minimum_samples)
        if problem:
            bad.append(BadAudio(utterance.id, file, problem.reason, left_out=problem.fatal))
        if problem is None or not problem.fatal:
            yield utterance, wave
    if on_error == "fail":
        raise_if_unusable(bad)


def load_source(utterance: Utterance) -> np.ndarray:
    """The utterance's waveform. Errors as `load_utterance`."""
    source = utterance.source
    if utterance.is_piped:
        if not utterance.allow_pipe:
            raise AudioError(f"{source}: is a shell command (pass `allow_pipes` if you trust this wav.scp)")
        source = io.BytesIO(run_pipe(utterance.source))
        source.name = utterance.source
    return load_audio(source, start=utterance.start, end=utterance.end)


@lru_cache(maxsize=1)  # the segments of a recording follow one another
def run_pipe(command: str) -> bytes:
    """The output of a shell command (with the `|` at its end, as in wav.scp). Raises AudioError."""
    done = subprocess.run(
        command.rstrip().removesuffix("|"), shell=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise AudioError(
            f"{command}: the command failed with code {done.returncode}: {reason or '(silently)'}"
        )
    return done.stdout


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a waveform."""

    reason: str  # a phrase for messages, such as `too short (0.010 s, 0.025 s are needed)`
    fatal: bool = True  # whether no model can use the waveform; clipping and silence are only reported


def load_checked(
    load: Callable[[], np.ndarray], name: str | None, minimum_samples: int = RECEPTIVE_FIELD
) -> tuple[np.ndarray, Problem | None]:
    """The waveform that `load` returns, with its most serious problem; empty where `load` raises an
    AudioError, whose message, without `name` before it, is the problem."""
    try:
        wave = load()
    except AudioError as error:
        return np.zeros(0, np.float32), Problem(str(error).removeprefix(f"{name}: "))
    return wave, find_problem(wave, minimum_samples)


def find_problem(wave: np.ndarray, minimum_samples: int = RECEPTIVE_FIELD) -> Problem | None:
    """The most serious problem of `wave` (float32 `(samples,)`, 16 kHz), or None."""
    if wave.size == 0:
        return Problem("empty (no samples)")
    if wave.size < minimum_samples:
        seconds, needed = wave.size / SAMPLE_RATE, minimum_samples / SAMPLE_RATE
        return Problem(f"too short ({seconds:.3f} s, {needed:.3f} s are needed)")
    if not np.isfinite([wave.min(), wave.max()]).all():
        count = np.count_nonzero(~np.isfinite(wave))
        return Problem(f"{plural(count, 'sample is', 'samples are')} NaN or infinite")
    if (share := clipped_share(wave)) >= CLIPPED_SHARE:
        return Problem(f"clipped ({100 * share:.1f} % of the samples are flat at full scale)", fatal=False)
    if is_silent(wave):
        return Problem("silent (is the microphone or the right channel recorded?)", fatal=False)
    return None


def is_silent(wave: np.ndarray) -> bool:
    """Whether `wave` (samples,) holds nothing that a microphone could have recorded."""
    return wave.size >= SILENT_SECONDS * SAMPLE_RATE and np.ptp(wave) < 2 * SILENT_PEAK


def clipped_share(wave: np.ndarray) -> float:
    """The share of samples in runs of three or more at full scale, of one sign. `wave` is `(samples,)`."""
    if max(wave.max(), -wave.min()) < FULL_SCALE:
        return 0.0
    clipped = 0
    for is_full in (wave >= FULL_SCALE, wave <= -FULL_SCALE):
        edges = np.diff(is_full.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        clipped += int(runs[runs >= FLAT_TOP].sum())
    return clipped / wave.size


@dataclass(frozen=True, slots=True)
class BadAudio:
    """One utterance whose audio is unusable or clipped."""

    utterance: str  # its id
    file: str  # the path, or the shell command
    reason: str  # the fault
    left_out: bool = True  # whether the utterance is not used; false for clipped and silent audio

    def __str__(self) -> str:
        return f"{self.utterance}: {self.file}: {self.reason}"


def raise_if_unusable(
    bad: Sequence[BadAudio], fault: str = "unusable or damaged audio", hint: str = LEAVE_OUT
) -> None:
    """Raise an AudioError that lists the unusable entries of `bad`, if there are any."""
    if unusable := [entry for entry in bad if entry.left_out]:
        raise AudioError(f"{bad_audio_report(unusable, fault)}\n{hint}")


def bad_audio_report(bad: Sequence[BadAudio], fault: str) -> str:
    """`2 utterances have unusable or damaged audio:`, and a line for each of the first 20."""
    return f"{plural(len(bad), 'utterance has', 'utterances have')} {fault}:\n{list_bad_audio(bad)}"


def list_bad_audio(bad: Sequence[BadAudio]) -> str:
    """One indented line for each of the first 20 entries, and the number of the others."""
    return shorten([f"  {entry}" for entry in bad], "\n", MAX_LISTED)
