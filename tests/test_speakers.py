"""speakers: many small adaptations in one process, each as if alone, each judged before it is kept."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ia3_speech import attach, load_adapter, load_base, score
from ia3_speech.adapters.io import PEFT_WEIGHTS, read_metadata
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance_audio import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model import ia3
from ia3_speech.speakers import Options, speakers
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.multi_adapter import MultiAdapterTrainer, Schedule, Task, hold_out, of_like_length
from tests.test_train import NO_DROPOUT, record


@pytest.fixture
def place(tmp_path, tiny_model, processor):
    """A folder with a small base without dropout, and data of two speakers with eight utterances each."""
    tiny_model(norm="layer", **NO_DROPOUT).save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    record(tmp_path / "data", 16)
    return tmp_path


def options_of(place, out="exp", **changes) -> Options:
    standard = {"base": str(place / "base"), "data": place / "data", "folds": 4, "passes": 3,
                "learning_rate": 0.02, "batch_utterances": 2}  # fmt: skip
    return Options(**(standard | {"out": place / out} | changes))


def numbers(place, out, task="s0/fold1"):
    return load_file(place / out / task / "adapter" / PEFT_WEIGHTS)


def test_a_task_ends_where_it_would_have_ended_alone(tiny_base, place, monkeypatch):
    """In float64, where rounding can't hide a neighbour's influence; with a step in several batches."""
    monkeypatch.setattr("ia3_speech.training.multi_adapter.BATCH_SECONDS", 1.3)  # two of the longest rows
    waves = {u.id: u for u in read_data_directory(place / "data").utterances}
    tasks = {}
    for speaker in ("s0", "s1"):
        own = [u for u in waves.values() if u.speaker == speaker][:5]
        ids = [[5, 6, 7], [8, 3, 9, 9], [4, 5], [10, 11, 12], [7, 5]]
        examples = [Example(u, i, u.duration, [1.0]) for u, i in zip(own, ids, strict=True)]
        tasks[speaker] = hold_out(examples)

    def train(names):
        base = tiny_base(norm="layer", mask_time_prob=0.0, **NO_DROPOUT)
        base.model.double()
        attach(base.model, check=False)
        for vector in ia3.vectors(base.model).values():
            vector.l.data = vector.l.data.double()
        cache = FeatureCache(base, None, 1e9)
        schedule = Schedule(epochs=3, learning_rate=0.05, clip=0.01, batch_utterances=2)
        adapters_per_batch = MultiAdapterTrainer(
            base, [Task(name, *tasks[name]) for name in names], schedule, cache
        )
        adapters_per_batch.run()
        return adapters_per_batch

    both, alone = train(["s0", "s1"]), train(["s1"])
    assert both.tasks[1].losses == pytest.approx(alone.tasks[0].losses, rel=1e-10)
    for name, table in both.best.items():
        torch.testing.assert_close(table[1], alone.best[name][0], rtol=1e-10, atol=1e-10)
        assert not torch.equal(table[0], table[1])


def test_batches_are_of_like_length():
    lengths = [4.0, 9.0, 3.9, 3.5, 8.0, 1.0, 4.1, 2.0, 7.9, 3.0, 1.1, 8.1]
    rows = [(number, Example(None, [], seconds, [1.0])) for number, seconds in enumerate(lengths)]
    made = [[example.seconds for _, example in batch] for batch in of_like_length(rows)]
    assert made == [[1.0, 1.1, 2.0, 3.0, 3.5, 3.9, 4.0, 4.1], [7.9, 8.0, 8.1, 9.0]]
    assert sorted(number for batch in of_like_length(rows) for number, _ in batch) == list(range(12))
    assert list(of_like_length([])) == []


def test_every_utterance_is_tested_once_by_an_adapter_that_never_heard_it(place):
    summary = speakers(options_of(place))
    assert (summary["adapters"], summary["speakers"]) == (8, 2)
    assert json.loads((place / "exp/train.json").read_text()) == summary
    tested = []
    for file in (place / "exp").glob("*/*/task.json"):
        task = json.loads(file.read_text())
        learnt = {*task["learnt_from"], *task["held_back"]}
        assert len(learnt) == 6 and len(task["held_back"]) == 1 and not learnt & task["texts"].keys()
        assert all(utterance.startswith(task["speaker"]) for utterance in learnt | task["texts"].keys())
        assert len(task["held_back_losses"]) == 4
        tested += task["texts"]
    data = read_data_directory(place / "data")
    assert sorted(tested) == [u.id for u in data]
    said = dict(
        line.split(maxsplit=1) for line in (place / "exp/decode/text").read_text().splitlines() if " " in line
    )
    base = load_base(place / "base")
    load_adapter(base.model, place / "exp/s1/fold2/adapter")
    task = json.loads((place / "exp/s1/fold2/task.json").read_text())
    waves = [load_utterance(u) for u in data if u.id in task["texts"]]
    assert Recognizer(base).texts(waves) == list(task["texts"].values())
    assert said.keys() == set(tested) and task["texts"].items() <= said.items()
    score.main(place / "data", place / "exp/decode")
    assert json.loads((place / "exp/decode/score.json").read_text())["utterances"] == 16
    assert read_metadata(place / "exp/s1/fold2/adapter").labels == {"speaker": "s1"}


def test_what_can_not_be_learnt_from_is_tested_all_the_same(place, caplog):
    """The base decodes it too; left empty, its words would count against the adapters alone."""
    texts = place / "data/text"
    texts.write_text(texts.read_text().replace("s1-03 ", f"s1-03 {'a' * 60} "))
    speakers(options_of(place, folds=2, on_error="skip"))
    assert "s1-03 needs" in caplog.text
    tasks = [json.loads(file.read_text()) for file in (place / "exp/s1").glob("*/task.json")]
    assert [task["fold"] for task in tasks if "s1-03" in task["texts"]] == ["fold2"]
    assert not any("s1-03" in [*task["learnt_from"], *task["held_back"]] for task in tasks)
    assert json.loads((place / "exp/decode/decode.json").read_text())["utterances"] == 16
    assert (place / "exp/decode/bad_audio").read_text() == ""


def test_where_nothing_improves_the_start_is_kept(place, caplog):
    summary = speakers(options_of(place, folds=0, learning_rate=1e-30))
    assert summary["improved"] == 0 and summary["start_kept"] == ["s0/all", "s1/all"]
    assert "s0/all: no pass improved on" in caplog.text
    assert all(bool((tensor == 1).all()) for tensor in numbers(place, "exp", "s0/all").values())
    assert not (place / "exp/decode").exists()


def test_what_is_done_is_not_done_again(place):
    options = options_of(place, folds=2)
    speakers(options)
    file = place / "exp/s1/fold1/task.json"
    first, numbers_before = file.stat().st_mtime_ns, numbers(place, "exp", "s1/fold2")
    (place / "exp/s1/fold2/task.json").unlink()
    speakers(options)
    assert file.stat().st_mtime_ns == first
    again = numbers(place, "exp", "s1/fold2")
    assert all(torch.allclose(again[name], numbers_before[name], atol=1e-5) for name in again)
    speakers(options_of(place, folds=2, epochs=2))
    assert file.stat().st_mtime_ns != first


def test_other_data_under_the_same_ids_is_learnt_anew(place):
    options = options_of(place, folds=0)
    speakers(options)
    before = {who: numbers(place, "exp", f"{who}/all") for who in ("s0", "s1")}
    texts = place / "data/text"
    texts.write_text(texts.read_text().replace("s1-01 two", "s1-01 too"))
    speakers(options)
    same = {
        who: all(
            torch.equal(now, before[who][name]) for name, now in numbers(place, "exp", f"{who}/all").items()
        )
        for who in before
    }
    assert same == {"s0": True, "s1": False}


def test_what_is_longer_than_the_base_can_hear_is_cut_as_decode_cuts_it(place, monkeypatch):
    monkeypatch.setattr("ia3_speech.speakers.reach", lambda base: 0.52)  # of lengths 0.5 to 0.65 s
    speakers(options_of(place))
    base = load_base(place / "base")
    load_adapter(base.model, place / "exp/s1/fold2/adapter")
    task = json.loads((place / "exp/s1/fold2/task.json").read_text())
    waves = [load_utterance(u) for u in read_data_directory(place / "data") if u.id in task["texts"]]
    assert any(len(wave) > 0.52 * 16_000 for wave in waves)
    assert Recognizer(base, max_seconds=0.52).texts(waves) == list(task["texts"].values())


def test_a_loss_that_is_no_number_is_never_the_best():
    task = Task("s0/all", [], [], [float("nan"), 3.0, float("nan"), 2.5])
    assert task.best_epoch == 3
    task.losses = [3.0, float("nan"), 3.5]
    assert task.best_epoch == 0


def test_only_the_speeds_that_were_asked_for_are_drawn(tiny_base, place):
    base = tiny_base(norm="layer", **NO_DROPOUT)
    attach(base.model, check=False)
    example = Example(read_data_directory(place / "data").utterances[0], [5, 6], 0.5, [0.9, 1.0, 1.1])
    schedule = Schedule(speeds=(0.9, 1.1))
    adapters_per_batch = MultiAdapterTrainer(
        base, [Task("s0/all", [example], [example])], schedule, FeatureCache(base, None, 1e9)
    )
    assert {adapters_per_batch.speed(example, number) for number in range(20)} == {0.9, 1.1}


def test_in_bfloat16_they_learn_much_the_same(place):
    speakers(options_of(place, folds=0))
    speakers(options_of(place, "low", folds=0, precision="bf16"))
    exact, low = numbers(place, "exp", "s1/all"), numbers(place, "low", "s1/all")
    assert exact.keys() == low.keys() and not all(torch.equal(exact[name], low[name]) for name in exact)
    moved = torch.cat([(exact[name] - 1).flatten() for name in exact])
    assert torch.cosine_similarity(moved, torch.cat([(low[n] - 1).flatten() for n in exact]), dim=0) > 0.9


def test_shares_of_the_speakers_make_the_whole(place):
    speakers(options_of(place, "whole", folds=2))
    for part in ("1/2", "2/2"):
        summary = speakers(options_of(place, folds=2, part=part))
        assert summary["speakers"] == 1 and not (place / "exp/decode").exists()
    made = {file: file.stat().st_mtime_ns for file in (place / "exp").glob("*/*/task.json")}
    speakers(options_of(place, folds=2))
    assert len(made) == 4 and all(file.stat().st_mtime_ns == time for file, time in made.items())
    assert (place / "exp/decode/text").read_text() == (place / "whole/decode/text").read_text()


def test_from_another_adapter_with_its_placements(place):
    speakers(options_of(place, folds=0, placements=["value"], layers="1-2"))
    start = place / "exp/s0/all/adapter"
    speakers(options_of(place, "more", folds=0, init_adapter=str(start), k=5, learning_rate=1e-30))
    before, after = numbers(place, "exp", "s0/all"), numbers(place, "more", "s1/all")
    assert before.keys() == after.keys() and len(after) == 2
    assert all(torch.equal(before[name], after[name]) for name in before)  # so small a rate improves nothing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "folds is 1, which leaves nothing"),
        ({"k": 1}, "k is 1, and has to be at least 2"),
        ({"placements": ["conv"]}, "conv vectors stand below"),
        ({"part": "3/2"}, "part is '3/2': write 3/8"),
        ({"folds": 8, "k": None, "passes": 0}, "passes is 0"),
        ({"warmup": 1.0}, "warmup is 1.0: see --help"),
        ({"speeds": [0.0]}, "speeds is"),
    ],
)
def test_what_cannot_be_meant(place, changes, message):
    with pytest.raises(UserError, match=message):
        speakers(options_of(place, **changes))


def test_a_speaker_with_one_utterance_is_named(place, tmp_path):
    record(tmp_path / "few", 2)
    with pytest.raises(UserError, match="s0 has 1 utterances, too few"):
        speakers(options_of(place, data=tmp_path / "few", folds=0))
