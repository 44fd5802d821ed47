"""The training loop: CTC on Accelerate, vectors alone, the epoch to keep by dev WER.

In: a base with vectors attached, examples to learn from and to judge on. Out: the vectors of the epoch
to keep, in place. Every draw (order, speeds, masks, dropout) hangs on the seed and the step, so a run that
was killed goes on as if it had not been.
"""

import hashlib
import logging
import math
import os
import shutil
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from ia3_speech.cli import progress_stream
from ia3_speech.data.batches import BatchOrder, make_batches
from ia3_speech.decoding.ctc_search import greedy
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.score import word_errors
from ia3_speech.scoring.alignment import Errors
from ia3_speech.scoring.significance import standard_error
from ia3_speech.training.checkpoint import Checkpoint, MetricsLog, same_run
from ia3_speech.training.config import Options, TrainingError, comparable
from ia3_speech.training.data import Example, data_digest
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth
from ia3_speech.training.precision import quick

logger = logging.getLogger(__name__)

LIVE_WITHIN = 10  # batches in which every vector must have had a gradient


class Trainer:
    """One run: order, step, look at dev, keep an epoch. Its state is in `Checkpoint`."""

    def __init__(self, base: Base, train: list[Example], dev: list[Example], options: Options):
        from accelerate import Accelerator

        trackers = ["tensorboard"] if has_tensorboard() else []
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if launched != options.precision and launched != "no":
            logger.warning("accelerate's --mixed_precision %s is not used: --precision bf16 is", launched)
        self.accelerator = Accelerator(
            mixed_precision="no",  # `quick` does what `precision` says, for the encoder's layers alone
            cpu=base.device.type == "cpu",
            log_with=trackers or None,
            project_dir=options.out / "log",
        )
        self.base, self.model, self.options = base, base.model, options
        self.train, self.dev = train, dev
        self.named = dict(ia3.trainable(self.model))
        self.optimizer = torch.optim.AdamW(self.groups(), weight_decay=0.0)
        seconds = [e.seconds for e in train]
        times = math.ceil(60 * options.epoch_minutes / sum(seconds) - 0.01)  # an epoch goes over train
        self.order = BatchOrder(seconds * max(1, times), options.batch_seconds, seed=options.seed)
        depth = frozen_depth(base)
        limit = options.cache_gb * 2**30
        self.cache = FeatureCache(base, depth, limit, options.allow_pipes)
        self.step, self.waited, self.seconds = 0, 0, 0.0
        self.losses: list[float] = []  # of this epoch's batches so far
        self.best: list[int] = []  # errors of each dev utterance, in the epoch with fewest
        self.kept = 0, math.inf  # epoch and dev WER of kept_tensors
        self.kept_tensors = self.copy()
        self.silent = set(ia3.vectors(self.model))  # vectors that have had no gradient yet
        self.metrics = MetricsLog(options.out / "metrics.jsonl")
        self.identity = comparable(options) | {
            "processes": self.accelerator.num_processes,
            "sha256 of the base": base.fingerprint["sha256"],
            "sha256 of the start": digest(self.named),
        }
        self.total = sum(
            len(make_batches(self.order.seconds, options.batch_seconds, seed=options.seed, epoch=epoch))
            for epoch in range(options.epochs)
        )

    def groups(self) -> list[dict[str, Any]]:
        heads = [p for n, p in self.named.items() if ia3.is_head(n)]
        vectors = [p for n, p in self.named.items() if not ia3.is_head(n)]
        groups = [(vectors, self.options.learning_rate), (heads, self.options.head_learning_rate)]
        return [{"params": params, "lr": peak, "peak": peak} for params, peak in groups if params]

    def copy(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.named.items()}

    def run(self) -> None:
        """All epochs that are left."""
        from tqdm import tqdm

        bar = tqdm(total=self.total, initial=self.step, unit="batch", dynamic_ncols=True, file=progress_stream(),
                   disable=None if self.accelerator.is_main_process else True)  # fmt: skip
        if self.accelerator.log_with:
            self.accelerator.init_trackers("ia3_speech")
        while self.order.epoch < self.options.epochs and self.waited < self.options.patience:
            tick, heard, epoch = time.monotonic(), 0.0, self.order.epoch
            for batch in self.order:
                loss, seconds = self.train_step(batch, epoch)
                self.losses.append(loss)
                heard += seconds
                self.step += 1
                rate = heard / max(1e-9, time.monotonic() - tick)
                bar.set_postfix_str(
                    f"loss {np.mean(self.losses[-20:]):.3f}, dev WER {self.kept[1]:.4f}, {rate:.0f} s/s"
                )
                bar.update()
                if self.step % self.options.checkpoint_steps == 0 and self.order.epoch == epoch:
                    self.seconds += time.monotonic() - tick
                    tick, heard = time.monotonic(), 0.0
                    self.checkpoint()
            self.evaluate(epoch, float(np.mean(self.losses)), rate)
            self.losses = []
            self.seconds += time.monotonic() - tick
            self.checkpoint()
        bar.close()

    def train_step(self, batch: list[int], epoch: int) -> tuple[float, float]:
        """One step on one batch (or on one batch for each process). Returns loss, seconds of audio."""
        examples = [self.train[i % len(self.train)] for i in batch]
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine, places = examples[rank::world], batch[rank::world]
        self.set_rate()
        self.model.train()
        speeds = [self.draw_speed(e, epoch, i) for e, i in zip(mine, places, strict=True)]
        features = [self.cache.get(e.utterance, speed) for e, speed in zip(mine, speeds, strict=True)]
        self.seed(self.step * world + rank)
        self.optimizer.zero_grad(set_to_none=True)
        share = torch.zeros((), device=self.base.device)  # this process's part of the batch's mean
        if mine:
            with quick(self.base, self.options.precision):
                logits, frames = self.base.forward(features, self.cache.depth)
            loss = ctc_loss(logits, frames, [e.ids for e in mine], self.base.vocabulary.blank)
            loss = loss * (len(mine) * world / len(examples))
            self.accelerator.backward(loss)
            share = loss.detach()
        value = float(self.accelerator.reduce(share, "mean"))
        if not np.isfinite(value):
            names = ", ".join(e.utterance.id for e in examples[:10])
            raise TrainingError(
                f"step {self.step}: the loss is {value} on {names}; the last checkpoint stands "
                f"(a lower --learning-rate usually cures it)"
            )
        self.share_gradients(world)
        self.check_alive()
        nn.utils.clip_grad_norm_(list(self.named.values()), self.options.clip)
        self.optimizer.step()
        self.decay_to_one()
        return value, sum(e.seconds for e in examples)

    def seed(self, number: int) -> None:
        """Masks (transformers draws them from numpy) and dropout depend on the seed and the step alone, so a
        resumed run needs no generator's state."""
        torch.manual_seed(self.options.seed * 1_000_003 + number)
        np.random.seed((self.options.seed * 1_000_003 + number) % 2**32)

    def draw_speed(self, example: Example, epoch: int, place: int) -> float:
        rng = np.random.default_rng([self.options.seed, epoch, place])
        return float(example.speeds[rng.integers(len(example.speeds))])

    def set_rate(self) -> None:
        """Linear warm-up, then linearly to zero at the last step."""
        done, rise = self.step / self.total, self.options.warmup
        factor = (done * self.total + 1) / (rise * self.total) if done < rise else (1 - done) / (1 - rise)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, factor)

    def share_gradients(self, world: int) -> None:
        """Average over processes: some hundred kilobytes, so one call does, without DDP's wrapper."""
        if world > 1:
            for p in self.named.values():
                p.grad = self.accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "mean")

    def check_alive(self) -> None:
        """Every vector has had a gradient within the first ten batches, or training is for nothing."""
        if not self.silent:
            return
        heard = {n for n in self.silent if self.named[n].grad is not None and bool(self.named[n].grad.any())}
        self.silent -= heard
        if self.silent and self.step + 1 >= LIVE_WITHIN:
            names = ", ".join(sorted(self.silent)[:8])
            raise TrainingError(f"no gradient in {self.step + 1} batches: {names} would stay at one")

    def decay_to_one(self) -> None:
        if self.options.decay_to_one:
            with torch.no_grad():
                for name, p in self.named.items():
                    if not ia3.is_head(name):
                        p.sub_((p - 1) * (self.optimizer.param_groups[0]["lr"] * self.options.decay_to_one))

    def evaluate(self, epoch: int, loss: float, rate: float) -> None:
        """Decode dev, log, and keep the last epoch that dev can't tell from the best.

        The lowest of several WERs on a small dev set is luck. Kept is the last epoch, whose rate was lowest,
        that is worse than the best by at most one standard error of their difference, utterance by utterance
        (after the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984).
        """
        counts = self.dev_errors()
        errors, words = [one.total for one in counts], [one.words for one in counts]
        wer = sum(counts, Errors()).wer
        better = not self.best or sum(errors) < sum(self.best)
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = errors
        worse = np.subtract(errors, self.best)
        if worse.sum() / sum(words) <= standard_error(worse, words):
            self.kept, self.kept_tensors = (epoch + 1, wer), self.copy()
        row = {"epoch": epoch + 1, "step": self.step, "loss": round(loss, 5), "dev_wer": round(wer, 6)}
        row |= {"kept_epoch": self.kept[0], "seconds_per_second": round(rate, 1)}
        if self.accelerator.is_main_process:
            self.metrics.append(row)
            logger.info("epoch %d: loss %.3f, dev WER %.2f %%", epoch + 1, loss, 100 * wer)
        if self.accelerator.log_with:
            self.accelerator.log({"loss": loss, "dev_wer": wer}, step=self.step)

    @torch.no_grad()
    def dev_errors(self) -> list[Errors]:
        """Of greedy search on all of dev, one an utterance."""
        self.model.eval()
        hypotheses = [""] * len(self.dev)
        for batch in make_batches([e.seconds for e in self.dev], self.options.batch_seconds, seed=0, epoch=0):
            features = [self.cache.get(self.dev[i].utterance) for i in batch]
            with quick(self.base, self.options.precision):
                logits, frames = self.base.forward(features, self.cache.depth)
            for i, row, n in zip(batch, logits.float().cpu(), frames.tolist(), strict=True):
                hypotheses[i] = greedy(row[:n], self.base.vocabulary)
        references = [e.utterance.text or "" for e in self.dev]
        return [
            word_errors([reference], [hypothesis], self.options.normalize)
            for reference, hypothesis in zip(references, hypotheses, strict=True)
        ]

    def checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            Checkpoint(
                options=self.identity,
                data=data_digest(self.train, self.dev),
                order=self.order.state_dict(),
                optimizer=self.optimizer.state_dict(),
                tensors=self.copy(),
                kept_tensors=self.kept_tensors,
                silent=sorted(self.silent),
                metrics_bytes=self.metrics.size(),
                step=self.step,
                best=self.best,
                kept=self.kept,
                waited=self.waited,
                losses=self.losses,
                seconds=self.seconds,
            ).save(self.options.out / "checkpoints" / "last.pt")

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one.

        Raises:
            ResumeError: it was made with other options, other data, on another base or from another start.
        """
        file = self.options.out / "checkpoints" / "last.pt"
        for half_written in file.parent.glob(f".{file.name}.*"):  # by a run that was killed
            shutil.rmtree(half_written, ignore_errors=True)
        if not file.exists():
            self.metrics.cut(0)
            return
        state = Checkpoint.load(file)
        same_run(self.options.out, state, self.identity, data_digest(self.train, self.dev))
        self.load(state.tensors)
        self.optimizer.load_state_dict(state.optimizer)
        self.order.load_state_dict(state.order)
        self.kept_tensors, self.silent = state.kept_tensors, set(state.silent)
        self.best, self.kept = state.best, state.kept
        self.step, self.waited, self.seconds = state.step, state.waited, state.seconds
        self.losses = state.losses
        self.metrics.cut(state.metrics_bytes)
        logger.info("%s: going on after step %d of %d", self.options.out, self.step, self.total)

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(tensors[name])


def ctc_loss(
    logits: torch.Tensor, frames: torch.Tensor, targets: list[list[int]], blank: int
) -> torch.Tensor:
    """Mean over utterances of the loss a target symbol, in fp32 (Graves et al. 2006).

    logits (batch, frames, vocabulary), frames (batch,), targets one list of token ids a row.
    """
    flat = torch.tensor([i for ids in targets for i in ids], device=logits.device)
    sizes = torch.tensor([len(ids) for ids in targets], device=logits.device)
    log_probabilities = logits.float().log_softmax(-1).transpose(0, 1)
    return nn.functional.ctc_loss(log_probabilities, flat, frames, sizes, blank=blank, zero_infinity=True)


def digest(tensors: dict[str, nn.Parameter]) -> str:
    """SHA-256 of numbers in fp32."""
    made = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        made.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return made.hexdigest()


def has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None
