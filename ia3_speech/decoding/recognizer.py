"""A recogniser: a base with an adapter, a search and a scale of confidences, to turn waveforms into words.

In: waveforms, float32 (samples,), 16 kHz mono, of any length. Out: the recognised words of each. `decode`,
`transcribe`, `live` and the server share it. It cuts long waveforms, makes batches of similar length, and
searches. `session.Session.recognizer` makes a recogniser for an adapter.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ia3_speech.adapters.spec import BASE_ALONE, AdapterSpec, Term
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.data.utterance import is_silent
from ia3_speech.decoding.transcript import Choice, Word
from ia3_speech.decoding.vad import VadMethod, cut_speech, find_speech
from ia3_speech.decoding.word_times import Scaling, words_of
from ia3_speech.model.hypotheses import Hypothesis, Search, search_each, search_rows

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

STREAMED_BATCHES = 4  # `stream` sorts so many by length: more give less padding, but delay the output
POOL_SECONDS = 1200.0  # of audio that is read before it is sorted into batches: 77 MB

Key = TypeVar("Key")
Row = tuple[Term, ...]  # a waveform's adapter: the terms of a spec
# Waveforms, their rows, and the front end's output for each, if it is known → logits of each row, (frames,
# vocabulary).
Compute = Callable[[Sequence[np.ndarray], Sequence[Row], "Sequence[Tensor] | None"], "list[Tensor]"]
# What a recording's earlier pieces say on the next: the probability of each of a router's recognisers.
Memory = dict[int, float]


@dataclass(frozen=True)
class Recognition:
    """The recognised words of a waveform, or of a piece of one."""

    text: str  # "" if nothing was recognised
    words: tuple[Word, ...] = ()  # with times in the recording and confidences, if they were asked for
    choices: tuple[Choice, ...] = ()  # of a router, for each piece
    confidences: tuple[float, ...] = ()  # of the words, not calibrated, for a router
    language: str | None = None  # code, of a base that writes several; of a recording, its first piece's


@dataclass(frozen=True)
class Candidates:
    """The recognisers of a piece of audio, and the choice among their recognitions: its number, and what it
    is called. It reads and updates the recording's memory."""

    recognizers: Sequence["Recognizer"]
    choose: Callable[[Sequence[Recognition], Memory], tuple[int, Choice]]


@dataclass(frozen=True)
class Recognizer:
    """A base with an adapter, a search and a scale of confidences."""

    base: "Base"
    spec: AdapterSpec = BASE_ALONE
    search: Search | None = None  # from logits to words; None: greedy search
    search_record: Mapping[str, Any] = field(default_factory=lambda: {"search": "greedy"})  # for decode.json
    scaling: Scaling | None = None  # of the words' confidences; None: they are not calibrated
    router: Any = None  # chooses each piece's recogniser: adapter, search, scaling (`routing.router.Router`)
    compute: Compute | None = None  # logits of rows; None: the base's model as it is
    test_time: Any = None  # adapts vectors to each piece of audio (`decoding.suta.Suta`)
    batch_seconds: float | None = None  # as for `session.load`, like `vad`
    max_seconds: float | None = None  # longer audio is cut at pauses; None: never
    vad: VadMethod = "off"

    def __post_init__(self) -> None:
        if self.search is None:
            object.__setattr__(self, "search", self.base.greedy)
        if self.batch_seconds is None:
            object.__setattr__(self, "batch_seconds", self.base.batch_seconds)

    @property
    def name(self) -> str | None:
        """The adapter's name; None for the base alone."""
        return str(self.spec) or None

    def texts(self, waves: Sequence[np.ndarray], rows: Sequence[Row] | None = None) -> list[str]:
        """The text of each waveform; see `recognize`."""
        return [recognition.text for recognition in self.recognize(waves, rows=rows)]

    def recognize(
        self,
        waves: Sequence[np.ndarray],
        advance: Callable[[int, float], Any] = lambda *_: None,
        rows: Sequence[Row] | None = None,
        *,
        with_words: bool = False,
    ) -> list[Recognition]:
        """Recognise waveforms, float32 (samples,); the results have the same order. Batches hold waveforms of
        similar length.

        Args:
            advance: called after each batch with the number of waveforms that it finished, and its seconds of
                audio.
            rows: each waveform's adapter; None: the recogniser's.
            with_words: find the words' times and confidences too.
        """
        cuts = [self.cut(wave) if len(wave) else [] for wave in waves]
        owners = [number for number, parts in enumerate(cuts) for _ in parts]
        pieces = [(a, wave[a:b]) for wave, parts in zip(waves, cuts, strict=True) for a, b in parts]
        unfinished = Counter(owners)

        def after(batch: Sequence[int]) -> None:
            unfinished.subtract(owners[index] for index in batch)
            finished = sum(unfinished[number] == 0 for number in {owners[index] for index in batch})
            advance(finished, sum(len(pieces[index][1]) for index in batch) / SAMPLE_RATE)

        rows = [rows[number] for number in owners] if rows else None
        recognitions = iter(self.recognize_pieces(pieces, rows, with_words, after, owners))
        results = []
        for parts in cuts:
            pieces_of_wave = [next(recognitions) for _ in parts]
            words = tuple(word for piece in pieces_of_wave for word in piece.words)
            choices = tuple(choice for piece in pieces_of_wave for choice in piece.choices)
            text = " ".join(piece.text for piece in pieces_of_wave if piece.text)
            language = pieces_of_wave[0].language if pieces_of_wave else None
            results.append(Recognition(text, words, choices, language=language))
        return results

    def stream(self, wave: np.ndarray, advance: Callable[[float], Any] = lambda _: None) -> Iterator[Word]:
        """The words of a waveform as soon as they are recognised, some minutes of audio at a time. `advance`
        is called after each batch, with its seconds."""
        pieces, memories = ((first, wave[first:end]) for first, end in self.cut(wave)), {}
        for pool in pools(pieces, STREAMED_BATCHES * self.batch_seconds):
            seconds = [len(samples) / SAMPLE_RATE for _, samples in pool]
            after = lambda batch, seconds=seconds: advance(sum(seconds[index] for index in batch))  # noqa: E731
            for recognition in self.recognize_pieces(pool, None, True, after, memories=memories):
                yield from recognition.words

    def recognize_pieces(
        self,
        pieces: Sequence[tuple[int, np.ndarray]],
        rows: Sequence[Row] | None,
        with_words: bool,
        after: Callable[[Sequence[int]], Any] = lambda batch: None,
        owners: Sequence[int] | None = None,
        memories: dict[int, Memory] | None = None,
    ) -> list[Recognition]:
        """The recognition of pieces that are short enough: (first sample in the recording, samples) of each.

        Args:
            after: called with each batch, as numbers of pieces.
            owners: the number of each piece's recording; None: all are of recording 0.
            memories: of the recordings' earlier pieces, for a router.
        """
        recognitions: list[Recognition | None] = [None] * len(pieces)
        unchosen: dict[int, tuple[Candidates, list[Recognition]]] = {}
        seconds = [len(samples) / SAMPLE_RATE for _, samples in pieces]
        window = None if rows or self.router else self.spec.setting("window")
        padded = [self.base.padded_seconds(each, window) for each in seconds]
        batches = make_batches(padded, self.batch_seconds, seed=0, epoch=0, shuffle=False)
        for batch in [[index] for index in range(len(pieces))] if self.test_time else batches:
            batch_rows = [rows[index] for index in batch] if rows else None
            waves = [pieces[index][1] for index in batch]
            if self.router is None or rows:
                logits = self.logits(waves, batch_rows)
                hypotheses = search_rows(self.search, logits)
                for index, *pair in zip(batch, logits, hypotheses, strict=True):
                    recognitions[index] = self.recognition(*pair, *pieces[index], with_words)
            else:
                logits, candidates = self.candidates(waves)
                searches = [recognizer.search for each in candidates for recognizer in each.recognizers]
                hypotheses = search_each(searches, logits)
                searched = zip(logits, hypotheses, strict=True)
                for index, each in zip(batch, candidates, strict=True):
                    unchosen[index] = each, []
                    options = *pieces[index], with_words, len(each.recognizers) > 1
                    for recognizer in each.recognizers:
                        unchosen[index][1].append(recognizer.recognition(*next(searched), *options))
            after(batch)
        memories = {} if memories is None else memories
        for index, (each, alternatives) in sorted(unchosen.items()):
            memory = memories.setdefault(owners[index] if owners else 0, {})
            number, choice = each.choose(alternatives, memory)
            start = pieces[index][0] / SAMPLE_RATE
            choices = (replace(choice, start=start, end=start + seconds[index]),)
            recognitions[index] = replace(alternatives[number], choices=choices)
        return recognitions

    def recognition(
        self,
        row: "Tensor",
        hypothesis: Hypothesis,
        first: int,
        samples: np.ndarray,
        with_words: bool,
        with_confidences: bool = False,
    ) -> Recognition:
        """The recognition of a piece that begins at sample `first`, from its logits and their hypothesis."""
        place = (self.base, row, hypothesis, len(samples) / SAMPLE_RATE, first / SAMPLE_RATE)
        words = words_of(*place, scaling=self.scaling or Scaling()) if with_words else []
        confidences: tuple[float, ...] = ()
        if with_confidences:
            plain = words if with_words and not self.scaling else words_of(*place)
            confidences = tuple(word.confidence for word in plain)
        language = hypothesis.language
        return Recognition(hypothesis.text, tuple(words), confidences=confidences, language=language)

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """(first, end) of the pieces of a waveform, in samples, without long silence."""
        if is_silent(wave):  # of which a base may write letters
            return []
        if self.base.hallucinates_on_silence and self.vad != "off" and not find_speech(wave, self.vad):
            return []
        return cut_speech(wave, self.max_seconds, self.vad) if self.max_seconds else [(0, len(wave))]

    def candidates(self, waves: Sequence[np.ndarray]) -> "tuple[list[Tensor], list[Candidates]]":
        """The logits of all candidates, and the router's candidates for each waveform."""
        with self.base.lock.shared():
            features = [self.base.features(wave) for wave in waves]  # once, since no vector is below
        candidates = self.router(features)
        rows = [
            (wave, recognizer.spec.terms, frames)
            for wave, each, frames in zip(waves, candidates, features, strict=True)
            for recognizer in each.recognizers
        ]
        return self.logits(*zip(*rows, strict=True)), candidates

    def logits(
        self,
        waves: Sequence[np.ndarray],
        rows: Sequence[Row] | None = None,
        features: "Sequence[Tensor] | None" = None,
    ) -> "list[Tensor]":
        """A (frames, vocabulary) tensor for each waveform, which is not cut; `features`: the front end's
        output for each, if it is known. Raises UserError if memory runs out."""
        rows = rows or [self.spec.terms] * len(waves)
        try:
            if self.test_time:
                return [self.test_time.logits(self.search, *pair) for pair in zip(waves, rows, strict=True)]
            if self.compute:
                return self.compute(waves, rows, features)
            return self.base.logits(waves, any_length=True)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's; an ONNX graph runs without torch
                raise
            seconds = sum(map(len, waves)) / SAMPLE_RATE
            raise UserError(
                f"the device's memory doesn't hold a batch of {seconds:.0f} s (lower `batch_seconds`, which "
                f"is {self.batch_seconds:g}, or take `dtype=bfloat16`): {str(error).splitlines()[0]}"
            ) from None


def pools(
    waves: Iterable[tuple[Key, np.ndarray]], seconds: float = POOL_SECONDS
) -> Iterator[list[tuple[Key, np.ndarray]]]:
    """Collect (key, waveform) pairs, in order, in lists of at least `seconds` of audio, to limit memory."""
    pool: list[tuple[Key, np.ndarray]] = []
    samples = 0
    for key, wave in waves:
        pool.append((key, wave))
        samples += len(wave)
        if samples >= seconds * SAMPLE_RATE:
            yield pool
            pool, samples = [], 0
    if pool:
        yield pool
