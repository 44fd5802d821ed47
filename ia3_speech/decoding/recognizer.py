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
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.decoding.segmentation import cut_at_pauses, maximum_input_seconds

if TYPE_CHECKING:
    from ia3_speech.adapters.bank import Bank
    from ia3_speech.model.base import Base

BATCH_SECONDS = 40.0  # of padded audio in one batch
MINIMUM_SECONDS = 1.0  # of a batch, and of a piece of a long recording: shorter ones hold no word
POOL_SECONDS = 1200.0  # of audio that is read before it is sorted into batches: 77 MB

Advance = Callable[[int, float], Any]
Key = TypeVar("Key")


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
        adapters: Sequence[str] | None = None,
    ) -> list[str]:
        """The text of each waveform, float32 (samples,), in the order given; batches are made by length.

        Args:
            advance: called after each batch with the number of waveforms that are finished with it, and the
                seconds of audio that it held.
            adapters: for each waveform the name of its adapter in the bank.
        """
        pieces = [(n, wave[first:end]) for n, wave in enumerate(waves) for first, end in self.cut(wave)]
        seconds = [len(piece) / SAMPLE_RATE for _, piece in pieces]
        hypotheses, unfinished = [""] * len(pieces), Counter(n for n, _ in pieces)
        for batch in make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False):
            names = [adapters[pieces[i][0]] for i in batch] if adapters else None
            for index, logits in zip(batch, self.logits([pieces[i][1] for i in batch], names), strict=True):
                hypotheses[index] = self.search(logits)
            unfinished.subtract(pieces[index][0] for index in batch)
            finished = sum(unfinished[n] == 0 for n in {pieces[index][0] for index in batch})
            advance(finished, sum(seconds[index] for index in batch))
        texts: list[list[str]] = [[] for _ in waves]
        for (n, _), words in zip(pieces, hypotheses, strict=True):
            texts[n] += [words] if words else []
        return [" ".join(parts) for parts in texts]

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """Where the pieces of a waveform begin and end, in samples."""
        return cut_at_pauses(wave, self.max_seconds) if self.max_seconds else [(0, len(wave))]

    def logits(self, waves: list[np.ndarray], adapters: list[str] | None = None) -> list:
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
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    bank: Mapping[str, Path] | None = None,
    search: SearchOptions | None = None,
) -> Recognizer:
    """Load a base and an adapter, or many adapters.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base: float32, float16, bfloat16, or int8 on a CPU.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer audio at pauses; None: the base's maximum input duration; infinite: never.
        bank: names and folders of many adapters, in place of one adapter.
        search: how logits become text; None: see `SearchOptions`.

    Raises:
        UserError: an adapter or the base is not there, or they don't belong together; no such device.
    """
    for flag, seconds in (("--batch-seconds", batch_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not seconds >= MINIMUM_SECONDS:
            raise UserError(f"{flag} is {seconds:g}, and has to be at least {MINIMUM_SECONDS:g} seconds")
    search = search or SearchOptions()
    search.check()
    parts = parse_terms(adapter) if adapter is not None else []  # before torch is loaded: it may fail
    check_device(device)
    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.load import attach_adapter, load_base_for, read_sum

    first = [Term(name, folder) for name, folder in [*(bank or {}).items()][:1]]
    loaded = load_base_for(parts or first, base, dtype=dtype, device=device)
    if parts:
        attach_adapter(loaded.model, read_sum(loaded.model, parts))
    if max_seconds is None:
        max_seconds = maximum_input_seconds(loaded)
    elif isinf(max_seconds):
        max_seconds = None
    name = str(adapter) if parts else None
    recognizer = Recognizer(loaded, parts, name, batch_seconds, max_seconds, options=search)
    if bank:
        recognizer.bank = Bank(loaded, capacity=len(bank))
        for name, folder in bank.items():
            recognizer.bank.add(name, folder)
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
