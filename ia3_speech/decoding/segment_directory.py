"""A data directory with long recordings → one whose utterances a base can be trained on.

In: a Kaldi data directory with texts. Out: another with `segments`: longer utterances are cut at pauses, text
and audio alike, by CTC segmentation (`ctc_segmentation`); what does not align is left out and listed. Shorter
utterances stay as they are.

    ia3-speech datadir segment data/train data/train_segmented
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import MAX_LISTED, load_utterances
from ia3_speech.decoding.ctc_segmentation import segment_recording
from ia3_speech.decoding.segmentation import MAXIMUM_SECONDS, maximum_input_seconds
from ia3_speech.model.base import Base, load_base

logger = logging.getLogger(__name__)

# Log-probability of 0.6 s. Of read speech and its own text the mini base gives -2.5 or more, of another text
# -5 or less.
MINIMUM_SCORE = -4.0


@dataclass(frozen=True)
class DroppedSegment:
    """A part of a recording that does not fit its text.

    Attributes:
        utterance: the id of what was cut.
        start, end: seconds in it.
        reason: such as `score -6.31`.
        text: that should be there.
    """

    utterance: str
    start: float
    end: float
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.utterance}, {self.start:.2f} to {self.end:.2f} s, {self.reason}: {self.text}"


@dataclass(frozen=True)
class SegmentedDirectory:
    """What became of a data directory.

    Attributes:
        utterances: that were written.
        cut: how many of the originals were longer than the maximum.
        segments: how many utterances were made of them.
        dropped: what was left out.
    """

    utterances: list[Utterance]
    cut: int
    segments: int
    dropped: list[DroppedSegment]

    def summary(self) -> str:
        return (
            f"{summarize(self.utterances)}; {self.cut} long recordings became {self.segments} segments, "
            f"{len(self.dropped)} more do not align and were left out"
        )


def segment_data_directory(
    source: Path,
    target: Path,
    base: str = "mini",
    *,
    max_seconds: float | None = None,
    min_score: float = MINIMUM_SCORE,
    allow_pipes: bool = False,
) -> SegmentedDirectory:
    """Write `target`: `source` with longer utterances cut. The two may be the same folder.

    Args:
        base: what aligns: mini, a folder or a hub id, of the language of the texts.
        max_seconds: of an utterance; None: the base's maximum input duration, else 15.
        min_score: a segment below it is left out, see `ctc_segmentation.Segment`.
        allow_pipes: run the shell commands of wav.scp.

    Raises:
        DataError: the directory is not valid, or nothing is left of it.
        AudioError: audio is unusable.
        BaseError: the base cannot be loaded.
    """
    data = read_data_directory(source, allow_pipes=allow_pipes)
    loaded = load_base(base)
    maximum = max_seconds or maximum_input_seconds(loaded) or MAXIMUM_SECONDS
    made, cut, segments, dropped = [], 0, 0, []
    minimum = loaded.minimum_samples
    for utterance, wave in load_utterances(data, minimum_samples=minimum, allow_pipes=allow_pipes):
        seconds = len(wave) / SAMPLE_RATE
        if seconds <= maximum:
            start = utterance.start or 0.0
            made.append(replace(utterance, start=start, end=start + seconds, duration=seconds))
            continue
        cut += 1
        for part in parts_of(utterance, wave, loaded, maximum, min_score):
            if isinstance(part, DroppedSegment):
                dropped.append(part)
            else:
                made.append(part)
                segments += 1
    if not cut:
        made = list(data)
    for line in list_dropped(dropped):
        logger.warning("%s/text: %s", source, line)
    write_data_directory(target, made, speaker_labels=data.speaker_labels)
    return SegmentedDirectory(made, cut, segments, dropped)


def parts_of(
    utterance: Utterance, wave: np.ndarray, base: Base, maximum: float, min_score: float
) -> Iterator[Utterance | DroppedSegment]:
    """The segments of one utterance: `ID-001`, `ID-002`, …; or why they are left out."""
    try:
        found = segment_recording(wave, utterance.text or "", base, maximum, min_score)
    except ValueError as error:
        seconds = len(wave) / SAMPLE_RATE
        yield DroppedSegment(utterance.id, 0.0, seconds, str(error), utterance.text or "")
        return
    offset = utterance.start or 0.0
    for number, segment in enumerate(found, 1):
        if segment.score < min_score:
            reason = f"score {segment.score:.2f}"
            yield DroppedSegment(utterance.id, segment.start, segment.end, reason, segment.text)
            continue
        yield replace(
            utterance,
            id=f"{utterance.id}-{number:03d}",
            start=offset + segment.start,
            end=offset + segment.end,
            text=segment.text,
            duration=segment.end - segment.start,
        )


def list_dropped(dropped: list[DroppedSegment]) -> list[str]:
    """A line for each of the first 20, and one for the number of the others."""
    more = [f"… and {len(dropped) - MAX_LISTED} more"] if len(dropped) > MAX_LISTED else []
    return [f"does not align: {one}" for one in dropped[:MAX_LISTED]] + more
