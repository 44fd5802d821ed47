"""What earlier versions wrote is read under its present names."""

import torch

from ia3_speech.training.checkpoint import Checkpoint
from ia3_speech.training.records import present_names, read_training_record

FORMER_CHECKPOINT = {
    "options": {"pull": 0.5, "seed": 1}, "data": "x", "order": {"epoch": 1}, "optimizer": {},
    "tensors": {"a": torch.ones(2)}, "kept_tensors": {"a": torch.zeros(2)}, "silent": ["a"],
    "metrics_bytes": 7, "step": 3, "best": [1, 2], "kept": (1, 0.25), "waited": 2, "losses": [0.5],
    "seconds": 1.5,
}  # fmt: skip


def test_a_former_checkpoint(tmp_path):
    torch.save(FORMER_CHECKPOINT, tmp_path / "last.pt")
    found = Checkpoint.load(tmp_path / "last.pt")
    assert found.options == {"decay_to_one": 0.5, "seed": 1}
    assert (found.selected_epoch, found.selected_wer) == (1, 0.25)
    assert found.best_errors == [1, 2] and found.epochs_without_improvement == 2
    assert found.without_gradient == ["a"] and found.selected_tensors["a"].tolist() == [0, 0]
    found.save(tmp_path / "again.pt")
    assert vars(Checkpoint.load(tmp_path / "again.pt")).keys() == vars(found).keys()


def test_former_records(tmp_path):
    (tmp_path / "task.json").write_text('{"learnt_from": ["a"], "held_back": ["b"], "held_back_losses": [1], '
                                        '"best_pass": 0, "texts": {}}')  # fmt: skip
    assert read_training_record(tmp_path / "task.json") == {
        "trained_on": ["a"], "held_out": ["b"], "held_out_losses": [1], "best_epoch": 0, "texts": {},
    }  # fmt: skip
    row = {"epoch": 2, "kept_epoch": 1}
    assert present_names(row) == {"epoch": 2, "selected_epoch": 1} == present_names(present_names(row))
