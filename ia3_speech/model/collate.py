"""From waveforms and texts to a batch, without the model: the work of a data loader's processes.

In: rows of a data set. Out: the model's arguments and labels. No model is pickled for spawned processes.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ia3_speech.common.errors import AudioError, UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.recordings import to_waveform
from ia3_speech.data.text import Vocabulary, target_text
from ia3_speech.model.architectures import AudioInput, Kernels, output_length, shortest_input

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureExtraction:
    """Turns a waveform into a row of the model's input."""

    extractor: Any  # transformers' feature extractor
    input: AudioInput  # of the model
    kernels: Kernels  # the steps from samples to the front end's frames
    frame_multiple: int  # the number of frames is a multiple of this
    dtype: torch.dtype  # of the model

    def extract(self, wave: np.ndarray) -> torch.Tensor:
        """(samples,) → on the CPU: (samples,) normalised, or (frames, mels)."""
        output = self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = output[self.input.argument][0]
        if self.input.front_end:
            values = values.reshape(-1)
            count = output_length(len(values), self.kernels)
            if left_over := count % self.frame_multiple:
                values = values[: shortest_input(count - left_over + 1, self.kernels) - 1]
        elif "attention_mask" in output:
            values = values[output["attention_mask"][0].bool()]
        return values.to(self.dtype)

    def batch(self, rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs of `extract` → the model's arguments: the rows, padded with zeros, and the mask."""
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        values, mask = pad(rows), pad([torch.ones(len(row), dtype=torch.long) for row in rows])
        if self.input.mono:
            values = values[:, None]
        return {self.input.argument: values, self.input.mask: mask.to(values.device)}


@dataclass(frozen=True)
class Collator:
    """A `data_collator` for transformers' Trainer (with `remove_unused_columns=False`); can be pickled."""

    features: FeatureExtraction
    vocabulary: Vocabulary | None  # of the base; None for a classifier
    # Counts of the numbers that were written in words so far, in this process; the first are logged
    numbers: Counter[str] = field(default_factory=Counter, compare=False, repr=False)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of rows.

        Args:
            rows: `audio`, any input of `to_waveform`, and `text`, which is normalised as in our training,
                with numbers in words if the base has no digits; for a classifier `label`, the number of the
                class, as `datasets.ClassLabel` stores it.

        Returns:
            the model's input and mask (for example input_values and attention_mask, (batch, samples)), and
            labels (batch, characters) padded with −100, or (batch,).

        Raises:
            UserError: a row lacks a column (both are named).
            AudioError: a row's audio can't be used; the message names the column.
            TextError: a character is not in the base's vocabulary.
        """
        values = []
        for row in rows:
            try:
                values.append(self.features.extract(to_waveform(column(row, "audio"))))
            except (AudioError, ValueError) as error:
                raise AudioError(f'column "audio": {error}') from None
        if self.vocabulary is None:
            return self.features.batch(values) | {"labels": torch.tensor([column(r, "label") for r in rows])}
        none_yet = not self.numbers
        texts = [target_text(column(row, "text"), "ctc", self.vocabulary, self.numbers) for row in rows]
        if none_yet and self.numbers:
            logger.warning(
                'column "text": numbers are written in words, since the base has no digits: %s (this warning '
                "comes once; correct numbers that were spoken differently)",
                ", ".join(self.numbers),
            )
        labels = [torch.tensor(self.vocabulary.encode(text), dtype=torch.long) for text in texts]
        padded = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        return self.features.batch(values) | {"labels": padded}


def column(row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise UserError(
            f'a row has no column "{name}", only {", ".join(row)} (dataset.rename_column(…, "{name}"); a '
            f"Trainer also needs remove_unused_columns=False)"
        )
    return row[name]
