"""A recogniser: a base and an adapter, or many adapters, that turn waveforms into words.

In: waveforms, float32 (samples,), 16 kHz mono, of any length. Out: what was recognised in each. `decode`,
`transcribe` and `live` share it: it cuts what is too long, makes batches of similar length, and searches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ia3_speech.adapters.expressions import Term
from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.decoding.ctc_search import GreedySearch, Search
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.vad import VadMethod, cut_speech
from ia3_speech.decoding.word_times import Scaling, word_times

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.adapters.bank import Bank
    from ia3_speech.model.base import Base

BATCH_SECONDS = 40.0  # of padded audio in one batch
STREAMED_BATCHES = 4  # that `stream` sorts by length: a pause of the output against padding
POOL_SECONDS = 1200.0  # of audio that is read before it is sorted into batches: 77 MB

Advance = Callable[[int, float], Any]
Key = TypeVar("Key")


@dataclass(frozen=True)
class RecognizedPiece:
    """What was recognised in a piece of a recording.

    Attributes:
        text: what the search found; "" where that is nothing.
        words: the same with times in the recording and confidences, where they were asked for.
    """

    text: str
    words: tuple[Word, ...] = ()


def joined_text(pieces: Iterable[RecognizedPiece]) -> str:
    """The text of a recording from those of its pieces."""
    return " ".join(piece.text for piece in pieces if piece.text)


@dataclass
class Recognizer:
    """A base, perhaps with adapters, that turns waveforms into words.

    Attributes:
        base: with its adapter attached, if it has one.
        adapter: what the adapter consists of: one term, or those of a sum; none for the base alone.
        name: the adapter as it was given.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: longer audio is cut at pauses, and the pieces' texts are joined; None: it never is.
        bank: many adapters of the base, of which `texts` is told one for each waveform.
        search: how logits become words; None: greedy search.
        search_record: what decode.json says of it.
        vad: how speech is found where longer audio is cut; off: only the quietest places are.
        scaling: of the words' confidences; None: they are not calibrated.
    """

    base: "Base"
    adapter: Sequence[Term] = ()
    name: str | None = None
    batch_seconds: float = BATCH_SECONDS
    max_seconds: float | None = None
    bank: "Bank | None" = None
    search: Search | None = None
    search_record: dict[str, Any] = field(default_factory=lambda: {"search": "greedy"})
    vad: VadMethod = "off"
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        if self.search is None:
            self.search = GreedySearch(self.base.vocabulary)

    def texts(
        self,
        waves: Sequence[np.ndarray],
        advance: Advance = lambda *_: None,
        adapters: Sequence[str | None] | None = None,
    ) -> list[str]:
        """The text of each waveform, float32 (samples,), in the order given; batches are made by length.

        Args:
            advance: called after each batch with the number of waveforms that are finished with it, and the
                seconds of audio that it held.
            adapters: for each waveform the name of its adapter in the bank; None is the base.
        """
        return [joined_text(pieces) for pieces in self.recognize(waves, advance, adapters)]

    def recognize(
        self,
        waves: Sequence[np.ndarray],
        advance: Advance = lambda *_: None,
        adapters: Sequence[str | None] | None = None,
        *,
        with_words: bool = False,
    ) -> list[list[RecognizedPiece]]:
        """`texts` piece by piece: what was recognised in each piece of each waveform, in the order of time.

        Args:
            with_words: find the times and confidences of the words too.
        """
        owners, starts, audio = [], [], []  # of each piece: its waveform's number, first sample and samples
        for number, wave in enumerate(waves):
            for first, end in self.cut(wave):
                owners.append(number)
                starts.append(first)
                audio.append(wave[first:end])
        unfinished = Counter(owners)

        def after(batch: Sequence[int]) -> None:
            unfinished.subtract(owners[index] for index in batch)
            finished = sum(unfinished[number] == 0 for number in {owners[index] for index in batch})
            advance(finished, sum(len(audio[index]) for index in batch) / SAMPLE_RATE)

        names = [adapters[number] for number in owners] if adapters else None
        recognized: list[list[RecognizedPiece]] = [[] for _ in waves]
        pieces = self.recognize_pieces(audio, starts, names, with_words, after)
        for number, piece in zip(owners, pieces, strict=True):
            recognized[number].append(piece)
        return recognized

    def stream(self, wave: np.ndarray, adapter: str | None = None) -> Iterator[RecognizedPiece]:
        """The pieces of one waveform with their words, in the order of time, as soon as they are recognised:
        the same as those of `recognize`, some minutes of audio at a time.

        Args:
            adapter: its name in the bank.
        """
        pieces = ((first, wave[first:end]) for first, end in self.cut(wave))
        for pool in pools(pieces, STREAMED_BATCHES * self.batch_seconds):
            starts, audio = zip(*pool, strict=True)
            yield from self.recognize_pieces(
                audio, starts, len(pool) * [adapter] if self.bank else None, True
            )

    def recognize_pieces(
        self,
        audio: Sequence[np.ndarray],
        starts: Sequence[int],
        adapters: Sequence[str | None] | None,
        with_words: bool,
        after: Callable[[Sequence[int]], Any] = lambda batch: None,
    ) -> list[RecognizedPiece]:
        """What was recognised in pieces, none of which is too long. The order of batches hangs on their
        lengths alone, so that a run repeats.

        Args:
            starts: of each piece its first sample in the recording.
            adapters: of each piece the name of its adapter in the bank.
            after: called with each batch, as numbers of pieces.
        """
        from torch.nn.utils.rnn import pad_sequence

        pieces: list[RecognizedPiece | None] = [None] * len(audio)
        seconds = [len(samples) / SAMPLE_RATE for samples in audio]
        for batch in make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False):
            names = [adapters[index] for index in batch] if adapters else None
            logits = self.logits([audio[index] for index in batch], names)
            hypotheses = self.search(pad_sequence(logits, batch_first=True), [len(row) for row in logits])
            for index, row, hypothesis in zip(batch, logits, hypotheses, strict=True):
                words: list[Word] = []
                if with_words:
                    start, frame = starts[index] / SAMPLE_RATE, self.base.stride / SAMPLE_RATE
                    words = word_times(
                        row, hypothesis, self.base.vocabulary, frame, offset=start, duration=seconds[index],
                        scaling=self.scaling or Scaling(),
                    )  # fmt: skip
                pieces[index] = RecognizedPiece(hypothesis.text, tuple(words))
            after(batch)
        return pieces

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """Where the pieces of a waveform begin and end, in samples, without the silence that was left out."""
        return cut_speech(wave, self.max_seconds, self.vad) if self.max_seconds else [(0, len(wave))]

    def logits(
        self, waves: Sequence[np.ndarray], adapters: Sequence[str | None] | None = None
    ) -> "list[Tensor]":
        """One (frames, vocabulary) tensor for each waveform, which is not cut here (see `texts`).

        Raises:
            UserError: memory runs out.
        """
        import torch

        try:
            if self.bank:
                return self.bank.logits(waves, adapters, any_length=True)
            return self.base.logits(waves, any_length=True)
        except torch.OutOfMemoryError as error:
            seconds = sum(map(len, waves)) / SAMPLE_RATE
            raise UserError(
                f"the device's memory doesn't hold a batch of {seconds:.0f} s (lower --batch-seconds, which "
                f"is {self.batch_seconds:g}, or take --dtype bfloat16): {str(error).splitlines()[0]}"
            ) from None


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
