"""A data directory with long recordings → one whose utterances a base can be trained on.

In: a Kaldi data directory with texts. Out: another with `segments`: longer utterances are cut at pauses, text
and audio alike, by CTC segmentation (`ctc_segmentation`); what does not align is left out, and listed in the
file OUT.dropped.txt. Shorter utterances stay as they are, and their files are not read.

    ia3-speech datadir segment data/train data/train_segmented
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ia3_speech import atomic
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, audio_duration
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.data.utterance import MAX_LISTED, Utterance, load_utterances
from ia3_speech.decoding.ctc_segmentation import segment_recording
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

# Log-probability of 0.6 s. Of read speech and its own text the mini base gives -2.5 or more, of another text
# -5 or less.
MINIMUM_SCORE = -4.0


def segment_data_directory(
    source: Path,
    target: Path,
    base: Base,
    *,
    max_seconds: float | None = None,
    min_score: float = MINIMUM_SCORE,
    allow_pipes: bool = False,
) -> tuple[int, str]:
    """Write `target`: `source` with longer utterances cut. The two may be the same folder.

    What is left out is listed in a file beside it, TARGET.dropped.txt.

    Args:
        base: what aligns, of the language of the texts.
        max_seconds: of an utterance; None: the base's maximum input duration, else 15.
        min_score: a segment below it is left out, see `ctc_segmentation.Segment`.
        allow_pipes: run the shell commands of wav.scp, which is how the length of their audio is known.

    Returns:
        how many utterances were longer, and a sentence on what became of them.

    Raises:
        DataError: the directory is not valid, or nothing is left of it.
        AudioError: audio is unusable.
    """
    data = read_data_directory(source, allow_pipes=allow_pipes)
    maximum, minimum = max_seconds or base.maximum_seconds or MAXIMUM_SECONDS, base.minimum_samples
    lengths = {u.id: known_seconds(u) for u in data}
    unknown_or_long = [u for u in data if not minimum / SAMPLE_RATE <= lengths[u.id] <= maximum]
    parts: dict[str, list[Utterance]] = {}
    dropped: list[str] = []
    for utterance, wave in load_utterances(unknown_or_long, minimum_samples=minimum, allow_pipes=allow_pipes):
        lengths[utterance.id] = len(wave) / SAMPLE_RATE
        if lengths[utterance.id] > maximum:
            parts[utterance.id] = list(parts_of(utterance, wave, base, maximum, min_score, dropped))
    utterances = []
    for utterance in data:
        start, seconds = utterance.start or 0.0, lengths[utterance.id]
        whole = replace(utterance, start=start, end=start + seconds, duration=seconds)
        utterances += parts.get(utterance.id, [whole])
    file = Path(f"{target}.dropped.txt")
    if dropped:
        atomic.write_text(file, "".join(f"{line}\n" for line in dropped))
    else:
        file.unlink(missing_ok=True)
    more = len(dropped) - MAX_LISTED
    for line in dropped[:MAX_LISTED] + [f"and {more} more, see {file}"] * (more > 0):
        logger.warning(f"{source}/text: does not align: {line}")
    write_data_directory(target, utterances if parts else data, speaker_labels=data.speaker_labels)
    listed = f" (listed in {file})" if dropped else ""
    return len(parts), (
        f"{summarize(utterances)}; {len(parts)} long recordings became {sum(map(len, parts.values()))} "
        f"segments, {len(dropped)} more do not align and were left out{listed}"
    )


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
    utterance: Utterance, wave: np.ndarray, base: Base, maximum: float, min_score: float, dropped: list[str]
) -> Iterator[Utterance]:
    """The segments of one utterance: `ID-001`, `ID-002`, …; `dropped` receives a line for each left out."""
    try:
        segments = segment_recording(wave, utterance.text or "", base, maximum, min_score)
    except ValueError as error:
        whole = f"0.00 to {len(wave) / SAMPLE_RATE:.2f} s"
        dropped.append(f"{utterance.id}, {whole}, {error}: {utterance.text or ''}")
        return
    offset = utterance.start or 0.0
    for number, segment in enumerate(segments, 1):
        start, end = segment.start, segment.end
        if segment.score < min_score:
            place = f"{utterance.id}, {start:.2f} to {end:.2f} s"
            dropped.append(f"{place}, score {segment.score:.2f}: {segment.text}")
            continue
        id, times = f"{utterance.id}-{number:03d}", {"start": offset + start, "end": offset + end}
        yield replace(utterance, id=id, **times, text=segment.text, duration=end - start)
