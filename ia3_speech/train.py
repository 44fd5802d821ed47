r"""Train IA³ vectors with CTC: two data directories and a base in, an adapter out.

    python -m ia3_speech.train --config recipes/conf/ia3.yaml --base mini \
        --train data/train --dev data/dev --out exp/NAME

Writes exp/NAME/{config.yaml, adapter/, checkpoints/last.pt, metrics.jsonl, train.json}. The adapter is that
of the last epoch that dev can't tell from the one with the lowest WER (training/loop.py says how). A run that
was killed goes on where its last checkpoint stands and ends with the same adapter, bit for bit. Many GPUs:
`accelerate launch -m ia3_speech.train …`.
"""

import logging
from typing import Any

from ia3_speech import atomic, ia3
from ia3_speech.adapters import files
from ia3_speech.base import load_base
from ia3_speech.cli import command
from ia3_speech.size import size
from ia3_speech.training.examples import read_examples
from ia3_speech.training.loop import Trainer
from ia3_speech.training.options import Options, TrainingError, check, to_yaml

logger = logging.getLogger(__name__)


def train(options: Options) -> dict[str, Any]:
    """Run (or go on with) one training; returns what `train.json` says."""
    check(options)
    base = load_base(options.base, dtype=options.dtype, device=device_of(options))
    if options.spec_augment == "off":
        base.model.config.apply_spec_augment = False
    if options.init_adapter:
        files.load_adapter(base.model, options.init_adapter)
    else:
        config = ia3.IA3Config(tuple(options.placements), options.layers, options.train_head)
        ia3.attach(base.model, config)
    trains = size(base.model)
    logger.info("%s", trains.table())
    train_set = read_examples(options.train, base, options, options.speeds)
    dev_set = read_examples(options.dev, base, options, [1.0])
    trainer = Trainer(base, train_set, dev_set, options)
    if trainer.accelerator.is_main_process:
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
    trainer.resume()
    trainer.run()
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
            labels=options.labels,
            training=summary | {"data": str(options.train), "learning_rate": options.learning_rate},
        )
        atomic.write_json(options.out / "train.json", summary)
    return summary


def device_of(options: Options) -> str | None:
    """The one asked for; else each process of `accelerate launch` has a GPU of its own."""
    import torch
    from accelerate import PartialState

    if options.device or options.dtype == "int8" or not torch.cuda.is_available():
        return options.device
    return f"cuda:{PartialState().local_process_index}"


def main(options: Options) -> None:
    from accelerate import PartialState

    try:
        summary = train(options)
    except OSError as error:
        raise TrainingError(f"{error} (the last checkpoint in {options.out}/checkpoints stands)") from error
    if PartialState().is_main_process:
        print(
            f"{options.out}/adapter: dev WER {100 * summary['dev_wer']:.2f} %, "
            f"{summary['trainable']:,} numbers, {summary['epochs']} epochs in {summary['seconds']:.0f} s"
        )


if __name__ == "__main__":
    command(main)
