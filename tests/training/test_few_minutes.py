"""train without dev: a few utterances, folds that choose and judge, and one adapter of all of them."""

import json
import math
from pathlib import Path

import pytest

from ia3_speech import load_base
from ia3_speech.adapters.record import read_record
from ia3_speech.commands import score
from ia3_speech.data.corpora.preparation import PLACES
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.cross_validation import (
    Adaptation,
    divide_into_folds,
    measures_of_starts,
    prepare,
    starts_of_folds,
)
from ia3_speech.training.data import read_examples
from ia3_speech.training.few_minutes import suspicious
from ia3_speech.training.multi_adapter import measure_all
from tests.commands.test_train import NO_DROPOUT, record
from tests.tiny_models import random_adapter

FEW = ["--placements", "key", "value", "ffn", "ffn_output", "--learning-rate", "0.3"]
FEW += ["--epochs", "3", "--batch-utterances", "2"]


@pytest.fixture
def place(tmp_path, save_base) -> Path:
    save_base(tmp_path / "base", norm="layer", **NO_DROPOUT)
    record(tmp_path / "data", 8)
    return tmp_path


def train(run_command, place, out="exp", data="data", *options):
    words = ["--base", place / "base", "--train", place / data, "--out", place / out]
    return run_command("train", *words, *FEW, *options)


def test_every_utterance_is_decoded_by_an_adapter_not_trained_on_it(place, run_command):
    result = train(run_command, place, "exp", "data", "--replay", "none")
    assert result.code == 0, result.err
    summary = json.loads((place / "exp/train.json").read_text())
    tasks = [json.loads(file.read_text()) for file in (place / "exp/folds").glob("*/task.json")]
    ids = [utterance.id for utterance in read_data_directory(place / "data")]
    assert sorted(id for task in tasks for id in task["texts"]) == ids and len(tasks) == 4
    assert not any({*task["trained_on"]} & task["texts"].keys() for task in tasks)
    assert read_record(place / "exp/adapter")["training"]["trained_on"] == ids
    assert (place / "exp/adapter/gate.safetensors").is_file()  # for --adapter auto
    # decode finds the fold of each utterance, and score counts the errors that train.json has.
    words = ["--search", "greedy", "--adapter-per-speaker", place / "exp", place / "data", place / "decoded"]
    assert run_command("decode", *words).code == 0
    hypotheses = dict(line.partition(" ")[::2] for line in (place / "decoded/text").read_text().splitlines())
    assert hypotheses == {id: text for task in tasks for id, text in task["texts"].items()}
    score.main(place / "data", place / "decoded", training_per_speaker=place / "exp")
    scored = json.loads((place / "decoded/score.json").read_text())
    assert scored["wer"] == pytest.approx(summary["dev_wer"])


def test_a_fold_starts_from_the_adapter_only_where_it_is_clearly_better(place, caplog):
    adapter = str(
        random_adapter(place / "base", place / "accent", 3, training={"trained_on": ["s0-00", "x"]})
    )
    options = TrainingOptions(
        base=str(place / "base"), train=place / "data", out=place / "few", init_adapter=adapter
    )
    base = load_base(place / "base")
    prepare(base, options, None)
    examples = read_examples(options.train, base, options, [1.0])
    with caplog.at_level("WARNING"):
        measures = measures_of_starts(base, examples, options)
    assert [*measures] == [None, adapter] and "accent was trained on 1 utterance of these" in caplog.text
    parts = divide_into_folds(examples)
    folds, own = (None, 0, 1, 2, 3), [*measures[None].values()]
    its_fold = {e.utterance.id: n for n, part in enumerate(parts) for e in part}

    def starts(gains: list[float]) -> dict[int | None, str | None]:
        """The starts if the adapter's loss is lower than the base's by these."""
        lower = {m.utterance: m._replace(loss=m.loss - gain) for m, gain in zip(own, gains, strict=True)}
        return starts_of_folds(Adaptation("", examples, parts), measures | {adapter: lower})

    assert starts([0] * 8) == dict.fromkeys(folds)
    assert starts([1] * 8) == dict.fromkeys(folds, adapter)
    # A fold has no say in its own start.
    gains = [1 if its_fold[m.utterance] else -9 for m in own]
    assert starts(gains) == dict.fromkeys(folds) | {0: adapter}
    assert starts([9] + [-0.01] * 7) == dict.fromkeys(folds), "lower in the sum, but of one utterance"
    assert starts([1] * 7 + [-math.inf]) == dict.fromkeys(folds, adapter), "an infinite loss has no say"
    assert starts([-math.inf] * 8) == dict.fromkeys(folds)


def test_data_that_can_not_be_learnt_from(place, run_command, caplog):
    record(place / "three", 3)
    for more in ([], ["--check"]):
        result = train(run_command, place, "exp", "three", *more)
        assert result.code == 1 and "3 utterances can't be divided into folds" in result.err
    assert not (place / "exp/adapter").exists()
    refused = train(run_command, place, "exp", "data", "--train-head", "--check").err
    assert "--train-head" in refused
    options = TrainingOptions(base=str(place / "base"), train=place / "data", out=place / "few")
    base = load_base(place / "base")
    examples = read_examples(options.train, base, options, [1.0])
    measures = measure_all(prepare(base, options, None), examples, options.normalize)
    measures = [measure._replace(loss=1.0, errors=0) for measure in measures]
    measures[3] = measures[3]._replace(loss=5.0, errors=5, words=5)
    assert list(suspicious(examples, measures, 29, options.train)) == [measures[3].utterance]
    [wrong] = [e.utterance for e in examples if e.utterance.id == measures[3].utterance]
    (place / PLACES).write_text(f"{wrong.recording}\tlist.csv:5\n")
    named = suspicious(examples, measures, 29, options.train)
    assert named == {wrong.id: f"{wrong.source}, list.csv:5"}
