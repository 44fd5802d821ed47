"""A data directory with long recordings → one whose utterances a base can be trained on.

In: a Kaldi data directory with texts. Out: another with `segments`: longer utterances are cut at pauses, text
and audio alike, by CTC segmentation (`ctc_segmentation`); what does not align is left out, and listed in the
file OUT.dropped.txt. Shorter utterances stay as they are, and their files are not read.

    ia3-speech datadir segment data/train data/train_segmented
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech import atomic
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, audio_duration
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.data.utterance import MAX_LISTED, Utterance, load_utterances
from ia3_speech.decoding.ctc_segmentation import segment_recording
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
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
        dropped_list: the file that lists it, None where nothing was left out.
    """

    utterances: list[Utterance]
    cut: int
    segments: int
    dropped: list[DroppedSegment]
    dropped_list: Path | None = None

    def summary(self) -> str:
        listed = f" (listed in {self.dropped_list})" if self.dropped_list else ""
        return (
            f"{summarize(self.utterances)}; {self.cut} long recordings became {self.segments} segments, "
            f"{len(self.dropped)} more do not align and were left out{listed}"
        )


def segment_data_directory(
    source: Path,
    target: Path,
    base: str | Base = "mini",
    *,
    max_seconds: float | None = None,
    min_score: float = MINIMUM_SCORE,
    allow_pipes: bool = False,
) -> SegmentedDirectory:
    """Write `target`: `source` with longer utterances cut. The two may be the same folder.

    What is left out is listed in a file beside it, TARGET.dropped.txt.

    Args:
        base: what aligns, of the language of the texts: mini, a folder or a hub id; or loaded.
        max_seconds: of an utterance; None: the base's maximum input duration, else 15.
        min_score: a segment below it is left out, see `ctc_segmentation.Segment`.
        allow_pipes: run the shell commands of wav.scp, which is how the length of their audio is known.

    Raises:
        DataError: the directory is not valid, or nothing is left of it.
        AudioError: audio is unusable.
        BaseError: the base cannot be loaded.
    """
    data = read_data_directory(source, allow_pipes=allow_pipes)
    loaded = base if isinstance(base, Base) else load_base(base)
    maximum = max_seconds or loaded.maximum_seconds or MAXIMUM_SECONDS
    minimum = loaded.minimum_samples
    lengths = {u.id: known_seconds(u) for u in data}
    unknown_or_long = [u for u in data if not minimum / SAMPLE_RATE <= lengths[u.id] <= maximum]
    parts: dict[str, list[Utterance | DroppedSegment]] = {}
    for utterance, wave in load_utterances(unknown_or_long, minimum_samples=minimum, allow_pipes=allow_pipes):
        lengths[utterance.id] = len(wave) / SAMPLE_RATE
        if lengths[utterance.id] > maximum:
            parts[utterance.id] = list(parts_of(utterance, wave, loaded, maximum, min_score))
    utterances, dropped = [], []
    for utterance in data:
        start, seconds = utterance.start or 0.0, lengths[utterance.id]
        whole = replace(utterance, start=start, end=start + seconds, duration=seconds)
        for part in parts.get(utterance.id, [whole]):
            (dropped if isinstance(part, DroppedSegment) else utterances).append(part)
    segments = len(utterances) - (len(data) - len(parts))
    dropped_list = list_dropped(source, target, dropped)
    utterances = utterances if parts else list(data)
    write_data_directory(target, utterances, speaker_labels=data.speaker_labels)
    return SegmentedDirectory(utterances, len(parts), segments, dropped, dropped_list)


def known_seconds(utterance: Utterance) -> float:
    """The length of a segment, or of a file by its header; nan where the audio has to be read for it.

    Not what utt2dur says: it may be rounded, and would become the end of the utterance in `segments`.
    """
    if utterance.end is not None:
        return utterance.end - (utterance.start or 0.0)
    if utterance.is_piped:
        return math.nan
    try:
        return audio_duration(utterance.source)
    except AudioError:  # reading the audio names it, with all other files that cannot be used
        return math.nan


def parts_of(
    utterance: Utterance, wave: np.ndarray, base: Base, maximum: float, min_score: float
) -> Iterator[Utterance | DroppedSegment]:
    """The segments of one utterance: `ID-001`, `ID-002`, …; or why they are left out."""
    try:
        segments = segment_recording(wave, utterance.text or "", base, maximum, min_score)
    except ValueError as error:
        seconds = len(wave) / SAMPLE_RATE
        yield DroppedSegment(utterance.id, 0.0, seconds, str(error), utterance.text or "")
        return
    offset = utterance.start or 0.0
    for number, segment in enumerate(segments, 1):
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


def list_dropped(source: Path, target: Path, dropped: list[DroppedSegment]) -> Path | None:
    """Write TARGET.dropped.txt, a line for each, and log the first 20.

    The list of an earlier run is removed, unless `source` is what that run made and the list still holds.
    """
    file = Path(f"{target}.dropped.txt")
    if not dropped:
        if source != target:
            file.unlink(missing_ok=True)
        return None
    atomic.write_text(file, "".join(f"{segment}\n" for segment in dropped))
    for segment in dropped[:MAX_LISTED]:
        logger.warning("%s/text: does not align: %s", source, segment)
    if len(dropped) > MAX_LISTED:
        logger.warning("%s/text: … and %d more, see %s", source, len(dropped) - MAX_LISTED, file)
    return file
