"""Many small adapters, trained side by side on one frozen base: each row of a batch has its own vectors.

In: tasks (a few utterances of one speaker each), and a base whose attached vectors are where all of them
start. Out: for each task the vectors of its best epoch, by the CTC loss of held-out utterances; where no
epoch improves on the start, the start.

Tasks with equally many batches train side by side. On a GPU the rows of many tasks are computed together, in
batches of similar length, so that the base's matrices are multiplied once for them all. A task has its own
parameters, gradient norm and random numbers, so it ends where it would have ended alone, within rounding.
Where a base has dropout or masks, which are drawn for a whole batch, a task's training batches are its own;
on a CPU all of its batches are, since a row's rounding depends on the batch around it: there it ends bit for
bit where it would have ended alone.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from torch import nn

from ia3_speech.data.batches import make_batches
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.training.config import SpeakerOptions
from ia3_speech.training.ctc import learning_rate_factor, seed_task
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache, has_dropout, has_masks

HOLD_OUT_EVERY = 5  # every fifth utterance, at least one, is held out
BATCH_SECONDS = 40.0  # of rows that are computed together: the longest × their number

Row = tuple[int, Example]  # the task's index, and one of its utterances
Vectors = dict[str, torch.Tensor]  # an adapter's vectors (d,) by the names of their modules


@dataclass
class Task:
    """The training of one adapter.

    Attributes:
        name: SPEAKER/FOLD, its folder; it decides the random numbers of the task, with the seed.
        train_examples: the utterances to train on.
        held_out: the utterances whose loss selects the epoch.
        test: the utterances that it decodes.
        losses: the mean loss of those held out, at the start and after each epoch.
    """

    name: str
    train_examples: list[Example]
    held_out: list[Example]
    test: list[Example] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def speaker(self) -> str:
        return self.name.partition("/")[0]

    @property
    def utterances(self) -> int:
        """Utterances that it is trained on, or that select its epoch."""
        return len(self.train_examples) + len(self.held_out)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss; 0 is the start. A loss that is not a number is never the lowest."""
        return int(np.argmin(np.nan_to_num(self.losses, nan=np.inf)))


def hold_out_examples(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """(to train on, held out): every fifth is held out, of fewer than five the last."""
    held_out = [e for i, e in enumerate(examples, 1) if i % HOLD_OUT_EVERY == 0] or list(examples[-1:])
    return [e for e in examples if e not in held_out], held_out


def batches_per_epoch(task: Task, options: SpeakerOptions) -> int:
    """Tasks that train side by side have the same number."""
    return -(-len(task.train_examples) // options.batch_utterances)


def batches_of_similar_length(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in batches of BATCH_SECONDS with little padding, from short to long."""
    seconds = [example.seconds for _, example in rows]
    for batch in make_batches(seconds, BATCH_SECONDS, seed=0, epoch=0, shuffle=False):
        yield [rows[i] for i in batch]


class MultiAdapterTrainer:
    """Trains tasks with equally many batches; the base's attached vectors are where all of them start.

    Attributes:
        parameters: each task's vectors.
        best: the same in the task's best epoch.
        is_random: whether the base draws random numbers for a batch in training.
    """

    def __init__(self, base: Base, tasks: list[Task], options: SpeakerOptions, cache: FeatureCache):
        self.base, self.tasks, self.options, self.cache = base, tasks, options, cache
        self.vectors = ia3.vectors(base.model)
        self.parameters: list[Vectors] = [
            {name: nn.Parameter(vector.l.detach().clone()) for name, vector in self.vectors.items()}
            for _ in tasks
        ]
        self.best = [copy_of(vectors) for vectors in self.parameters]
        every = [parameter for vectors in self.parameters for parameter in vectors.values()]
        self.optimizer = torch.optim.AdamW(every, lr=options.learning_rate, weight_decay=0.0)
        self.is_random = has_masks(base) or has_dropout(base)
        self.batches_per_epoch = batches_per_epoch(tasks[0], options)
        self.step = 0

    def run(self) -> None:
        """Train all epochs; afterwards `best` holds each task's vectors."""
        self.evaluate()
        for epoch in range(self.options.epochs):
            batches = [self.epoch_batches(task, epoch) for task in self.tasks]
            for step in range(self.batches_per_epoch):
                self.train_step([of_task[step] for of_task in batches], epoch)
            self.evaluate()

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
        for together in self.batches(rows):
            first = together[0][0]  # the only task in it, where random numbers are drawn
            seed_task(self.options.seed, self.tasks[first].name, self.step, numbers[first])
            numbers[first] += 1
            shares = torch.tensor([1 / len(batches[task]) for task, _ in together], device=self.base.device)
            speeds = [self.draw_speed(example, epoch) for _, example in together]
            (self.losses(together, speeds) * shares).sum().backward()
        self.clip_gradients()
        total_steps = self.batches_per_epoch * self.options.epochs
        factor = learning_rate_factor(self.step, total_steps, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * factor
        self.optimizer.step()
        self.step += 1

    def batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """The rows, which are in the order of their tasks, in batches that are computed together."""
        alone = self.base.device.type == "cpu" or (self.is_random and self.base.model.training)
        for _, part in groupby(rows, key=lambda row: row[0] if alone else None):
            yield from batches_of_similar_length(list(part))

    def draw_speed(self, example: Example, epoch: int) -> float:
        """One of the speeds asked for at which the audio is long enough for the text."""
        rng = np.random.default_rng([self.options.seed, epoch, zlib.crc32(example.utterance.id.encode())])
        speeds = [s for s in example.speeds if s in self.options.speeds] or example.speeds
        return float(speeds[rng.integers(len(speeds))])

    def losses(self, rows: list[Row], speeds: Sequence[float] = ()) -> torch.Tensor:
        """(rows,): the CTC loss of each, with its task's vectors."""
        with self.using(self.parameters, rows):
            return self.cache.losses([example for _, example in rows], speeds)

    def clip_gradients(self) -> None:
        """Each task's gradient to the largest norm, as if it were alone."""
        for vectors in self.parameters:
            nn.utils.clip_grad_norm_(list(vectors.values()), self.options.clip)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Add each task's held-out loss to its `losses`; where it is the lowest so far, copy its vectors."""
        self.base.model.eval()
        losses: list[list[float]] = [[] for _ in self.tasks]
        rows = [(index, example) for index, task in enumerate(self.tasks) for example in task.held_out]
        for together in self.batches(rows):
            for (index, _), loss in zip(together, self.losses(together).tolist(), strict=True):
                losses[index].append(loss)
        for index, task in enumerate(self.tasks):
            task.losses.append(float(np.mean(losses[index])))
            if task.best_epoch == len(task.losses) - 1:
                self.best[index] = copy_of(self.parameters[index])

    def texts(self, rows: list[Row]) -> list[str]:
        """The hypothesis of each row, by greedy search, with its task's best vectors."""
        self.base.model.eval()
        with self.using(self.best, rows):
            return self.cache.texts([example.utterance for _, example in rows])

    def using(self, parameters: list[Vectors], rows: list[Row]) -> AbstractContextManager[None]:
        """Within the context, each row of a batch is multiplied by its task's vectors."""
        stacked = {
            vector.l: torch.stack([parameters[task][name] for task, _ in rows])[:, None]
            for name, vector in self.vectors.items()
        }
        return ia3.using_rows(stacked)

    def load_best(self, task: int) -> None:
        """Copy a task's best vectors into the model, where `save_adapter` and `Base.logits` find them."""
        with torch.no_grad():
            for name, vector in self.vectors.items():
                vector.l.copy_(self.best[task][name])


def copy_of(vectors: Vectors) -> Vectors:
    """The same values, without gradients."""
    return {name: vector.detach().clone() for name, vector in vectors.items()}
