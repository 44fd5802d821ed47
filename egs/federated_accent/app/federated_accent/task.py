"""The machine learning of the federation: training on a client, evaluation on the server.

In: the vectors, {name: array}, and a data directory. Out: the vectors after some epochs there; word errors.
Nothing here knows of messages.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.batches import make_batches
from ia3_speech.data.text import required_frames
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import Base, load_base
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio_of_sums
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import cache_for
from ia3_speech.training.run import prepare_base

Arrays = dict[str, np.ndarray]
BATCH_SECONDS, CLIP = 20.0, 1.0
CURVE = 5  # every fifth utterance of the test set is evaluated after each round but the last
# One vector a weight, so that the mean of vectors is the mean of scaled weights: `ffn_output` beside `ffn`
# would scale both sides of one matrix.
METHODS = {
    "ia3": {"placements": ["key", "value", "ffn"]},
    "lora": {"placements": ["query", "value"], "method_options": {"r": 4, "lora_alpha": 8}},
}


class Learner:
    """A base with a method's parameters in it, and the features of the speech that this process has seen."""

    def __init__(self, base: str, method: str, seed: int):
        self.options = TrainingOptions(
            train=Path(), out=Path(), base=base, method=method, seed=seed, precision="auto",
            spec_augment="off", on_error="skip", **METHODS[method],
        )  # fmt: skip
        self.base: Base = load_base(base)
        prepare_base(self.base, self.options)
        self.parameters = dict(trainable(self.base.model))
        self.cache = cache_for(self.base, self.options)
        self.examples = lru_cache(maxsize=None)(self.read)

    def read(self, folder: Path) -> list[Example]:
        """The utterances of a data directory that CTC can be trained on."""
        return read_examples(folder, self.base, self.options, [1.0])

    @property
    def arrays(self) -> Arrays:
        """The parameters, copied: fp32."""
        return {name: p.detach().float().cpu().numpy().copy() for name, p in self.parameters.items()}

    def put(self, arrays: Arrays) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.tensor(arrays[name]))

    def train(self, examples: Sequence[Example], rate: float, epochs: int, seed: int) -> float:
        """Some epochs of AdamW, from the parameters as they are. Returns the mean loss."""
        optimizer = torch.optim.AdamW(self.parameters.values(), lr=rate, weight_decay=0.0)
        self.base.model.train()
        losses = []
        for epoch in range(epochs):
            for batch in make_batches([e.seconds for e in examples], BATCH_SECONDS, seed=seed, epoch=epoch):
                loss = self.cache.losses([examples[i] for i in batch]).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters.values(), CLIP)
                optimizer.step()
                losses.append(loss.item())
        return float(np.mean(losses))

    def with_wrong_texts(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """The audio, each with the text of another utterance, if it has enough frames for that text."""
        texts = [e.ids for e in random.Random(seed).sample(list(examples), len(examples))]
        frames = [self.base.frames(int(e.seconds * SAMPLE_RATE)) for e in examples]
        rows = zip(examples, texts, frames, strict=True)
        return [replace(e, ids=ids) for e, ids, count in rows if required_frames(ids) <= count]

    def wer(self, examples: Sequence[Example]) -> list[float]:
        """The word error rate of greedy search, and its interval over speakers: value, low, high."""
        self.base.model.eval()
        utterances, counts = [], []
        for batch in make_batches([e.seconds for e in examples], 2 * BATCH_SECONDS, seed=0, epoch=0):
            part = [examples[i].utterance for i in batch]
            texts = self.cache.texts(part, self.base.greedy)
            counts += [text_errors(u.text, text) for u, text in zip(part, texts, strict=True)]
            utterances += part
        errors, words = np.transpose([(c.total, c.words) for c in counts])
        wer, bounds = ratio_of_sums(errors, words, [utterance.speaker for utterance in utterances])
        return [wer, *(bounds or ())]


@lru_cache(maxsize=1)
def learner(base: str, method: str, seed: int) -> Learner:
    """One in each process: simulated clients share the frozen base."""
    return Learner(base, method, seed)


def client_folders(data: Path) -> list[Path]:
    """The clients' data directories: one a speaker."""
    return sorted(path for path in (data / "clients").iterdir() if path.is_dir())
