"""A training run with a dev set, from its options to its adapter (`ia3-speech train`).

In: `TrainingOptions`. Out: OUT/{config.yaml, adapter/, checkpoints/last.pt, metrics.jsonl, train.json}. The
other kinds of training use the lock of the folder and the preparation of the base from here.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ia3_speech.adapters.load import labels_of_trained, load_adapter
from ia3_speech.adapters.methods import add_user_method, insert, save_method
from ia3_speech.common import atomic
from ia3_speech.common.errors import TrainingError
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import attach, detach, trainable
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.ia3 import attachment, parameter_table
from ia3_speech.model.precision import choose_precision
from ia3_speech.training.config import SharedOptions, TrainingOptions, check_options, method_config, to_yaml
from ia3_speech.training.data import Example, data_digest, read_examples
from ia3_speech.training.feature_cache import switch_off_dropout
from ia3_speech.training.replay import read_replay
from ia3_speech.training.trainer import CHECKPOINT, Trainer

logger = logging.getLogger(__name__)


@contextmanager
def run_lock(out: Path, files: Sequence[str] = (), part: str | None = None) -> Iterator[None]:
    """A context that creates `out`, holds its lock, and removes what killed writers of `files` have left.

    Runs of different parts, such as 1/2 and 2/2, have separate locks. Only the first process of a distributed
    run takes the lock. Raises TrainingError if another run holds it.
    """
    from filelock import FileLock, Timeout

    if os.environ.get("RANK", "0") != "0":  # torchrun numbers the processes
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / (f".lock.{part.replace('/', '-')}" if part else ".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{out}: another run is writing to it (wait until it has ended, or choose another `out`)"
        ) from error
    try:
        for name in files:
            atomic.remove_leftovers(out / name)
        yield
    finally:
        lock.release()
        with suppress(OSError):
            Path(lock.lock_file).unlink()


def train(options: TrainingOptions, base: Base | None = None) -> dict[str, Any]:
    """Run (or resume) one training. `base`: loaded by the options' name; None: it is loaded here.

    Returns:
        The contents of train.json: `run_record`; seconds, dev_wer (a fraction) and selected_epoch (0: the
        start), start_dev_wer, epochs and steps trained; if the start was selected, a note; from the process
        that writes, method, bytes (of the adapter's tensors), seconds_per_step, and peak_memory_bytes (of the
        process, or its GPU).

    Raises:
        TrainingError, AudioError, DataError: the options, the checkpoint or the data can't be used, or
            another run is writing to `options.out`.
    """
    check_options(options)
    with run_lock(options.out, ("adapter", "config.yaml", "train.json", "metrics.jsonl", CHECKPOINT)):
        base = base or load_for_training(options)
        replay = read_replay(base, options)
        prepare_base(base, options)
        options = replace(options, precision=base.precision)
        if options.method == "ia3":
            check_head(base, options)
            logger.info("%s", parameter_table(base.model))
        train_set = read_examples(options.train, base, options, options.speeds)
        dev_set = read_examples(options.dev, base, options, [1.0])
        trainer = Trainer(base, train_set, dev_set, options, replay)
        trainer.resume()
        writes = trainer.accelerator.is_main_process
        if writes:
            atomic.write_text(options.out / "config.yaml", to_yaml(options))
        trainer.run()
        state = trainer.state
        trainer.load_parameters(state.selected_tensors)
        summary = run_record(base, options, train_set) | {
            "seconds": round(state.seconds, 1),
            "dev_wer": state.selected_wer,
            "selected_epoch": state.selected_epoch,
            "start_dev_wer": state.start_wer,
            "epochs": trainer.order.epoch,
            "steps": state.step,
        }
        if not state.selected_epoch:
            summary["note"] = "no epoch improved on the start"
            if writes:
                logger.warning(
                    "%s: %s, dev WER %.2f %%, so the adapter equals the start (try a lower learning rate)",
                    *(options.out, summary["note"], 100 * state.start_wer),
                )
        if writes:
            record = summary | {"data": str(options.train), "learning_rate": options.learning_rate}
            if options.init_adapter:
                record["init_adapter"] = options.init_adapter
            speakers = (example.utterance.speaker for example in train_set)
            labels = labels_of_trained(options.init_adapter, options.labels, speakers)
            size = save_method(base, options.out / "adapter", labels, record)
            summary |= {"method": options.method, "bytes": size, "peak_memory_bytes": state.peak_memory_bytes}
            summary |= {"seconds_per_step": round(state.step_seconds / state.step, 4)}
            atomic.write_json(options.out / "train.json", summary)
        return summary


def run_record(base: Base, options: SharedOptions, examples: Sequence[Example]) -> dict[str, Any]:
    """The entries of train.json that all runs have: trainable (parameters), seed, precision and its reason;
    utterances, audio_seconds, speakers (their number) and data_sha256 of the training set; noise, noise_snr
    and reverb, if they are used."""
    augmentation = {"noise": options.noise, "noise_snr": options.noise and options.noise_snr}
    augmentation["reverb"] = options.reverb
    return {
        "trainable": sum(parameter.numel() for _, parameter in trainable(base.model)),
        "seed": options.seed,
        "precision": base.precision,
        "precision_reason": base.precision_reason,
        "utterances": len(examples),
        "audio_seconds": round(sum(example.seconds for example in examples), 1),
        "speakers": len({example.utterance.speaker for example in examples}),
        "data_sha256": data_digest(examples),
        **{name: str(value) for name, value in augmentation.items() if value},
    }


def prepare_base(base: Base, options: SharedOptions) -> None:
    """Set a base's precision, masks and dropout, and attach the start's vectors (of `init_adapter`,
    else ones), or insert the parameters of another method."""
    precision, reason = choose_precision(options.precision, base.model, base.dtype)
    logger.debug("precision %s: %s", precision, reason)
    base.precision, base.precision_reason = precision, reason
    if options.spec_augment == "off":
        base.model.config.apply_spec_augment = False
    if options.dropout == "off":
        switch_off_dropout(base)
    settings = base.adapter_settings(options.window, options.language)
    if options.init_adapter:
        load_adapter(base.model, options.init_adapter)
    elif getattr(options, "method", "ia3") != "ia3":
        add_user_method(options.method)
        insert(base.model, method_config(options) | settings, options.seed)
    else:
        train_head = getattr(options, "train_head", False)
        attach(base.model, IA3Config(tuple(options.placements), options.layers, train_head, **settings))


def load_for_training(options: TrainingOptions) -> Base:
    """The base of the options, on their device."""
    return load_base(options.base, dtype=options.dtype, device=choose_device(options))


def restore_base(base: Base) -> None:
    """Undo `prepare_base` for recognition: take the vectors out, and compute in the base's own type."""
    detach(base.model).eval()
    base.precision, base.precision_reason = "no", "as loaded"


def check_head(base: Base, options: TrainingOptions) -> None:
    """Raises TrainingError if `init_adapter` has a head and `train_head` is off, or vice versa."""
    if attachment(base.model).config.train_head != options.train_head:
        missing = "no head, so none can be trained from there (leave out `train_head` or `init_adapter`)"
        fault = missing if options.train_head else "a head, which would train too (pass `train_head`)"
        raise TrainingError(f"{options.init_adapter} has {fault}")


def choose_device(options: TrainingOptions) -> str | None:
    """The device of the options; with `accelerate launch` each process has a different GPU."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    if options.device not in (None, "cuda") or options.dtype == "int8" or not torch.cuda.is_available():
        return options.device
    cpu = options.device is None and parse_flag_from_env("ACCELERATE_USE_CPU")
    return str(PartialState(cpu=cpu).device)
