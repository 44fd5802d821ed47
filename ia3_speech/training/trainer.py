"""The training loop: on Accelerate, of the parameters that `attach.trainable` names, selected by dev WER.

In: a base with vectors, or another method's parameters, examples to train on and to evaluate on. Out: the
parameters of the selected epoch; of epoch 0, the start, if no epoch has fewer errors on dev. Every random
number (order, speeds, noises, masks, dropout) depends on the seed and the step, so that an interrupted run,
resumed, ends with the same parameters.
"""

import io
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from ia3_speech.common.atomic import replacing, write_text
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.progress import Progress
from ia3_speech.data.batches import BatchOrder, make_batches
from ia3_speech.decoding.long_recordings import cut_utterance
from ia3_speech.model import ia3
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import Base
from ia3_speech.model.fingerprint import tensors_sha256
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import standard_error
from ia3_speech.training.config import TrainingOptions, comparable
from ia3_speech.training.data import Example, data_digest
from ia3_speech.training.feature_cache import cache_for
from ia3_speech.training.replay import Replayed, draw_replay, replay_digest, replay_losses
from ia3_speech.training.steps import draw_speed, learning_rate_factor, seed_step

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoints/last.pt"


def peak_memory_bytes() -> int:
    """The peak of torch's memory on the GPU, else of this process, which Windows does not report (0)."""
    if (used := torch.cuda.max_memory_allocated()) or sys.platform == "win32":
        return used
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB elsewhere


@dataclass
class TrainingState:
    """Counts, measures and the selection of a trainer so far."""

    selected_tensors: dict[str, torch.Tensor]  # the trained parameters by name, in the selected epoch
    selected_epoch: int = 0  # the epoch whose parameters become the adapter, from 1; 0 is the start
    selected_wer: float = math.inf  # its dev WER, a fraction
    start_wer: float = math.inf  # dev WER of the start, a fraction
    best_errors: list[int] = field(default_factory=list)  # of each dev utterance in the best epoch from 1
    epochs_without_improvement: int = 0  # epochs since the best
    step: int = 0  # batches trained on
    losses: list[float] = field(default_factory=list)  # of the batches of the current epoch
    seconds: float = 0.0  # of wall-clock time spent training
    step_seconds: float = 0.0  # the part of `seconds` spent in steps, without evaluation
    peak_memory_bytes: int = 0  # of the GPU, or of this process


class Trainer:
    """One training run; `TrainingState` documents its state."""

    def __init__(
        self,
        base: Base,
        train: list[Example],
        dev: list[Example],
        options: TrainingOptions,
        replay: Sequence[Replayed] = (),
    ):
        from accelerate import Accelerator

        self.base, self.model, self.options, self.replay = base, base.model, options, replay
        self.train, self.dev = train, dev
        # No mixed precision: `Base.precision` has the encoder's layers alone in bfloat16.
        trackers = {"log_with": options.log_to, "project_dir": options.out}
        self.accelerator = Accelerator(mixed_precision="no", cpu=base.device.type == "cpu", **trackers)
        self.parameters = dict(trainable(self.model))
        self.optimizer = torch.optim.AdamW(self.parameter_groups(), weight_decay=0.0)
        seconds = [example.seconds for example in train]
        repetitions = math.ceil(60 * options.epoch_minutes / sum(seconds) - 0.01)  # of train in an epoch
        self.order = BatchOrder(seconds * max(1, repetitions), options.batch_seconds, seed=options.seed)
        self.total_steps = sum(
            len(make_batches(self.order.seconds, options.batch_seconds, seed=options.seed, epoch=epoch))
            for epoch in range(options.epochs)
        )
        self.cache = cache_for(base, options)
        self.dev_pieces = [  # (number of the dev utterance, a piece of it)
            (number, piece)
            for number, e in enumerate(dev)
            for piece in cut_utterance(e.utterance, e.seconds, base.maximum_seconds)
        ]
        self.metrics_file, self.checkpoint_file = options.out / "metrics.jsonl", options.out / CHECKPOINT
        self.metrics: list[dict[str, Any]] = []  # a row an epoch
        augmentation = self.cache.augmentation
        waves = [*augmentation.noises, *augmentation.responses] if augmentation else []
        self.identity = comparable(options) | {
            "processes": self.accelerator.num_processes,
            "sha256 of the base": base.fingerprint["sha256"],
            "sha256 of the start": tensors_sha256(p for _, p in sorted(self.parameters.items())),
            "sha256 of the data": data_digest([*train, *dev]),
            **({"sha256 of the replay": replay_digest(replay)} if replay else {}),
            **({"sha256 of noises and rooms": tensors_sha256(waves)} if waves else {}),
        }
        self.state = TrainingState(self.copy_parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For AdamW: the vectors and, where it is trained, the head, each with its peak rate."""
        named, rates = self.parameters.items(), (self.options.learning_rate, self.options.head_learning_rate)
        heads = [p for name, p in named if self.options.train_head and ia3.is_head(name)]
        others = [p for name, p in named if not (self.options.train_head and ia3.is_head(name))]
        groups = zip((others, heads), rates, strict=True)
        return [{"params": params, "lr": peak, "peak": peak} for params, peak in groups if params]

    def copy_parameters(self) -> dict[str, torch.Tensor]:
        """The trained parameters by name, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.parameters.items()}

    def load_parameters(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[name])

    def run(self) -> None:
        """Train the remaining epochs, and write a checkpoint after each."""
        hidden = not self.accelerator.is_main_process
        if self.options.log_to:
            wandb = {"name": self.options.out.name, "dir": str(self.options.out)}
            self.accelerator.init_trackers("ia3_speech", init_kwargs={"wandb": wandb})
        if self.state.step == 0:
            self.evaluate(0)
        progress = Progress(self.total_steps, "training", self.state.step, hidden)
        with logging_redirect_tqdm(), progress:
            while (
                self.order.epoch < self.options.epochs
                and self.state.epochs_without_improvement < self.options.patience
            ):
                self.run_epoch(progress)
                self.checkpoint()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def run_epoch(self, progress: Progress) -> None:
        """Train the rest of the current epoch, and evaluate it."""
        state, epoch, started, audio_seconds, rate = self.state, self.order.epoch, time.monotonic(), 0.0, 0.0
        progress.begin_epoch("training", epoch + 1, self.options.epochs)
        for batch in self.order:
            before = time.monotonic()
            loss, seconds = self.train_step(batch, epoch)
            state.step_seconds += time.monotonic() - before
            state.losses.append(loss)
            state.step += 1
            audio_seconds += seconds
            learning_rate = self.optimizer.param_groups[0]["lr"]
            self.accelerator.log({"loss": loss, "learning_rate": learning_rate}, state.step)
            rate = audio_seconds / max(1e-9, time.monotonic() - started)
            loss, wer = np.mean(state.losses[-20:]), 100 * state.selected_wer
            progress.set_postfix_str(
                f"loss {loss:.3f}, dev WER {wer:.1f} %, {rate:.0f} s of audio/s", refresh=False
            )
            progress.update()
            if state.step % self.options.checkpoint_steps == 0 and self.order.epoch == epoch:
                state.seconds += time.monotonic() - started
                started, audio_seconds = time.monotonic(), 0.0
                self.checkpoint()
        loss = round(float(np.mean(state.losses)), 5)
        self.evaluate(epoch + 1, loss, round(rate, 1), progress.left)
        state.losses = []
        state.seconds += time.monotonic() - started

    def train_step(self, batch: list[int], epoch: int) -> tuple[float, float]:
        """One step on one batch, divided among the processes. Returns its loss, with the weighted loss of the
        replay, and its seconds of audio. Raises TrainingError if the loss is not finite."""
        options, state, rank = self.options, self.state, self.accelerator.process_index
        world = self.accelerator.num_processes
        examples = [self.train[i % len(self.train)] for i in batch]
        here = examples[rank::world]
        factor = learning_rate_factor(state.step, self.total_steps, options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.model.train()
        positions = zip(here, batch[rank::world], strict=True)
        draws = [draw_speed(e.speeds, options.seed, epoch, position) for e, position in positions]
        seed_step(options.seed, state.step * world + rank)
        self.optimizer.zero_grad(set_to_none=True)
        share = torch.zeros((), device=self.base.device)  # this process's part of the batch's mean
        if here:
            loss = self.cache.losses(here, draws).mean() * (len(here) * world / len(examples))
            self.accelerator.backward(loss)
            share = loss.detach()
        pieces = draw_replay(self.replay, options.batch_seconds, options.seed, state.step)
        if pieces_here := pieces[rank::world]:
            loss = replay_losses(self.cache, pieces_here).mean() * (len(pieces_here) * world / len(pieces))
            self.accelerator.backward(options.replay_weight * loss)
            share = share + options.replay_weight * loss.detach()
        value = float(self.accelerator.reduce(share, "mean"))
        if not np.isfinite(value):
            names, hint = ", ".join(e.utterance.id for e in examples[:10]), "try a lower `learning_rate`"
            raise TrainingError(f"step {state.step}: the loss is {value} on {names} ({hint})")
        for p in self.parameters.values() if world > 1 else ():  # some hundred kilobytes: no need of DDP
            p.grad = self.accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "mean")
        nn.utils.clip_grad_norm_(list(self.parameters.values()), options.clip)
        self.optimizer.step()
        self.decay_to_one()
        return value, sum(e.seconds for e in examples)

    @torch.no_grad()
    def decay_to_one(self) -> None:
        """Weight decay, decoupled from the gradient, of l − 1, since 1 is the identity; then the limits of
        the trust region."""
        decay = self.optimizer.param_groups[0]["lr"] * self.options.decay_to_one
        limit = self.options.trust_region or math.inf
        for name, p in self.parameters.items() if decay or limit < math.inf else ():
            if not ia3.is_head(name):
                p.sub_((p - 1) * decay).clamp_(1 - limit, 1 + limit)

    def evaluate(
        self, epoch: int, loss: float | None = None, rate: float | None = None, left: str = ""
    ) -> None:
        """Decode dev after an epoch. Epoch 0 is the start, which is selected until an epoch improves on it.
        `left` ends the log's line."""
        started = time.monotonic()
        counts = self.dev_errors()
        wer = sum(counts, ErrorCounts()).wer
        if epoch:
            self.select(epoch, counts)
        else:
            self.state.start_wer = self.state.selected_wer = wer
            self.state.seconds += time.monotonic() - started
        row = {"epoch": epoch, "step": self.state.step, "loss": loss, "dev_wer": round(wer, 6)}
        row |= {"selected_epoch": self.state.selected_epoch} | ({"seconds_per_second": rate} if epoch else {})
        if self.accelerator.is_main_process:
            self.metrics.append(row)
            self.accelerator.log({"epoch": epoch, "dev_wer": wer}, self.state.step)
            write_text(self.metrics_file, "".join(f"{json.dumps(row)}\n" for row in self.metrics))
            trained = f"epoch {epoch}: loss {loss:.3f}," if epoch else "start:"
            logger.info("%s dev WER %.2f %%%s", trained, 100 * wer, left)

    def select(self, epoch: int, counts: list[ErrorCounts]) -> None:
        """Select the last epoch that dev can't tell from the best, given the errors of each dev utterance.

        The lowest of several WERs on a small dev set is partly chance. The last epoch, with the lowest
        learning rate, is selected if it is worse than the best by at most one standard error of their
        difference, utterance by utterance (after the one-standard-error rule of Breiman et al.,
        Classification and Regression Trees, 1984). An epoch without fewer errors than the start is never
        selected.
        """
        errors, words = [count.total for count in counts], [count.words for count in counts]
        wer = sum(counts, ErrorCounts()).wer
        better = not self.state.best_errors or sum(errors) < sum(self.state.best_errors)
        self.state.epochs_without_improvement = 0 if better else self.state.epochs_without_improvement + 1
        if better:
            self.state.best_errors = errors
        worse = np.subtract(errors, self.state.best_errors)
        as_good = worse.sum() / sum(words) <= standard_error(worse, words)
        if as_good and wer < self.state.start_wer:
            self.state.selected_epoch, self.state.selected_wer = epoch, wer
            self.state.selected_tensors = self.copy_parameters()

    def dev_errors(self) -> list[ErrorCounts]:
        """The word errors of greedy search on each dev utterance, which is cut as for decoding. At the start
        nothing is decoded again: an unadapted Whisper repeats itself in short windows."""
        self.model.eval()
        search = self.base.greedy if self.state.step else self.base.quick
        texts: dict[int, str] = {}  # of the pieces
        seconds = [piece.duration for _, piece in self.dev_pieces]
        batches = make_batches(seconds, self.options.batch_seconds, seed=0, epoch=0)
        for batch in Progress(batches, "recognising dev", hidden=not self.accelerator.is_main_process):
            pieces = [self.dev_pieces[i][1] for i in batch]
            texts |= zip(batch, self.cache.texts(pieces, search), strict=True)
        utterance_texts: list[list[str]] = [[] for _ in self.dev]
        for i, (number, _) in enumerate(self.dev_pieces):
            utterance_texts[number].append(texts[i])
        mode = self.base.scoring_mode(self.options.normalize)
        pairs = zip(self.dev, utterance_texts, strict=True)
        return [text_errors(e.utterance.text, " ".join(pieces), mode) for e, pieces in pairs]

    def checkpoint(self) -> None:
        """Write the state from which a run resumes."""
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, peak_memory_bytes())
        if self.accelerator.is_main_process:
            checkpoint = {
                "run": self.identity,
                "order": {"epoch": self.order.epoch, "position": self.order.position},
                "optimizer": self.optimizer.state_dict(),
                "tensors": self.copy_parameters(),
                "state": vars(self.state),
            }
            buffer = io.BytesIO()  # torch's file writer hides the system's error when the disk is full
            torch.save(checkpoint, buffer)
            with replacing(self.checkpoint_file) as new:
                new.write_bytes(buffer.getbuffer())

    def resume(self) -> None:
        """Load the last checkpoint, if there is one. Raises TrainingError if it is damaged, or was written
        with other options, other data, on another base or from another start."""
        file = self.checkpoint_file
        if not file.exists():
            return
        try:
            last = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, TypeError, EOFError, OSError, ValueError, LookupError, UnpicklingError) as e:
            raise TrainingError(f"cannot resume from {file}: {e} (delete it to start again)") from e
        then, now = last["run"], self.identity
        if differing := sorted(name for name in {*now, *then} if now.get(name) != then.get(name)):
            changes = [f"{name} was {then.get(name)!r}, is {now.get(name)!r}" for name in differing]
            out = self.options.out
            raise TrainingError(f"{out} holds another run: {', '.join(changes)} (choose another `out`)")
        self.load_parameters(last["tensors"])
        self.optimizer.load_state_dict(last["optimizer"])
        self.order = replace(self.order, **last["order"])
        self.state = TrainingState(**last["state"])
        rows = map(json.loads, self.metrics_file.read_text("utf-8").splitlines())
        self.metrics = [row for row in rows if row["step"] <= self.state.step]
        logger.info("%s: resuming after step %d of %d", self.options.out, self.state.step, self.total_steps)
