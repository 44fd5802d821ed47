"""Train IA³ vectors, or another --method, from a base and two data directories (train and dev).

    ia3-speech train --config ia3_plus --base mini --train data/train --dev data/dev --out exp/NAME
    ia3-speech train --config few --train data/mine --out exp/mine      a few minutes: cross-validation
    ia3-speech train --check --train data/train --dev data/dev --out exp/NAME    can the base write the texts?

Writes exp/NAME/{config.yaml, adapter/, checkpoints/last.pt, metrics.jsonl, train.json}. The adapter is from
the last epoch whose dev WER is within one standard error of the lowest (training/trainer.py explains the
rule), or the start if no epoch improved on it. An interrupted run resumes from its last checkpoint and ends
with the same adapter, on a CPU bit for bit. Several GPUs: `accelerate launch -m ia3_speech train …`.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters.record import GATE
from ia3_speech.adapters.spec import AdapterSpec, term_at
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import overlap_of_train_and_dev
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.training.config import TrainingOptions, check_options, replay_folder, training_inputs

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)


def main(options: TrainingOptions, check: bool = False, tests: list[Path] | None = None) -> None:
    """Train an adapter.

    Args:
        check: do not train: check that the base can write the texts, and that the audio is long enough
        tests: with --check: further data directories to check, which are for testing only
    """
    check_options(options)
    # An unknown adapter is reported before torch is loaded.
    data = {"train": options.train} | ({"dev": options.dev} if options.dev else {})
    inputs = training_inputs(options, data, labels=options.labels)
    # Faults are named before anything is deleted, and before torch and the base are loaded.
    reading = {"spk_sort": False, "allow_pipes": options.allow_pipes}
    sets = {name: read_data_directory(path, **reading) for name, path in data.items()}
    if check:
        from ia3_speech.training.data import check_data

        check_data(options, tests or [])
        if options.dev is None:
            from ia3_speech.training.few_minutes import refuse_too_few

            refuse_too_few(options.train, sets["train"].utterances)
        return
    if tests:
        raise TrainingError("--tests needs --check, which checks these sets beside train and dev")
    if options.dev is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("a single process trains folds (start it without accelerate, or give --dev)")
    if options.dev and options.train.resolve() == options.dev.resolve():
        raise TrainingError(next(iter(overlap_of_train_and_dev(**sets))))
    if options.force and options.out.exists():
        from ia3_speech.training.data import check_data

        check_data(options, [])  # before its contents are deleted
    if options.noise or options.reverb:
        from ia3_speech.training.augmentation import read_augmentation

        read_augmentation(options)
    # Only the first of several processes deletes; the others wait for it when training begins.
    follows = options.force and os.environ.get("RANK", "0") != "0"
    if not follows and inputs.is_current(options.out, options.force, resume=True):
        return
    if options.dev:
        for sentence in overlap_of_train_and_dev(**sets):
            logger.warning("Warning: %s.", sentence)
    from ia3_speech.training.run import load_for_training, restore_base, train

    base = load_for_training(options)
    if options.dev:
        from accelerate import PartialState

        try:
            summary = train(options, base)
        except OSError as error:
            raise TrainingError(
                f"{error} (run it again: it resumes from its last checkpoint, if there is one)"
            ) from error
        if not PartialState().is_main_process:
            return
    else:
        from ia3_speech.training.few_minutes import train_on_few

        summary = train_on_few(options, base)
    guard = None
    if options.method == "ia3":  # `auto` attaches no other method
        from ia3_speech.routing.gate import add_gate_of_training

        restore_base(base)
        add_gate_of_training(options.out, base, sets["train"].utterances)
        guard = add_guard_of_training(options, base, sets["dev"]) if options.dev else None
    inputs.record(options.out)
    print(*report(options, summary), *filter(None, [guard]), sep="\n")


def add_guard_of_training(options: TrainingOptions, base: "Base", dev: DataDirectory) -> str | None:
    """Fit the guard of OUT/adapter to dev and the package's general speech; returns its errors in words.
    None if the adapter has no gate."""
    adapter = options.out / "adapter"
    if not (adapter / GATE).is_file():
        return None
    from ia3_speech.routing.guard import add_guard
    from ia3_speech.session import Session

    session = Session(base, SearchOptions("greedy"))
    term = term_at(options.out.name, adapter)
    recognizers = [session.recognizer(AdapterSpec(terms)) for terms in ((), (term,))]
    logger.info("fitting the guard, which recognises dev and general speech with and without the adapter")
    sets = [dev.utterances, read_data_directory(replay_folder("shipped"), spk_sort=False).utterances]
    return add_guard(adapter, recognizers, sets)


def report(options: TrainingOptions, summary: dict[str, Any]) -> list[str]:
    """The result, in sentences."""
    adapter = f"{options.out}/adapter"
    if options.dev is None:
        from ia3_speech.report.curve_files import gain_of_others
        from ia3_speech.training.few_minutes import cross_validation_report

        return [*cross_validation_report(adapter, summary), *filter(None, [gain_of_others(options.base)])]
    wer, start = 100 * summary["dev_wer"], 100 * summary["start_dev_wer"]
    compared = summary.get("note") or f"{start:.2f} % at the start"
    return [
        f"{adapter}: dev WER {wer:.2f} % ({compared}), {summary['trainable']:,} parameters, "
        f"{plural(summary['epochs'], 'epoch')} in {summary['seconds']:.0f} s"
    ]
