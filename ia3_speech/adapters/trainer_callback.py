"""Adapters in the checkpoints of transformers' Trainer.

    Trainer(model=model, callbacks=[AdapterCallback(base)], …).train()
    load_adapter(load_base("mini").model, "exp/checkpoint-500")

In: a Trainer's run on a model with vectors attached. Out: `checkpoint-N/adapter` beside the Trainer's files.
Those hold the whole model, to resume from, but `from_pretrained` would ignore the vectors in them.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ia3_speech.adapters.io import save_adapter
from ia3_speech.model.base import Base


class AdapterCallback(TrainerCallback):
    """Stores the adapter in each checkpoint.

    Args:
        base: gives the record its name and fingerprint; None: both are read from the model.
        labels: speaker, accent, domain, language.
    """

    def __init__(self, base: Base | None = None, labels: dict[str, str] | None = None):
        self.base, self.labels = base, labels

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the adapter. The Trainer calls it after it has written a checkpoint."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "adapter"
            training = {"step": state.global_step, "epoch": state.epoch}
            save_adapter(kwargs["model"], folder, base=self.base, labels=self.labels, training=training)
