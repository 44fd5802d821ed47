r"""Train IA³ vectors with CTC: two data directories and a base in, an adapter out.

    python -m ia3_speech.train --config recipes/conf/ia3.yaml --base mini \
        --train data/train --dev data/dev --out exp/NAME

Writes exp/NAME/{config.yaml, adapter/, checkpoints/last.pt, metrics.jsonl, train.json}. The adapter is that
of the last epoch that dev can't tell from the one with the lowest WER (training/loop.py says how). A run that
was killed goes on where its last checkpoint stands and ends with the same adapter, on a CPU bit for bit. Many
GPUs: `accelerate launch -m ia3_speech.train …`.
"""

import json
import logging
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters import combine as arithmetic
from ia3_speech.adapters import io as files
from ia3_speech.adapters.expressions import terms, weight_files
from ia3_speech.cli import command
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.model import ia3
from ia3_speech.model.base import load_base
from ia3_speech.model.parameter_count import size
from ia3_speech.training.config import Options, TrainingError, check, comparable, to_yaml
from ia3_speech.training.data import read_examples
from ia3_speech.training.trainer import Trainer

logger = logging.getLogger(__name__)


def train(options: Options) -> dict[str, Any]:
    """Run (or go on with) one training; returns what `train.json` says."""
    check(options)
    labels = arithmetic.labels_after(options.init_adapter, options.labels)
    base = load_base(options.base, dtype=options.dtype, device=device_of(options))
    if options.spec_augment == "off":
        base.model.config.apply_spec_augment = False
    if options.init_adapter:
        files.load_adapter(base.model, options.init_adapter)
        has_head = base.model.ia3_config.train_head
        if options.train_head and not has_head:
            raise TrainingError(f"{options.init_adapter} has no head, so none can be trained from there "
                                f"(leave out --train-head, or --init-adapter)")  # fmt: skip
        if has_head and not options.train_head:
            hint = "pass --train-head"
            raise TrainingError(f"{options.init_adapter} has a head, which would train too ({hint})")
    else:
        config = ia3.IA3Config(tuple(options.placements), options.layers, options.train_head)
        ia3.attach(base.model, config)
    trains = size(base.model)
    logger.info("%s", trains.table())
    train_set = read_examples(options.train, base, options, options.speeds)
    dev_set = read_examples(options.dev, base, options, [1.0])
    trainer = Trainer(base, train_set, dev_set, options)
    trainer.resume()
    if trainer.accelerator.is_main_process:
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
    step = trainer.step
    trainer.run()
    if trainer.step == step and (summary := stored(options, labels)):
        return summary
    trainer.load(trainer.kept_tensors)
    summary = {
        "trainable": trains.trained,
        "seconds": round(trainer.seconds, 1),
        "dev_wer": trainer.kept[1],
        "kept_epoch": trainer.kept[0],
        "seed": options.seed,
        "epochs": trainer.order.epoch,
        "steps": trainer.step,
        "utterances": len(train_set),
        "audio_seconds": round(sum(e.seconds for e in train_set), 1),
    }
    if trainer.accelerator.is_main_process:
        files.save_adapter(
            base.model,
            options.out / "adapter",
            base=base,
            labels=labels,
            training=summary
            | {"data": str(options.train), "learning_rate": options.learning_rate}
            | ({"init_adapter": options.init_adapter} if options.init_adapter else {}),
        )
        atomic.write_json(options.out / "train.json", summary)
    return summary


def stored(options: Options, labels: dict[str, str]) -> dict[str, Any] | None:
    """What a finished run left, if its adapter stands: scores were perhaps written into its record since."""
    place = options.out / "train.json"
    if not place.exists() or not (options.out / "adapter" / files.METADATA).exists():
        return None
    metadata = files.read_metadata(options.out / "adapter")
    return json.loads(place.read_text("utf-8")) if metadata and metadata.labels == labels else None


def device_of(options: Options) -> str | None:
    """The one asked for; of several GPUs each process of `accelerate launch` has its own."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    if options.device not in (None, "cuda") or options.dtype == "int8" or not torch.cuda.is_available():
        return options.device
    wants_cpu = options.device is None and parse_flag_from_env("ACCELERATE_USE_CPU")
    return str(PartialState(cpu=wants_cpu).device)


def inputs_of(options: Options) -> Inputs:
    """What decides the adapter, and its labels."""
    parts = terms(options.init_adapter) if options.init_adapter else []
    free = {"train", "dev", "init_adapter"}  # compared by content
    record = {name: value for name, value in comparable(options).items() if name not in free}
    return Inputs(
        {"train": options.train, "dev": options.dev, "base": base_files(options.base),
         "init_adapter": weight_files(parts)},
        record | {"init_weights": [part.weight for part in parts], "labels": options.labels},
    )  # fmt: skip


def main(options: Options) -> None:
    made = inputs_of(options)
    if made.is_trained(options.out, options.force):
        return
    from accelerate import PartialState

    try:
        summary = train(options)
    except OSError as error:
        raise TrainingError(f"{error} (the last checkpoint in {options.out}/checkpoints stands)") from error
    if PartialState().is_main_process:
        made.record(options.out)
        epochs = f"{summary['epochs']} epoch{'s' * (summary['epochs'] != 1)}"
        print(
            f"{options.out}/adapter: dev WER {100 * summary['dev_wer']:.2f} %, "
            f"{summary['trainable']:,} numbers, {epochs} in {summary['seconds']:.0f} s"
        )


if __name__ == "__main__":
    command(main)
