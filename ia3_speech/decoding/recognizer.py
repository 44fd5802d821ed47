"""A recogniser: a base and an adapter, or many adapters, that turn waveforms into words.

In: waveforms, float32 (samples,), 16 kHz mono, of any length. Out: what was recognised in each. `decode`,
`transcribe` and `live` share it: it cuts what is too long, makes batches of similar length, and searches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ia3_speech.adapters.expressions import Term
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.data.utterance import is_silent
from ia3_speech.decoding.transcript import Choice, Word
from ia3_speech.decoding.vad import VadMethod, cut_speech
from ia3_speech.decoding.word_times import Scaling, word_times
from ia3_speech.errors import UserError
from ia3_speech.model.hypotheses import Search

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.adapters.bank import Bank, ChooseNames, Names
    from ia3_speech.model.base import Base

BATCH_SECONDS = 40.0  # of padded audio in one batch
STREAMED_BATCHES = 4  # that `stream` sorts by length: a pause of the output against padding
POOL_SECONDS = 1200.0  # of audio that is read before it is sorted into batches: 77 MB

Advance = Callable[[int, float], Any]
Key = TypeVar("Key")
# What the front end makes of waveforms, (frames, channels) each → the recogniser of each, and the choice.
Gate = Callable[[Sequence["Tensor"]], Sequence[tuple["Recognizer", Choice]]]


@dataclass(frozen=True)
class Recognition:
    """What was recognised in a waveform, or in a piece of one."""

    text: str  # what the search found; "" where that is nothing
    # The same with times in the recording and confidences, where they were asked for
    words: tuple[Word, ...] = ()
    choices: tuple[Choice, ...] = ()  # of a gate, one for each piece


@dataclass
class Recognizer:
    """See the module."""

    base: "Base"  # with its adapter attached, if it has one
    # What the adapter consists of: one term, or those of a sum; none for the base alone
    adapter: Sequence[Term] = ()
    name: str | None = None  # the adapter as it was given
    batch_seconds: float = BATCH_SECONDS  # as for `loading.load`, like `vad`
    max_seconds: float | None = None  # longer audio is cut at pauses; None: it never is
    bank: "Bank | None" = None  # many adapters of the base, of which `texts` is told one for each waveform
    row: Any = None  # the bank's adapter where none is told, as the bank calls it; None: the base
    # Chooses it instead, by what the base's front end makes of each waveform, and with it the search and the
    # scaling: all three are those of the recogniser that it returns
    gate: "Gate | None" = None
    search: Search | None = None  # how logits become words; None: greedy search
    # What decode.json says of it
    search_record: dict[str, Any] = field(default_factory=lambda: {"search": "greedy"})
    vad: VadMethod = "off"
    scaling: Scaling | None = None  # of the words' confidences; None: they are not calibrated
    # Adapts a bank's vectors to each piece of audio, one after the other in their order
    # (`unsupervised.suta.Suta`); None: no adaptation at test time
    test_time: Any = None

    def __post_init__(self) -> None:
        if self.search is None:
            self.search = self.base.greedy

    def fresh(self) -> "Recognizer":
        """For another request or speaker: the same, but for what test-time adaptation remembers."""
        return replace(self, test_time=self.test_time.fresh()) if self.test_time else self

    def texts(self, waves: Sequence[np.ndarray], adapters: Sequence[str | None] | None = None) -> list[str]:
        """The text of each waveform; see `recognize`."""
        return [recognition.text for recognition in self.recognize(waves, adapters=adapters)]

    def recognize(
        self,
        waves: Sequence[np.ndarray],
        advance: Advance = lambda *_: None,
        adapters: Sequence[str | None] | None = None,
        *,
        with_words: bool = False,
    ) -> list[Recognition]:
        """What is in each waveform, float32 (samples,), in the order given; batches are made by length.

        Args:
            advance: called after each batch with the number of waveforms that are finished with it, and the
                seconds of audio that it held.
            adapters: for each waveform the name of its adapter in the bank, or None for the base; None: `row`
                is that of all.
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

        names = [adapters[number] for number in owners] if adapters else None
        recognitions = iter(self.recognize_pieces(pieces, names, with_words, after))
        return [joined([next(recognitions) for _ in parts]) for parts in cuts]

    def stream(self, wave: np.ndarray, advance: Callable[[float], Any] = lambda _: None) -> Iterator[Word]:
        """The words of one waveform as soon as they are recognised, some minutes of audio at a time.
        `advance` is called after each batch, with its seconds."""
        pieces = ((first, wave[first:end]) for first, end in self.cut(wave))
        for pool in pools(pieces, STREAMED_BATCHES * self.batch_seconds):
            seconds = [len(samples) / SAMPLE_RATE for _, samples in pool]
            after = lambda batch, seconds=seconds: advance(sum(seconds[index] for index in batch))  # noqa: E731
            for recognition in self.recognize_pieces(pool, None, True, after):
                yield from recognition.words

    def recognize_pieces(
        self,
        pieces: Sequence[tuple[int, np.ndarray]],
        adapters: Sequence[str | None] | None,
        with_words: bool,
        after: Callable[[Sequence[int]], Any] = lambda batch: None,
    ) -> list[Recognition]:
        """What was recognised in pieces, none of which is too long: the first sample of each in its
        recording, and its samples. `after` is called with each batch, as numbers of pieces."""
        recognitions: list[Recognition | None] = [None] * len(pieces)
        seconds = [len(samples) / SAMPLE_RATE for _, samples in pieces]
        batches = make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False)
        for batch in [[index] for index in range(len(pieces))] if self.test_time else batches:
            names = [adapters[index] for index in batch] if adapters else None
            logits, chosen = self.choose([pieces[index][1] for index in batch], names)
            for index, row, (recognizer, choice) in zip(batch, logits, chosen, strict=True):
                hypothesis = recognizer.search(np.asarray(row))
                start, frame = pieces[index][0] / SAMPLE_RATE, self.base.stride / SAMPLE_RATE
                words: list[Word] = []
                if with_words:
                    words = word_times(
                        row, hypothesis, self.base.vocabulary, frame, offset=start, duration=seconds[index],
                        scaling=recognizer.scaling or Scaling(),
                    )  # fmt: skip
                span = [replace(choice, start=start, end=start + seconds[index])] if choice else []
                recognitions[index] = Recognition(hypothesis.text, tuple(words), tuple(span))
            after(batch)
        return recognitions

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """Where the pieces of a waveform begin and end, in samples, without the silence that was left out."""
        if is_silent(wave):  # of which a base may write letters
            return []
        return cut_speech(wave, self.max_seconds, self.vad) if self.max_seconds else [(0, len(wave))]

    def choose(
        self, waves: Sequence[np.ndarray], adapters: Sequence[str | None] | None
    ) -> "tuple[list[Tensor], list[tuple[Recognizer, Choice | None]]]":
        """As `logits`; and for each waveform the recogniser that it belongs to, and what a gate chose."""
        if self.gate is None or adapters:
            return self.logits(waves, adapters), [(self, None)] * len(waves)
        chosen: list[tuple[Recognizer, Choice | None]] = []

        def rows(features: "Sequence[Tensor]") -> list[str | None]:
            chosen.extend(self.gate(features))
            return [recognizer.row for recognizer, _ in chosen]

        return self.logits(waves, rows), chosen

    def logits(
        self, waves: Sequence[np.ndarray], adapters: "Names | ChooseNames | None" = None
    ) -> "list[Tensor]":
        """One (frames, vocabulary) tensor for each waveform, which is not cut here (see `texts`). Raises
        UserError where memory runs out."""
        names = adapters or [self.row] * len(waves)
        try:
            if self.test_time:
                return [self.test_time.logits(self, *pair) for pair in zip(waves, names, strict=True)]
            if self.bank:
                return self.bank.logits(waves, names, any_length=True)
            return self.base.logits(waves, any_length=True)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which a graph does without
                raise
            seconds = sum(map(len, waves)) / SAMPLE_RATE
            raise UserError(
                f"the device's memory doesn't hold a batch of {seconds:.0f} s (lower batch_seconds, which "
                f"is {self.batch_seconds:g}, or take the dtype bfloat16): {str(error).splitlines()[0]}"
            ) from None


def joined(pieces: Sequence[Recognition]) -> Recognition:
    """What was recognised in a waveform, of its pieces."""
    words = tuple(word for piece in pieces for word in piece.words)
    choices = tuple(choice for piece in pieces for choice in piece.choices)
    return Recognition(" ".join(piece.text for piece in pieces if piece.text), words, choices)


def pools(
    waves: Iterable[tuple[Key, np.ndarray]], seconds: float = POOL_SECONDS
) -> Iterator[list[tuple[Key, np.ndarray]]]:
    """Collect (key, waveform) pairs, in order, in parts of at least `seconds` of audio: what memory holds."""
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
