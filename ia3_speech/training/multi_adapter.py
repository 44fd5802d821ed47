"""Many small adaptations at once: one frozen base, and in each row of a batch the vectors of that row's task.

In: tasks (a speaker's few utterances each) and a starting point. Out: for each task the vectors of its best
pass, judged by CTC loss on utterances that are held back; where no pass improves on the starting point, that
is kept. Tasks of as many batches train side by side: their vectors are rows of one table a site, (tasks, d),
so the base's matrices are multiplied once for rows of many tasks. Of a step's rows those of like length go
together: of one batch of sentences half would be padding. Gradients are clipped task by task and AdamW works
number by number, so a task ends where it would have ended alone (without masks and dropout, which are drawn
for a whole batch).
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ia3_speech.data.batches import make_batches
from ia3_speech.decoding.ctc_search import greedy
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.precision import quick

HOLD_EVERY = 5  # every fifth utterance, at least one, is held back
BATCH_SECONDS = 40.0  # of rows that are computed together: longest × number

Row = tuple[int, Example]  # the task's number, and one of its utterances


@dataclass
class Schedule:
    """How each task learns: passes over its utterances, AdamW's peak rate, warm-up's share of all steps."""

    epochs: int = 8
    learning_rate: float = 5e-3
    warmup: float = 0.1
    clip: float = 1.0
    batch_utterances: int = 4
    seed: int = 0
    precision: str = "no"  # or bf16, in the encoder's layers
    speeds: tuple[float, ...] = (1.0,)


@dataclass
class Task:
    """One adaptation: its name, what it learns from, what is held back to judge it."""

    name: str
    train_examples: list[Example]
    held_out: list[Example]
    losses: list[float] = field(default_factory=list)  # of what is held back: at the start, after each pass

    @property
    def best_epoch(self) -> int:
        """0 is the starting point; a loss that is no number is none."""
        return int(np.argmin(np.nan_to_num(self.losses, nan=np.inf)))


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """(to learn from, held back): every fifth is held back, of fewer than five the last."""
    held = [e for i, e in enumerate(examples, 1) if i % HOLD_EVERY == 0] or list(examples[-1:])
    return [e for e in examples if e not in held], held


def batches_of(task: Task, schedule: Schedule) -> int:
    """Batches in a pass: tasks that train together have the same number."""
    return -(-len(task.train_examples) // schedule.batch_utterances)


def of_like_length(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in batches of BATCH_SECONDS with little padding, from short to long."""
    seconds = [example.seconds for _, example in rows]
    for batch in make_batches(seconds, BATCH_SECONDS, seed=0, epoch=0, shuffle=False):
        yield [rows[i] for i in batch]


class MultiAdapterTrainer:
    """Tasks of equally many batches on one base, whose attached vectors are where all of them start."""

    def __init__(self, base: Base, tasks: list[Task], schedule: Schedule, cache: FeatureCache):
        self.base, self.tasks, self.schedule, self.cache = base, tasks, schedule, cache
        self.vectors = ia3.vectors(base.model)
        self.tables = {
            name: nn.Parameter(v.l.detach().repeat(len(tasks), 1)) for name, v in self.vectors.items()
        }
        self.best = {name: table.detach().clone() for name, table in self.tables.items()}
        self.optimizer = torch.optim.AdamW(self.tables.values(), lr=schedule.learning_rate, weight_decay=0.0)
        self.steps = batches_of(tasks[0], schedule)
        self.step = 0

    def run(self) -> None:
        """All passes; afterwards `best` holds each task's vectors, (tasks, d) a site."""
        self.evaluate()
        for number in range(self.schedule.epochs):
            orders = [self.order(task, number) for task in self.tasks]
            for step in range(self.steps):
                self.train_step([order[step] for order in orders], number)
            self.evaluate()

    def order(self, task: Task, number: int) -> list[list[Example]]:
        """The batches of one pass: a function of seed, task and pass, whoever trains beside it."""
        rng = np.random.default_rng([self.schedule.seed, zlib.crc32(task.name.encode()), number])
        mixed = [task.train_examples[i] for i in rng.permutation(len(task.train_examples))]
        return [part.tolist() for part in np.array_split(np.array(mixed, dtype=object), self.steps)]

    def train_step(self, batches: list[list[Example]], number: int) -> None:
        """One step of every task."""
        self.base.model.train()
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.step)
        np.random.seed((self.schedule.seed * 1_000_003 + self.step) % 2**32)  # transformers' masks
        self.optimizer.zero_grad(set_to_none=True)
        for rows in of_like_length([(t, example) for t, batch in enumerate(batches) for example in batch]):
            shares = torch.tensor([1 / len(batches[t]) for t, _ in rows], device=self.base.device)
            losses = self.losses(self.tables, rows, [self.speed(e, number) for _, e in rows])
            (losses * shares).sum().backward()
        self.clip()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * self.factor()
        self.optimizer.step()
        self.step += 1

    def speed(self, example: Example, number: int) -> float:
        rng = np.random.default_rng([self.schedule.seed, number, zlib.crc32(example.utterance.id.encode())])
        speeds = [s for s in example.speeds if s in self.schedule.speeds] or example.speeds
        return float(speeds[rng.integers(len(speeds))])

    def factor(self) -> float:
        """Linear warm-up, then linearly to zero at the last step."""
        total = self.steps * self.schedule.epochs
        rise = self.schedule.warmup * total
        return min((self.step + 1) / rise if self.step < rise else 1.0, (total - self.step) / (total - rise))

    def losses(
        self, tables: dict[str, torch.Tensor], rows: list[Row], speeds: list[float] | None = None
    ) -> torch.Tensor:
        """(rows,): CTC loss a target symbol, in fp32, each with its task's vectors in `tables`."""
        speeds = speeds or [1.0] * len(rows)
        features = [self.cache.get(e.utterance, s) for (_, e), s in zip(rows, speeds, strict=True)]
        with selected(self.vectors, tables, [t for t, _ in rows]), quick(self.base, self.schedule.precision):
            logits, frames = self.base.forward(features, self.cache.depth)
        sizes = torch.tensor([len(e.ids) for _, e in rows], device=logits.device)
        flat = torch.tensor([i for _, e in rows for i in e.ids], device=logits.device)
        log_probabilities = logits.float().log_softmax(-1).transpose(0, 1)
        blank = self.base.vocabulary.blank
        losses = nn.functional.ctc_loss(
            log_probabilities, flat, frames, sizes, blank=blank, reduction="none", zero_infinity=True
        )
        return losses / sizes

    def clip(self) -> None:
        """Each task's gradient to the largest norm, as if it were alone."""
        gradients = [table.grad for table in self.tables.values()]
        norms = torch.stack([g.square().sum(1) for g in gradients]).sum(0).sqrt()  # (tasks,)
        factors = (self.schedule.clip / (norms + 1e-6)).clamp(max=1.0)[:, None]
        for gradient in gradients:
            gradient.mul_(factors)

    @torch.no_grad()
    def evaluate(self) -> None:
        """The loss of what is held back, task by task; where it is the least so far, keep the vectors."""
        self.base.model.eval()
        found: list[list[float]] = [[] for _ in self.tasks]
        for rows in of_like_length(
            [(t, example) for t, task in enumerate(self.tasks) for example in task.held_out]
        ):
            for (t, _), loss in zip(rows, self.losses(self.tables, rows).tolist(), strict=True):
                found[t].append(loss)
        for t, task in enumerate(self.tasks):
            task.losses.append(float(np.mean(found[t])))
            if task.best_epoch == len(task.losses) - 1:
                for name, table in self.tables.items():
                    self.best[name][t] = table[t]

    @torch.no_grad()
    def texts(self, rows: list[Row]) -> list[str]:
        """Greedy texts of rows, each with its task's best vectors."""
        self.base.model.eval()
        features = [self.cache.get(e.utterance) for _, e in rows]
        with selected(self.vectors, self.best, [t for t, _ in rows]):
            logits, frames = self.base.forward(features, self.cache.depth)
        pairs = zip(logits.float().cpu(), frames.tolist(), strict=True)
        return [greedy(row[:n], self.base.vocabulary) for row, n in pairs]

    def take(self, number: int) -> None:
        """Copy one task's best vectors into the model: what `adapters.files.save_adapter` then saves."""
        with torch.no_grad():
            for name, vector in self.vectors.items():
                vector.l.copy_(self.best[name][number])


@contextmanager
def selected(
    vectors: dict[str, ia3.IA3Vector], tables: dict[str, torch.Tensor], tasks: list[int]
) -> Iterator[None]:
    """Row i of the batch gets the vectors of task `tasks[i]`."""
    index = torch.tensor(tasks, device=next(iter(tables.values())).device)
    for name, vector in vectors.items():
        vector.rows = tables[name][index][:, None]
    try:
        yield
    finally:
        for vector in vectors.values():
            vector.rows = None
