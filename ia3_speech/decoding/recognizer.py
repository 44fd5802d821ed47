"""A recogniser: a base and an adapter, or many adapters, that turn waveforms into texts.

In: waveforms, float32 (samples,), 16 kHz mono, of any length. Out: their texts. `decode` and `transcribe`
share it: it loads a base once, cuts what is too long, makes batches of similar length, and searches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ia3_speech.adapters.expressions import Term, parse_terms
from ia3_speech.cli import UserError
from ia3_speech.confidence.reliability import Scaling
from ia3_speech.confidence.stored_confidence_scaling import find_scaling
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.decoding.long_recordings import maximum_input_seconds
from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.vad import Method, check_method, cut_speech
from ia3_speech.decoding.word_times import word_times

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.adapters.bank import Bank
    from ia3_speech.model.base import Base

BATCH_SECONDS = 40.0  # of padded audio in one batch
MINIMUM_SECONDS = 1.0  # of a batch, and of a piece of a long recording: shorter ones hold no word
STREAMED_BATCHES = 4  # that `stream` sorts by length: a pause of the output against padding
POOL_SECONDS = 1200.0  # of audio that is read before it is sorted into batches: 77 MB

Advance = Callable[[int, float], Any]
Key = TypeVar("Key")


@dataclass(frozen=True)
class RecognizedPiece:
    """What was recognised in a piece of a recording.

    Attributes:
        start, end: of the piece, in seconds from the beginning of the recording.
        text: what the search found; "" where that is nothing.
        words: the same with times and confidences, where they were asked for.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()


def joined_text(pieces: Iterable[RecognizedPiece]) -> str:
    """The text of a recording from those of its pieces."""
    return " ".join(piece.text for piece in pieces if piece.text)


@dataclass
class Recognizer:
    """A base, perhaps with adapters, that turns waveforms into texts.

    Attributes:
        base: with its adapter attached, if it has one.
        adapter: what the adapter consists of: one term, or those of a sum; none for the base alone.
        name: the adapter as it was given.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: longer audio is cut at pauses, and the pieces' texts are joined; None: it never is.
        bank: many adapters of the base, of which `texts` is told one for each waveform.
        options: how logits become text; see `SearchOptions`.
        vad: how speech is found where longer audio is cut; off: only the quietest places are.
        scaling: of the words' confidences; None: they are not calibrated.
        search: what `options` come to with this base: logits (frames, vocabulary) → text.
        search_record: the same for decode.json.
    """

    base: "Base"
    adapter: Sequence[Term] = ()
    name: str | None = None
    batch_seconds: float = BATCH_SECONDS
    max_seconds: float | None = None
    bank: "Bank | None" = None
    options: SearchOptions = field(default_factory=SearchOptions)
    vad: Method = "off"
    scaling: Scaling | None = None
    search: Callable[[Any], str] = field(init=False, repr=False)
    search_record: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.search, self.search_record = make_search(
            self.options, self.base.vocabulary, Path(self.base.model.config.name_or_path)
        )

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
        found = self.recognize(waves, advance, adapters)
        return [joined_text(pieces) for pieces in found]

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
        pieces = [(n, first, end) for n, wave in enumerate(waves) for first, end in self.cut(wave)]
        seconds = [(end - first) / SAMPLE_RATE for _, first, end in pieces]
        found: list[RecognizedPiece | None] = [None] * len(pieces)
        unfinished = Counter(n for n, _, _ in pieces)
        for batch in make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False):
            names = [adapters[pieces[i][0]] for i in batch] if adapters else None
            audio = [waves[n][first:end] for n, first, end in (pieces[i] for i in batch)]
            for index, logits in zip(batch, self.logits(audio, names), strict=True):
                found[index] = self.read_piece(logits, *pieces[index][1:], with_words)
            unfinished.subtract(pieces[index][0] for index in batch)
            finished = sum(unfinished[n] == 0 for n in {pieces[index][0] for index in batch})
            advance(finished, sum(seconds[index] for index in batch))
        recognized: list[list[RecognizedPiece]] = [[] for _ in waves]
        for (n, _, _), piece in zip(pieces, found, strict=True):
            recognized[n].append(piece)
        return recognized

    def stream(self, wave: np.ndarray, adapter: str | None = None) -> Iterator[RecognizedPiece]:
        """The pieces of one waveform with their words, in the order of time, as soon as they are recognised:
        the same as those of `recognize`, some minutes of audio at a time.

        Args:
            adapter: its name in the bank.
        """
        pieces = (((first, end), wave[first:end]) for first, end in self.cut(wave))
        for pool in pools(pieces, STREAMED_BATCHES * self.batch_seconds):
            seconds = [len(audio) / SAMPLE_RATE for _, audio in pool]
            found: dict[int, RecognizedPiece] = {}
            for batch in make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False):
                logits = self.logits(
                    [pool[i][1] for i in batch], len(batch) * [adapter] if self.bank else None
                )
                found |= {
                    i: self.read_piece(row, *pool[i][0], True) for i, row in zip(batch, logits, strict=True)
                }
            yield from (found[i] for i in sorted(found))

    def read_piece(self, logits: "Tensor", first: int, end: int, with_words: bool) -> RecognizedPiece:
        """Search the logits of a piece from sample `first` to `end`."""
        text, start, duration = self.search(logits), first / SAMPLE_RATE, (end - first) / SAMPLE_RATE
        words = (
            word_times(
                logits,
                text,
                self.base.vocabulary,
                self.base.stride / SAMPLE_RATE,
                offset=start,
                duration=duration,
                scaling=self.scaling or Scaling(),
            )
            if with_words
            else ()
        )
        return RecognizedPiece(start, start + duration, text, tuple(words))

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """Where the pieces of a waveform begin and end, in samples, without the silence that was left out."""
        return cut_speech(wave, self.max_seconds, self.vad) if self.max_seconds else [(0, len(wave))]

    def logits(self, waves: list[np.ndarray], adapters: list[str | None] | None = None) -> list:
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


def load_recognizer(
    base: str | Path | None = None,
    adapter: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str = "float32",
    precision: str = "no",
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    bank: Mapping[str, Path] | None = None,
    search: SearchOptions | None = None,
    vad: Method = "off",
    scaling: Scaling | None = None,
) -> Recognizer:
    """Load a base and an adapter, or many adapters.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base: float32, float16, bfloat16, or int8 on a CPU.
        precision: bf16: the encoder's layers compute in bfloat16; auto: where the device has instructions for
            it; no: all in `dtype`.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer audio at pauses; None: the base's maximum input duration; infinite: never.
        bank: names and folders of many adapters, in place of one adapter.
        search: how logits become text; None: see `SearchOptions`.
        vad: how speech is found where longer audio is cut: off, energy or silero.
        scaling: of the words' confidences; None: what `calibrate` stored with the adapter, or with the base
            where there is no adapter, for this search; else none.

    Raises:
        UserError: an adapter or the base is not there, or they don't belong together; no such device.
    """
    for flag, seconds in (("--batch-seconds", batch_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not seconds >= MINIMUM_SECONDS:
            raise UserError(f"{flag} is {seconds:g}, and has to be at least {MINIMUM_SECONDS:g} seconds")
    check_method(vad)
    search = search or SearchOptions()
    search.check()
    parts = parse_terms(adapter) if adapter is not None else []  # before torch is loaded: it may fail
    check_device(device)
    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.load import attach_adapter, base_of, read_sum
    from ia3_speech.model.precision import choose_precision

    first = [Term(name, folder) for name, folder in [*(bank or {}).items()][:1]]
    loaded = base_of(parts or first, base, dtype=dtype, device=device)
    loaded.precision = choose_precision(precision, loaded.device, loaded.dtype)
    if parts:
        attach_adapter(loaded.model, read_sum(loaded.model, parts))
    if max_seconds is None:
        max_seconds = maximum_input_seconds(loaded)
    elif isinf(max_seconds):
        max_seconds = None
    name = str(adapter) if parts else None
    recognizer = Recognizer(loaded, parts, name, batch_seconds, max_seconds, options=search, vad=vad)
    if bank:
        recognizer.bank = Bank(loaded)
        for name, folder in bank.items():
            recognizer.bank.add(name, folder)
    if scaling is None and not bank:
        scaling = find_scaling(loaded, parts, recognizer.search_record["search"])
    recognizer.scaling = scaling
    return recognizer


def check_device(device: str | None) -> None:
    """Raises UserError where torch can't put a tensor on `device`."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--device {device}: {reason} (take cpu, cuda, cuda:1, mps)") from None


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
