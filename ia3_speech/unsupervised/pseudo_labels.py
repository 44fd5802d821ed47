"""Pseudo-labels: what a recogniser hears in recordings, as far as it is sure of it, as a data directory.

In: recordings without texts, and a recogniser whose beam search weighs a language model. Out: utterances with
its texts: whole where it is sure of the whole, else the parts whose words it is sure of:

    the patient    denies     chest    pain       words
       .93  .95       .41       .88     .91       confidences, which `calibrate` makes probabilities
    |-----------|          |---------------|      two parts: "the patient" and "chest pain"

Wrong words in the targets teach the recogniser its own errors (confirmation bias: Kahn et al. 2020,
"Self-training for end-to-end speech recognition", arXiv 1909.09116, whose filter judges whole utterances).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.directory import UtteranceIds
from ia3_speech.data.recordings import find_recordings
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding.decode_directory import Decoding, read_for_decoding
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
from ia3_speech.decoding.segment_directory import known_seconds
from ia3_speech.decoding.transcript import Word

FEWEST_WORDS = 2  # of a part: one word, cut out of its context, is heard worse than it was there


def read_recordings(data: Path, allow_pipes: bool = False) -> tuple[list[Utterance], list[str]]:
    """The recordings of a Kaldi data directory, whose `text` is not read, or of a folder, where each is a
    speaker of its own; and a line for each file there that is of no known format."""
    if (data / "wav.scp").is_file():
        return [replace(u, text=None) for u in read_for_decoding(data, allow_pipes)], []
    recordings, bad = find_recordings([str(data)])
    if not recordings:
        raise UserError("\n".join(bad))
    ids = UtteranceIds(len(recordings))
    utterances = []
    for number, recording in enumerate(recordings, 1):
        speaker, id = ids.assign("", recording.id or "", number)
        utterances.append(Utterance(id, speaker, id, str(recording.audio)))
    return sorted(utterances, key=lambda utterance: utterance.id), bad


def confident_labels(
    utterances: Sequence[Utterance], decoding: Decoding, least: float, maximum_seconds: float | None
) -> list[Utterance]:
    """What can be learnt: whole utterances whose words have the mean confidence `least`, and of the others,
    and of those longer than `maximum_seconds`, the parts of two words or more each of which has it."""
    maximum, labels = maximum_seconds or MAXIMUM_SECONDS, []
    for utterance in utterances:
        if not (words := decoding.words.get(utterance.id)):
            continue
        length, offset = known_seconds(utterance), utterance.start or 0.0
        length = words[-1].end if math.isnan(length) else length  # of a shell pipe
        mean = sum(word.confidence for word in words) / len(words)
        if mean >= least and length <= maximum:
            parts = [(0.0, length, decoding.texts[utterance.id])]
        else:
            parts = [*confident_parts(words, length, least, maximum)]
        for number, (start, end, text) in enumerate(parts, 1):
            id = utterance.id if len(parts) == 1 else f"{utterance.id}-{number:03d}"
            times = {"start": offset + start, "end": offset + end, "duration": end - start}
            labels.append(replace(utterance, id=id, text=text, **times))
    return labels


def confident_parts(
    words: Sequence[Word], length: float, least: float, maximum: float
) -> Iterator[tuple[float, float, str]]:
    """Start and end, in seconds, and the text of each part whose words all have the confidence `least`. It
    begins and ends halfway to its neighbours, at most 0.5 s from its words, and has at most `maximum` s."""
    numbers = range(len(words))
    for confident, run in groupby(numbers, lambda number: words[number].confidence >= least):
        run = [*run]
        while confident and len(run) >= FEWEST_WORDS:
            taken = [n for n in run if words[n].end - words[run[0]].start <= maximum - 1.0] or run[:1]
            run = run[len(taken) :]
            first, last = words[taken[0]], words[taken[-1]]
            before = words[taken[0] - 1].end if taken[0] else -1.0
            after = words[taken[-1] + 1].start if taken[-1] + 1 < len(words) else length + 1.0
            start = max(0.0, first.start - 0.5, (before + first.start) / 2 if taken[0] else 0.0)
            end = min(length, last.end + 0.5, (last.end + after) / 2)
            yield start, end, " ".join(words[n].text for n in taken)
