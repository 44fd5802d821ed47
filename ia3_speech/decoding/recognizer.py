"""Recogniser: a base, an adapter on it, and waves turned into texts.

In: waveforms, float32 `(samples,)`, 16 kHz mono, of any length. Out: their texts. It is what `decode` and
`transcribe` share: load once by name, cut what is too long, make batches of similar length, search.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ia3_speech.adapters.expressions import Term, parse_terms
from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.decoding.ctc_search import greedy
from ia3_speech.decoding.segmentation import cut_at_pauses, maximum_input_seconds

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

BATCH_SECONDS = 40.0  # of padded audio in one batch
LEAST_SECONDS = 1.0  # of a batch, and of a piece of a long recording: shorter ones hold no word

Advance = Callable[[int, float], Any]


@dataclass
class Recognizer:
    """A base, perhaps with an adapter, that turns waves into texts.

    Attributes:
        adapter: what the adapter is made of: one term, or those of a sum; none for the base alone.
        name: the adapter as it was asked for.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: longer audio is cut at pauses, and the pieces' texts are joined; None: it never is.
    """

    base: "Base"
    adapter: Sequence[Term] = ()
    name: str | None = None
    batch_seconds: float = BATCH_SECONDS
    max_seconds: float | None = None

    def texts(self, waves: Sequence[np.ndarray], advance: Advance = lambda *_: None) -> list[str]:
        """The text of each wave, float32 `(samples,)`, in the order given; batches are made by length.

        Args:
            advance: called after each batch with the number of waves that are done with it, and the seconds
                of audio that it held.
        """
        pieces = [(n, wave[first:end]) for n, wave in enumerate(waves) for first, end in self.cut(wave)]
        seconds = [len(piece) / SAMPLE_RATE for _, piece in pieces]
        said, left = [""] * len(pieces), Counter(n for n, _ in pieces)
        for batch in make_batches(seconds, self.batch_seconds, seed=0, epoch=0, shuffle=False):
            for index, logits in zip(batch, self.logits([pieces[i][1] for i in batch]), strict=True):
                said[index] = greedy(logits, self.base.vocabulary)
            left.subtract(pieces[index][0] for index in batch)
            finished = sum(left[n] == 0 for n in {pieces[index][0] for index in batch})
            advance(finished, sum(seconds[index] for index in batch))
        texts: list[list[str]] = [[] for _ in waves]
        for (n, _), words in zip(pieces, said, strict=True):
            texts[n] += [words] if words else []
        return [" ".join(parts) for parts in texts]

    def cut(self, wave: np.ndarray) -> list[tuple[int, int]]:
        """Where its pieces begin and end, in samples."""
        return cut_at_pauses(wave, self.max_seconds) if self.max_seconds else [(0, len(wave))]

    def logits(self, waves: list[np.ndarray]) -> list:
        import torch

        try:
            return self.base.logits(waves)
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
) -> Recognizer:
    """Load a base and put an adapter on it.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        device: a torch device; None takes CUDA where there is one.
        max_seconds: cut longer audio at pauses; None: where the base's positions end; infinite: never.

    Raises:
        UserError: the adapter or the base is not there, or they don't belong together; the device is none.
    """
    for flag, seconds in (("--batch-seconds", batch_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not seconds >= LEAST_SECONDS:
            raise UserError(f"{flag} is {seconds:g}, and has to be at least {LEAST_SECONDS:g} seconds")
    parts = parse_terms(adapter) if adapter is not None else []  # before torch is loaded: it may fail
    check_device(device)
    from ia3_speech.adapters.load import attach_adapter, load_base_for, read_sum

    loaded = load_base_for(parts, base, dtype=dtype, device=device)
    if parts:
        attach_adapter(loaded.model, read_sum(loaded.model, parts))
    limit = (
        maximum_input_seconds(loaded) if max_seconds is None else None if isinf(max_seconds) else max_seconds
    )
    return Recognizer(loaded, parts, str(adapter) if parts else None, batch_seconds, limit)


def check_device(device: str | None) -> None:
    """Raises UserError where torch can't put a tensor on `device`."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--device {device}: {reason} (take cpu, cuda, cuda:1, mps)") from None
