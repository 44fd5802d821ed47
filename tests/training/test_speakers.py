"""speakers: many small adaptations in one process, each as if alone, each judged before it is kept."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ia3_speech import attach, load_adapter, load_base
from ia3_speech.adapters.record import PEFT_WEIGHTS, read_record
from ia3_speech.commands import score
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.progress import Progress
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model import ia3
from ia3_speech.training.config import SpeakerOptions
from ia3_speech.training.cross_validation import Adaptation
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.multi_adapter import (
    START,
    Measure,
    MultiAdapterTrainer,
    Setting,
    Task,
    batches_of_similar_length,
)
from ia3_speech.training.replay import read_replay
from ia3_speech.training.run import run_lock
from ia3_speech.training.speakers import adapt_to_speakers
from tests.commands.test_train import NO_DROPOUT, record


@pytest.fixture
def place(tmp_path, save_base):
    """A folder with a small base without dropout, and data of two speakers with eight utterances each."""
    save_base(tmp_path / "base", norm="layer", **NO_DROPOUT)
    record(tmp_path / "data", 16)
    return tmp_path


def options_of(place, out="exp", **changes) -> SpeakerOptions:
    standard = {"base": str(place / "base"), "data": place / "data", "folds": 4, "epochs": 3,
                "learning_rate": 0.02, "batch_utterances": 2}  # fmt: skip
    return SpeakerOptions(**(standard | {"out": place / out} | changes))


def numbers(place, out, task="s0/fold1"):
    return load_file(place / out / task / "adapter" / PEFT_WEIGHTS)


def test_a_task_ends_where_it_would_have_ended_alone(tiny_base, place, monkeypatch):
    """In float64, where rounding can't hide a neighbour's influence; with a step in several batches, each of
    rows of both tasks, as on a GPU; with replay."""
    mixed = staticmethod(batches_of_similar_length)
    monkeypatch.setattr(MultiAdapterTrainer, "batches", mixed)
    monkeypatch.setattr("ia3_speech.training.multi_adapter.BATCH_SECONDS", 1.3)  # two of the longest rows
    waves = {u.id: u for u in read_data_directory(place / "data").utterances}
    tasks = {}
    for speaker in ("s0", "s1"):
        spoken = [u for u in waves.values() if u.speaker == speaker][:5]
        ids = [[5, 6, 7], [8, 3, 9, 9], [4, 5], [10, 11, 12], [7, 5]]
        examples = [Example(u, i, u.duration, [1.0]) for u, i in zip(spoken, ids, strict=True)]
        tasks[speaker] = (examples[:4], examples[4:], 3)

    def train(names):
        base = tiny_base(norm="layer", mask_time_prob=0.0, **NO_DROPOUT)
        options = options_of(place, learning_rate=0.05, clip=0.01, replay=place / "data")
        replay = read_replay(base, options)
        base.model.double()
        attach(base.model, check=False)
        for vector in ia3.vectors(base.model).values():
            vector.l.data = vector.l.data.double()
        cache = FeatureCache(base, None, 1e9)
        named = [Task(name, *tasks[name]) for name in names]
        trainer = MultiAdapterTrainer(named, options, options.learning_rate, cache, replay)
        trainer.run(Progress(1, "training", hidden=True))
        return trainer

    both, alone = train(["s0", "s1"]), train(["s1"])
    assert len(both.tasks[1].measures) == 1 + 3 * 4  # the start, and three epochs at four scales
    for setting, measures in both.tasks[1].measures.items():
        expected = [measure.loss for measure in alone.tasks[0].measures[setting]]
        assert [measure.loss for measure in measures] == pytest.approx(expected, rel=1e-10)
    for name, vector in both.tasks[1].vectors[3].items():
        torch.testing.assert_close(vector, alone.tasks[0].vectors[3][name], rtol=1e-10, atol=1e-10)
        assert not torch.equal(vector, both.tasks[0].vectors[3][name])


def test_neither_grouping_nor_parts_nor_a_restart_changes_an_adapter(place, tiny_model):
    """Bit for bit on a CPU, also of a base with dropout and masks, and with replay, which has an effect."""
    tiny_model(norm="layer", hidden_dropout=0.1, attention_dropout=0.1, mask_time_prob=0.2,
               mask_time_length=2, mask_feature_prob=0.1, mask_feature_length=4).save_pretrained(
        place / "base"
    )  # fmt: skip
    changes = {"folds": 2, "spec_augment": "base", "epochs": 2, "speeds": [0.9, 1.0, 1.1]}
    changes |= {"replay": place / "data"}
    summary = adapt_to_speakers(options_of(place, "together", **changes))
    assert summary["improved"] > 0 and summary["peak_memory_bytes"] > 10**7
    for part in ("2/2", "1/2"):
        adapt_to_speakers(options_of(place, "parts", adapters_per_batch=1, part=part, **changes))
    assert not (place / "parts/decode").exists()
    adapt_to_speakers(options_of(place, "parts", **changes))  # gathers
    shutil.copytree(place / "together", place / "killed")
    for task in ("s0/fold2", "s1/fold1"):
        (place / "killed" / task / "task.json").unlink()
        shutil.rmtree(place / "killed" / task / "adapter")
    adapt_to_speakers(options_of(place, "killed", **changes))
    for out in ("parts", "killed"):
        assert (place / out / "decode/text").read_text() == (place / "together/decode/text").read_text()
    for file in (place / "together").glob("*/*/task.json"):
        task = f"{file.parts[-3]}/{file.parts[-2]}"
        expected, expected_record = numbers(place, "together", task), json.loads(file.read_text())
        for out in ("parts", "killed"):
            vectors = numbers(place, out, task)
            assert all(torch.equal(vectors[name], expected[name]) for name in expected), (out, task)
            record_there = json.loads((place / out / task / "task.json").read_text())
            for name in ("start_errors", "errors", "selected_epoch", "scale", "texts"):
                assert record_there[name] == expected_record[name], (out, task)


def test_every_utterance_is_tested_once_by_an_adapter_not_trained_on_it(place):
    summary = adapt_to_speakers(options_of(place))
    assert (summary["adapters"], summary["speakers"]) == (8, 2)
    assert json.loads((place / "exp/train.json").read_text()) == summary
    tasks = [json.loads(file.read_text()) for file in (place / "exp").glob("*/*/task.json")]
    for task in tasks:
        learnt = {*task["trained_on"]}
        assert len(learnt) == 6 and not learnt & task["texts"].keys()
        assert all(utterance.startswith(task["speaker"]) for utterance in learnt | task["texts"].keys())
    data = read_data_directory(place / "data")
    assert sorted(id for task in tasks for id in task["texts"]) == [u.id for u in data]
    base = load_base(place / "base")
    load_adapter(base.model, place / "exp/s1/fold2/adapter")
    task = json.loads((place / "exp/s1/fold2/task.json").read_text())
    waves = [load_utterance(u) for u in data if u.id in task["texts"]]
    assert Recognizer(base).texts(waves) == list(task["texts"].values())
    score.main(place / "data", place / "exp/decode")
    assert json.loads((place / "exp/decode/score.json").read_text())["utterances"] == 16
    assert read_record(place / "exp/s1/fold2/adapter")["labels"] == {"speaker": "s1"}


def fold(**measures) -> Task:
    """One that holds out one utterance: what each setting makes of it, word errors and loss."""
    settings = {"start": START, "half": Setting(2, 0.5), "whole": Setting(2, 1.0)}
    by_setting = {
        settings[n]: [Measure("u", "", errors, 9, loss, 4)] for n, (errors, loss) in measures.items()
    }
    return Task("s0/1", [], [], 2, by_setting)


def test_no_fold_chooses_its_setting():
    high = [
        fold(start=(5, 1.0), half=(5, 2.0), whole=(1, 1.0)),
        fold(start=(5, 1.0), half=(9, 1.0), whole=(9, 1.0)),
        fold(start=(5, 1.0), half=(4, 1.0), whole=(4, 2.0)),
    ]
    adaptation = Adaptation("s0", [], [[]] * 3, trainings={0.02: high})
    assert adaptation.choice() == (0.02, Setting(2, 1.0))
    assert not adaptation.is_decided  # the second and third would keep the start without the first
    low = [fold(start=(5, 1.0), half=(4, 1.0), whole=(3, 1.0))] * 3
    adaptation.trainings[0.005] = low
    assert adaptation.choice() == (0.02, Setting(2, 1.0))
    assert adaptation.unbiased == [
        (low[0], 0.005, Setting(2, 1.0)), (high[1], 0.02, Setting(2, 1.0)), (low[2], 0.005, Setting(2, 1.0))
    ]  # fmt: skip


def test_parts_run_at_the_same_time_and_no_part_twice(place):
    (place / "exp/s1/fold1/.adapter.abcd_123/new").mkdir(parents=True)
    with run_lock(place / "exp", part="1/2"):
        with pytest.raises(TrainingError, match="exp: another run is writing to it"):
            adapt_to_speakers(options_of(place, folds=2, part="1/2"))
        assert adapt_to_speakers(options_of(place, folds=2, part="2/2"))["adapters"] == 2
    assert not list((place / "exp").rglob(".adapter*"))


def test_an_adapter_as_start_is_the_result_if_nothing_improves(place, caplog, monkeypatch):
    adapt_to_speakers(options_of(place, folds=0, placements=["value"], layers="1-2"))
    start = {"init_adapter": str(place / "exp/s0/all/adapter")}
    monkeypatch.setattr("ia3_speech.training.cross_validation.CERTAINTY", 0.0)  # every start is accepted
    summary = adapt_to_speakers(options_of(place, "more", **start, folds=0, k=5, learning_rate=1e-30))
    assert summary["starts"] == {start["init_adapter"]: 2} and summary["base_errors"] > 0
    assert summary["improved"] == 0 and summary["not_improved"] == ["s0/all", "s1/all"]
    assert "s0/all: no setting improved on the start" in caplog.text
    before, after = numbers(place, "exp", "s0/all"), numbers(place, "more", "s1/all")
    assert before.keys() == after.keys() and len(after) == 2
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (place / "more/decode").exists()
