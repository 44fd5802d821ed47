"""Train IA³ vectors with CTC: two data directories and a base in, an adapter out.

    ia3-speech train --config ia3 --base mini --train data/train --dev data/dev --out exp/NAME
    ia3-speech train --check --train data/train --dev data/dev --out exp/NAME    can the base write the texts?

Writes exp/NAME/{config.yaml, adapter/, checkpoints/last.pt, metrics.jsonl, train.json}. The adapter is that
of the last epoch that dev can't tell from the one with the lowest WER (training/trainer.py explains the
rule), and the start where no epoch improved on it. An interrupted run resumes from its last checkpoint and
ends with the same adapter, on a CPU bit for bit. Several GPUs: `accelerate launch -m ia3_speech.train …`.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ia3_speech.adapters.expressions import parse_terms, weight_files
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.formatting import plural
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.training.config import TrainingError, TrainingOptions, check_options, comparable


@dataclass(kw_only=True)
class CommandOptions(TrainingOptions):
    """The options of training, and those of the check before it."""

    check: bool = False
    """train nothing: check that the base can write the texts, and that the audio is long enough for them"""

    tests: list[Path] = field(default_factory=list)
    """with --check: data directories that are only tested on"""


def inputs_of(options: TrainingOptions) -> Inputs:
    """What decides the adapter, and its labels."""
    terms = parse_terms(options.init_adapter) if options.init_adapter else []
    by_content = {"train", "dev", "init_adapter"}
    values = {name: value for name, value in comparable(options).items() if name not in by_content}
    return Inputs(
        {"train": options.train, "dev": options.dev, "base": base_files(options.base),
         "init_adapter": weight_files(terms)},
        values | {"init_weights": [term.weight for term in terms], "labels": options.labels},
    )  # fmt: skip


def main(options: CommandOptions) -> None:
    training_options = TrainingOptions(**{f.name: getattr(options, f.name) for f in fields(TrainingOptions)})
    check_options(training_options)
    if options.init_adapter:
        parse_terms(options.init_adapter)  # an unknown adapter is reported before torch is loaded
    if options.check:
        from ia3_speech.training.coverage import check_coverage

        check_coverage(training_options, options.tests)
        return
    made = inputs_of(training_options)
    if made.is_trained(options.out, options.force):
        return
    for path in (options.train, options.dev):  # faults are named before torch and the base are loaded
        read_data_directory(path, allow_pipes=options.allow_pipes)
    from accelerate import PartialState

    from ia3_speech.training.run import train

    try:
        summary = train(training_options)
    except OSError as error:
        raise TrainingError(f"{error} (the last checkpoint in {options.out}/checkpoints stands)") from error
    if PartialState().is_main_process:
        made.record(options.out)
        epochs = plural(summary["epochs"], "epoch")
        print(
            f"{options.out}/adapter: dev WER {100 * summary['dev_wer']:.2f} %{compared_with_start(summary)}, "
            f"{summary['trainable']:,} parameters, {epochs} in {summary['seconds']:.0f} s"
        )


def compared_with_start(summary: dict[str, Any]) -> str:
    """` (31.20 % at the start)`, or that no epoch improved on it; empty for a run of an earlier version."""
    if summary.get("note"):
        return f" ({summary['note']})"
    start = summary.get("start_dev_wer")
    return "" if start is None else f" ({100 * start:.2f} % at the start)"


if __name__ == "__main__":
    command(main)
