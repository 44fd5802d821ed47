"""Many small adapters, trained side by side on one frozen base: each row of a batch has its own vectors.

In: tasks (a few utterances each), and a base whose attached vectors are the start of all. Out: for each task
its vectors after some epochs, and their errors on the utterances that it holds out. With replay, each step of
every task has one piece of other speech as well, on which divergence from the base is penalised.

Tasks with equally many batches train side by side. On a GPU the rows of many tasks are computed together, in
batches of similar length, so that the base's matrices are multiplied once for them all. A task has its own
parameters, gradient norm and random numbers, so the others change its result by rounding only. Where a base
has dropout or masks, which are drawn for a whole batch, a task's training batches are its own; on a CPU all
of its batches are, since a row's rounding depends on the batch around it: there the others change nothing,
bit for bit.
"""

import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ia3_speech.common.progress import Progress
from ia3_speech.data.batches import make_batches
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.model.hypotheses import search_rows
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import Draw, FeatureCache, has_dropout, has_masks
from ia3_speech.training.replay import Replayed, draw_replay, replay_losses
from ia3_speech.training.steps import draw_speed, learning_rate_factor, seed_task

logger = logging.getLogger(__name__)

BATCH_SECONDS = 40.0  # of rows that are computed together: the longest × their number
SCALES = (0.25, 0.5, 0.75, 1.0)

Vectors = dict[str, torch.Tensor]  # an adapter's vectors (d,) by the names of their modules


class Setting(NamedTuple):
    """The vectors of an adapter are start + scale · (trained − start)."""

    epochs: int  # that were trained; 0 is the start
    scale: float


START = Setting(0, 0.0)


class Measure(NamedTuple):
    """The output of an adapter for one utterance."""

    utterance: str
    text: str  # the hypothesis of greedy search
    errors: int  # word errors
    words: int  # of the reference
    loss: float  # per symbol; infinite if it is not a number
    symbols: int  # of the reference


@dataclass
class Task:
    """One training."""

    name: str  # with the seed, it decides the random numbers of the task
    train_examples: list[Example]
    held_out: list[Example]  # measured at the start and after the epochs of `measured_epochs`
    epochs: int  # to train; the learning rate's schedule may be longer
    measures: dict[Setting, list[Measure]] = field(default_factory=dict)  # of each held-out utterance
    vectors: dict[int, Vectors] = field(default_factory=dict)  # at the start (0), after measured epochs, last


def measured_epochs(epochs: int) -> list[int]:
    """A third of the epochs, two thirds, and all: 2, 3 and 4 of 4."""
    return sorted({-(-epochs // 3), -(-2 * epochs // 3), epochs})


def batches_per_epoch(task: Task, options: SharedOptions) -> int:
    """Tasks that train side by side have the same number."""
    return -(-len(task.train_examples) // options.batch_utterances)


def batches_of_similar_length(rows: Sequence[tuple], seconds: Sequence[float]) -> Iterator[list[tuple]]:
    """The rows in batches of BATCH_SECONDS with little padding, from short to long."""
    for batch in make_batches(seconds, BATCH_SECONDS, seed=0, epoch=0, shuffle=False):
        yield [rows[i] for i in batch]


class MultiAdapterTrainer:
    """Trains tasks with equally many batches; all start from the base's attached vectors."""

    def __init__(
        self,
        tasks: list[Task],
        options: SharedOptions,
        learning_rate: float,
        cache: FeatureCache,
        replay: Sequence[Replayed],
    ):
        self.tasks, self.options, self.cache, self.replay = tasks, options, cache, replay
        self.base, self.learning_rate = cache.base, learning_rate
        self.modules = ia3.vectors(self.base.model)
        self.start = {name: vector.l.detach().clone() for name, vector in self.modules.items()}
        self.parameters: list[Vectors] = [
            {name: nn.Parameter(vector.clone()) for name, vector in self.start.items()} for _ in tasks
        ]
        every = [parameter for vectors in self.parameters for parameter in vectors.values()]
        self.optimizer = torch.optim.AdamW(every, lr=learning_rate, weight_decay=0.0)
        self.is_random = has_masks(self.base) or has_dropout(self.base)  # in training, a batch at a time
        self.batches_per_epoch = batches_per_epoch(tasks[0], options)
        self.step = 0

    def run(self, progress: Progress) -> None:
        """Train, and fill each task's `measures` and `vectors`. Progress counts the epochs of each task."""
        self.measure(0)
        for task in self.tasks:
            task.vectors[0] = self.start
        measured = measured_epochs(self.options.epochs)
        last = max(task.epochs for task in self.tasks)
        what = "checking on held-out sentences" if self.tasks[0].held_out else "training on all"
        for epoch in range(1, last + 1):
            batches = [self.epoch_batches(task, epoch - 1) for task in self.tasks]
            progress.begin_epoch(what, epoch, last)
            for step in range(self.batches_per_epoch):
                self.train_step([task_batches[step] for task_batches in batches], epoch - 1)
                progress.update(len(self.tasks) / self.batches_per_epoch)
            for task, parameters in zip(self.tasks, self.parameters, strict=True):
                if epoch in measured or epoch == task.epochs:
                    task.vectors[epoch] = {n: vector.detach().clone() for n, vector in parameters.items()}
            if epoch in measured:
                self.measure(epoch)
            logger.info("%s%s", progress.desc, progress.left)

    def epoch_batches(self, task: Task, epoch: int) -> list[list[Example]]:
        """The batches of an epoch. They depend on seed, task and epoch alone, not on the tasks beside it."""
        rng = np.random.default_rng([self.options.seed, zlib.crc32(task.name.encode()), epoch])
        shuffled = [task.train_examples[i] for i in rng.permutation(len(task.train_examples))]
        parts = np.array_split(np.array(shuffled, dtype=object), self.batches_per_epoch)
        return [part.tolist() for part in parts]

    def train_step(self, batches: list[list[Example]], epoch: int) -> None:
        """One step of every task, on its batch."""
        self.base.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        rows = [(task, example) for task, batch in enumerate(batches) for example in batch]
        numbers = [0] * len(self.tasks)

        def seed(rows_together: list[tuple]) -> None:
            first = rows_together[0][0]  # the only task in the batch, where random numbers are drawn
            seed_task(self.options.seed, self.tasks[first].name, self.step, numbers[first])
            numbers[first] += 1

        for together in self.batches(rows, [example.seconds for _, example in rows]):
            seed(together)
            shares = torch.tensor([1 / len(batches[task]) for task, _ in together], device=self.base.device)
            draws = [self.draw(example, epoch) for _, example in together]
            with self.using(self.parameters, together):
                losses = self.cache.losses([example for _, example in together], draws)
            (losses * shares).sum().backward()
        for piece in draw_replay(self.replay, 0.0, self.options.seed, self.step):  # the same for every task
            pieces = [(task, piece) for task in range(len(self.tasks))]
            for together in self.batches(pieces, [piece.utterance.duration] * len(pieces)):
                seed(together)
                with self.using(self.parameters, together):
                    losses = replay_losses(self.cache, [piece] * len(together))
                (self.options.replay_weight * losses.sum()).backward()
        for vectors in self.parameters:  # each task's gradient to the largest norm, as if it were alone
            nn.utils.clip_grad_norm_(list(vectors.values()), self.options.clip)
        total_steps = self.batches_per_epoch * self.options.epochs
        factor = learning_rate_factor(self.step, total_steps, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        self.optimizer.step()
        self.step += 1

    def batches(self, rows: Sequence[tuple], seconds: Sequence[float]) -> Iterator[list[tuple]]:
        """The rows, which are in the order of their vectors, in batches that are computed together."""
        alone = self.base.device.type == "cpu" or (self.is_random and self.base.model.training)
        pairs = zip(rows, seconds, strict=True)
        for _, group in groupby(pairs, key=lambda pair: pair[0][0] if alone else None):
            yield from batches_of_similar_length(*zip(*group, strict=True))

    def draw(self, example: Example, epoch: int) -> Draw:
        """A speed of the options at which the audio is long enough for the text."""
        speeds = [speed for speed in example.speeds if speed in self.options.speeds] or example.speeds
        return draw_speed(speeds, self.options.seed, epoch, zlib.crc32(example.utterance.id.encode()))

    @torch.no_grad()
    def measure(self, epoch: int) -> None:
        """Measure each task's held-out utterances, after an epoch at every scale."""
        tasks = [(task, index) for index, task in enumerate(self.tasks) if task.held_out]
        pairs = [(*pair, Setting(epoch, s)) for pair in tasks for s in (SCALES if epoch else (0.0,))]
        vectors = [interpolate(self.start, self.parameters[index], s.scale) for _, index, s in pairs]
        rows = [(number, example) for number, (task, *_) in enumerate(pairs) for example in task.held_out]
        measures: dict[int, dict[str, Measure]] = {number: {} for number in range(len(pairs))}
        self.base.model.eval()
        for together in self.batches(rows, [example.seconds for _, example in rows]):
            with self.using(vectors, together):
                results = measure_batch(self.cache, [e for _, e in together], self.options.normalize)
            for (number, example), result in zip(together, results, strict=True):
                measures[number][example.utterance.id] = result
        for number, (task, _, setting) in enumerate(pairs):
            task.measures[setting] = [measures[number][e.utterance.id] for e in task.held_out]

    def using(self, vectors: list[Vectors], rows: list[tuple]) -> AbstractContextManager[None]:
        """A context in which each row of a batch has its own vectors."""
        stacked = {
            module.l: torch.stack([vectors[index][name] for index, _ in rows])[:, None]
            for name, module in self.modules.items()
        }
        return ia3.using_rows(stacked)


def interpolate(start: Vectors, trained: Vectors, scale: float) -> Vectors:
    """start + scale · (trained − start)."""
    return {name: torch.lerp(start[name], vector.detach(), scale) for name, vector in trained.items()}


def measure_batch(cache: FeatureCache, examples: Sequence[Example], mode: str) -> list[Measure]:
    """Measures of utterances with the vectors in use; `mode` normalises the texts."""
    logits, frames = cache.logits([example.utterance for example in examples])
    losses = cache.base.losses(logits, frames, [example.ids for example in examples]).tolist()
    rows = cache.base.rows_of(logits, frames)
    texts = [hypothesis.text for hypothesis in search_rows(cache.base.greedy, rows)]
    measures, mode = [], cache.base.scoring_mode(mode)
    for text, loss, e in zip(texts, losses, examples, strict=True):
        errors = text_errors(e.utterance.text, text, mode)
        loss = loss if math.isfinite(loss) else math.inf
        measures.append(Measure(e.utterance.id, text, errors.total, errors.words, loss, len(e.ids)))
    return measures


@torch.no_grad()
def measure_all(cache: FeatureCache, examples: Sequence[Example], mode: str) -> list[Measure]:
    """Measures of all utterances with the vectors in the base's model."""
    cache.base.model.eval()
    batches = [*batches_of_similar_length(examples, [example.seconds for example in examples])]
    batches = Progress(batches, "recognising the sentences")
    return [measure for batch in batches for measure in measure_batch(cache, batch, mode)]


def load_vectors(base: Base, vectors: Vectors) -> None:
    """Copy vectors into the model, where `save_adapter` and `Base.logits` find them."""
    with torch.no_grad():
        for name, module in ia3.vectors(base.model).items():
            module.l.copy_(vectors[name])
