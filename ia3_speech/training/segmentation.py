"""A data directory with long recordings → a data directory whose utterances a base can be trained on.

In: a Kaldi data directory with texts. Out: another with `segments`: longer utterances are cut at pauses, text
and audio alike; parts that do not align are left out, and listed in the file OUT.dropped.txt. Shorter
utterances stay as they are, and their files are not read.

    ia3-speech datadir segment data/train data/train_segmented

By CTC segmentation (Kürzinger et al. 2020, "CTC-Segmentation of Large Corpora for German End-to-end Speech
Recognition", arXiv 2007.09127): the Viterbi path of the text through the whole recording, and as a segment's
score the lowest mean log-probability of any 30 frames of it. A recording is left out as a whole if its text
fits hardly better than the same symbols in reverse order, since an untrained base gives every text a moderate
probability, and a wrong text may reach that of telephone speech.

    words      take    two  tablets          and     rest
    frames  ___t_a_ke__t_wo_t_a_bl_ets_______a_nd____r_est___
    cuts                                 |  the longest pause within the maximum
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ia3_speech.common import atomic
from ia3_speech.common.errors import AudioError, DataError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import read_data_directory, summarize, write_data_directory
from ia3_speech.data.text import target_text
from ia3_speech.data.utterance import MAX_LISTED, Utterance, load_utterances, with_duration
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS, best_cuts, cut_at_pauses, quietest
from ia3_speech.decoding.word_times import forced_path, spans, spell
from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

# Log-probability of 0.6 s. Of read speech and its own text the mini base gives -2.5 or more, of another text
# -5 or less.
MIN_SCORE = -4.0
# `Alignment.fit` by mini of ten recordings of read_english's dev and twelve of minds14, 16 to 60 s each: read
# speech with its own text has 0.93 or more, telephone speech (WER 68 %) 0.44 or more, a text of which a
# quarter is right 0.19 or more, another recording's text 0.15 or less. With random weights in place of its
# own, or of its head's, every text has 0.12 or less.
MIN_FIT = 0.17
SCORE_FRAMES = 30  # 0.6 s: the window of the score (L in the paper)
MIN_SEGMENT_SECONDS = 3.0  # to which segments that do not align are cut, to save the parts that fit
MARGIN = 0.3  # seconds kept beside the first and the last word


def segment_data_directory(
    source: Path,
    target: Path,
    base: Base,
    *,
    max_seconds: float | None = None,
    min_score: float = MIN_SCORE,
    allow_pipes: bool = False,
) -> tuple[int, str]:
    """Write `source` as `target`, which may be the same folder, with longer utterances cut. `ia3-speech
    datadir segment --help` explains the options. Returns the number of longer utterances, and a sentence
    about the result.

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
    for utterance, wave in load_utterances(unknown_or_long, minimum_samples=minimum):
        lengths[utterance.id] = len(wave) / SAMPLE_RATE
        if lengths[utterance.id] > maximum:
            base.require("segmentation")
            parts[utterance.id] = list(parts_of(utterance, wave, base, maximum, min_score, dropped))
    utterances = []
    for utterance in data:
        start, seconds = utterance.start or 0.0, lengths[utterance.id]
        whole = replace(utterance, start=start, end=start + seconds, duration=seconds)
        utterances += parts.get(utterance.id, [whole])
    file, listed = Path(f"{target}.dropped.txt"), ""
    file.unlink(missing_ok=True)
    if dropped:
        atomic.write_text(file, "".join(f"{line}\n" for line in dropped))
        listed = f" (listed in {file})"
        logger.warning("%s/text: does not align:\n%s%s", source, shorten(dropped, "\n", MAX_LISTED), listed)
    if not utterances:
        hint = f"is {base.name} a trained base, of their language?"
        raise DataError(f"{source}: no recording aligns with its text ({hint})")
    write_data_directory(target, utterances if parts else data, speaker_labels=data.speaker_labels)
    became = f"{plural(len(parts), 'long recording')} became {sum(map(len, parts.values()))} segments"
    return len(parts), f"{summarize(utterances)}; {became}, {len(dropped)} more do not align{listed}"


def known_seconds(utterance: Utterance) -> float:
    """The length of a segment, or of a file by its header; nan where only the audio tells it.

    It is not the length in utt2dur, which may be rounded and would become the utterance's end in `segments`.
    """
    try:
        return with_duration(replace(utterance, duration=None)).duration or math.nan
    except AudioError:  # reading the audio reports it
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
    for number, s in enumerate(segments, 1):
        if s.score < min_score:
            dropped.append(f"{utterance.id}, {s.start:.2f} to {s.end:.2f} s, score {s.score:.2f}: {s.text}")
            continue
        id, times = f"{utterance.id}-{number:03d}", {"start": offset + s.start, "end": offset + s.end}
        yield replace(utterance, id=id, **times, text=s.text, duration=s.end - s.start)


@dataclass(frozen=True)
class Segment:
    """A part of a recording with its words."""

    start: float  # seconds, as `end`
    end: float
    text: str
    score: float  # see `Alignment.score`


@dataclass(frozen=True)
class Alignment:
    """The Viterbi path of a transcript through a recording."""

    words: list[str]  # in order; each with the words beside it that the base cannot write
    starts: np.ndarray  # `(words,)`, seconds, as `ends`
    ends: np.ndarray
    path_scores: np.ndarray  # `(frames,)`, the log-probability of the path's symbol in each frame
    frame_times: np.ndarray  # `(frames,)`, seconds
    # 1 − the log-probability of the path / that of the symbols in reverse order: 1 is perfect, 0 is chance
    fit: float

    def score(self, start: float, end: float) -> float:
        """The lowest mean of `path_scores` over 30 frames from `start` to `end` seconds; 0 is perfect."""
        first, last = np.searchsorted(self.frame_times, (start, end))
        scores = self.path_scores[first : max(last, first + 1)].astype(np.float64)
        return float(sliding_window_view(scores, min(SCORE_FRAMES, len(scores))).mean(1).min())


def align_recording(wave: np.ndarray, text: str, base: Base, maximum_seconds: float) -> Alignment:
    """The alignment of `text` with `wave`, float32 `(samples,)`, 16 kHz, by a base of its language. Raises
    ValueError where the words need more frames, or the base can write none of them."""
    words, vocabulary = text.split(), base.vocabulary
    symbols = spell([target_text(word, "ctc", vocabulary) for word in words], vocabulary)
    if not symbols:
        raise ValueError("the base can write nothing of the text")
    parts, times = [], []
    for first, end in cut_at_pauses(wave, maximum_seconds):
        (logits,) = base.logits([wave[first:end]])
        parts.append(logits.log_softmax(-1).numpy())
        times.append((first + base.stride * np.arange(len(logits))) / SAMPLE_RATE)
    log_probabilities, frame_times = np.concatenate(parts), np.concatenate(times)
    tokens = [token for token, _ in symbols]
    path, reverse = (forced_path(log_probabilities, t, vocabulary.blank) for t in (tokens, tokens[::-1]))
    every = np.arange(len(path))
    scores = log_probabilities[every, path]
    fit = 1 - scores.sum() / log_probabilities[every, reverse].sum() if tokens != tokens[::-1] else 1.0
    frames: dict[int, tuple[int, int]] = {}  # the first and the last of each word that can be written
    for (_, owner), (first, last) in zip(symbols, spans(path, vocabulary.blank), strict=True):
        if owner >= 0:
            frames[owner] = frames.get(owner, (first, last))[0], last
    begins = [0, *[*frames][1:], len(words)]
    texts = [" ".join(words[begin:end]) for begin, end in pairwise(begins)]
    firsts, lasts = np.array([*frames.values()]).T
    ends = frame_times[lasts] + base.stride / SAMPLE_RATE
    return Alignment(texts, frame_times[firsts], ends, scores, frame_times, fit)


def segment_recording(
    wave: np.ndarray,
    text: str,
    base: Base,
    maximum_seconds: float = MAXIMUM_SECONDS,
    min_score: float = -math.inf,
) -> list[Segment]:
    """Segments of at most `maximum_seconds`, cut where the pauses between words are longest, in their
    quietest place; a single longer word is cut alone. A segment below `min_score` is cut again, into shorter
    ones, to save the parts that fit. `wave` is float32 `(samples,)`, 16 kHz. Raises ValueError as
    `align_recording`, or if the whole text does not fit."""
    alignment = align_recording(wave, text, base, maximum_seconds)
    if alignment.fit < MIN_FIT:
        fits = f"its text fits hardly better than reversed: {alignment.fit:.2f}, {MIN_FIT} is needed"
        raise ValueError(f"{fits} (another text, or a base that is untrained or of another language)")
    starts, ends = alignment.starts, alignment.ends
    cuts = [0.0]
    for end, start in zip(ends[:-1], starts[1:], strict=True):
        between = round(end * SAMPLE_RATE), round(start * SAMPLE_RATE)
        cuts.append(quietest(wave, *between) / SAMPLE_RATE if start > end else (start + end) / 2)
    cuts.append(len(wave) / SAMPLE_RATE)
    lefts = np.maximum(cuts[:-1], starts - MARGIN)  # of a segment that begins with word n
    rights = np.minimum(cuts[1:], ends + MARGIN)  # of a segment that ends with word n

    def segments(first: int, last: int, maximum: float) -> Iterator[Segment]:
        """The segments of words `first` to `last`; a segment that does not fit is cut at half the maximum."""
        part = slice(first, last + 1)
        for a, b in best_cuts(starts[part], ends[part], lefts[part], rights[part], maximum):
            begin, end = first + a, first + b
            score = alignment.score(starts[begin], ends[end])
            if score < min_score and begin < end and maximum / 2 >= MIN_SEGMENT_SECONDS:
                yield from segments(begin, end, maximum / 2)
            else:
                text = " ".join(alignment.words[begin : end + 1])
                yield Segment(float(lefts[begin]), float(rights[end]), text, score)

    return list(segments(0, len(starts) - 1, maximum_seconds))
