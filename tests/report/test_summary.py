"""The top of the page in plain words: what the numbers mean, what they cost, and what to beware of."""

import json

import pytest
from hand_made import add_extras, make_recipe, write_table

from ia3_speech.report import find_report_paths, read_report_data
from ia3_speech.report.summary import summary_sentences, summary_warnings

# Of twelve speakers the base makes an error in one of two words, the adapter in none.
HELPFUL = {f"s{n:02d}-1": ("no fever", "know fever", "no fever") for n in range(12)}


@pytest.fixture
def helpful(tmp_path):
    return make_recipe(tmp_path, HELPFUL, sound=False)


def read(recipe, **paths):
    return read_report_data(recipe.data, find_report_paths(recipe.adapted, **paths))


def write_out_of_domain(recipe, **change) -> None:
    """score.json of 6 speakers, on which the adapter raises the WER from 28 to 30.1 %."""
    folder = recipe.adapted.parent / "decode_greedy_out_of_domain"
    folder.mkdir()
    score = json.loads((recipe.adapted / "score.json").read_text())
    wer = {"baseline": 0.28, "relative": 0.075, "relative_ci": [0.02, 0.13], **change}
    speakers = {"speaker": {speaker: {} for speaker in "abcdef"}}
    score |= {"utterances": 30, "wer": 0.301, "changes": {"wer": wer}, "by_label": speakers}
    score |= {"baseline_dir": "exp/base/decode_greedy_out_of_domain", "ci_clusters": 12}
    (folder / "score.json").write_text(json.dumps(score))


def test_sentences(helpful):
    write_out_of_domain(helpful)
    assert list(summary_sentences(read(helpful))) == [
        "On 12 utterances ia3_seed1 lowers the word error rate from 50.0 % (base) to 0.0 % (relative "
        "−100.0 %, 95 % interval −100.0 to −100.0).",
        "In 100 words that is 0 errors (wrong, missing or extra words) instead of 50.",
        "On out-of-domain speech (30 utterances of 6 speakers) it raises the word error rate from 28.0 % "
        "(base) to 30.1 % (relative +7.5 %, 95 % interval +2.0 to +13.0): name it only for the speech that "
        "it was trained for.",
    ]
    assert not list(summary_warnings(read(helpful)))


def test_what_was_not_measured_is_said(helpful):
    assert "What ia3_seed1 does to out-of-domain speech was not measured." in summary_sentences(read(helpful))


def test_terms_and_sentences_that_are_not_in_training(helpful, tmp_path):
    (tmp_path / "terms").write_text("no fever\n")
    helpful.score(terms=tmp_path / "terms")
    file = helpful.adapted / "score.json"
    score = json.loads(file.read_text())
    wer = {"baseline": 0.6, "relative": -0.5, "relative_ci": None}
    score["unseen_sentences"] = {"utterances": 4, "wer": 0.3, "changes": {"wer": wer}}
    file.write_text(json.dumps(score))
    sentences = list(summary_sentences(read(helpful)))
    assert "Of 12 spoken terms it misses 0; base misses 12." in sentences
    assert (
        "On 4 utterances with sentences that are not in training it lowers the word error rate from 60.0 % "
        "(base) to 30.0 % (relative −50.0 %)."
    ) in sentences


def test_small_test_sets(recipe):
    """Three speakers, and a change that may be chance; the same is said of out-of-domain speech."""
    write_out_of_domain(recipe, relative_ci=[-0.02, 0.13])
    found = list(summary_warnings(read(recipe)))
    assert found[0].startswith("the test set is too small to tell the change from chance: its interval, −")
    assert found[0].endswith("includes 0")
    assert found[1:] == [
        "the test set has 3 speakers only, so that the true interval is wider than the one given",
        "the out-of-domain set is too small to tell the change from chance: its interval, −2.0 to +13.0 %, "
        "includes 0",
    ]


def test_a_single_utterance(tmp_path):
    recipe = make_recipe(tmp_path, {"ann-1": ("no fever", "know", "no")}, sound=False)
    assert list(summary_warnings(read(recipe))) == ["the test set is too small for an interval (1 utterance)"]


def test_no_epoch_improved(helpful):
    add_extras(helpful)
    assert not list(summary_warnings(read(helpful)))
    row = {"epoch": 0, "step": 0, "loss": None, "dev_wer": 0.6, "selected_epoch": 0}
    worse = {"epoch": 1, "step": 1, "loss": 2.0, "dev_wer": 0.7, "selected_epoch": 0}
    (helpful.exp / "ia3_seed1/metrics.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(worse)}\n")
    assert list(summary_warnings(read(helpful))) == [
        "no epoch of the training improved on its start, so the adapter is as it started"
    ]
    assert "No epoch of the training improved on its start" in helpful.page()


def test_overlap_with_training(helpful):
    """As score.json has it; else from the data that config.yaml names; unknown where that is gone."""
    assert read(helpful).overlap is None
    train = helpful.data.parent / "train"
    for table, lines in {
        "text": {"s01-2": "no  FEVER", "s99-1": "other words"},
        "utt2spk": {"s01-2": "s01", "s99-1": "s99"},
        "spk2utt": {"s01": "s01-2", "s99": "s99-1"},
        "wav.scp": {"s01-2": "a.wav", "s99-1": "b.wav"},
    }.items():
        write_table(train / table, lines)
    (helpful.exp / "ia3_seed1/config.yaml").write_text(f"train: {train}\n")
    assert list(summary_warnings(read(helpful))) == [
        "1 of 12 speakers of the test set occur in training",
        "1 of 1 sentence of the test set occur in training",
    ]
    page = helpful.page()
    assert (
        '<p class="warning"><b>Warning. </b>1 of 12 speakers of the test set occur in training.</p>' in page
    )
    (train / "text").write_text("s01-2 another sentence\ns99-1 other words\n")
    assert "1 of 1 sentence" not in helpful.page()  # and the page is made again
    (train / "spk2utt").unlink()
    assert read(helpful).overlap is None
    file = helpful.adapted / "score.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"overlap": {"warnings": ["known"]}}))
    assert read(helpful).overlap == ["known"]


def test_without_a_baseline(recipe):
    recipe.score()
    data = read_report_data(recipe.data, find_report_paths(recipe.base))
    assert list(summary_sentences(data)) == [
        "On 6 utterances of 3 speakers base has a word error rate of 31.2 %.",
        "In 100 words that is 31 errors (wrong, missing or extra words).",
    ]
