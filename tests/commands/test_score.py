"""The score command and its API: files, score.json, labels, clusters, baseline."""

import json
import re
import shutil
from pathlib import Path

import jiwer
import pytest
from corpus_files import text_directory, write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.commands.score import main
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi import DataDirectory
from ia3_speech.data.utterance import Utterance
from ia3_speech.scoring.scorer import score_hypotheses
from ia3_speech.scoring.term_errors import make_term_list

REFERENCE = Path(__file__).parents[3] / "shared/reference/kaldi_scoring"

TEXT = {
    "ann-1": "the patient has atrial fibrillation",
    "ann-2": "no fever",
    "bob-1": "start metformin today",
    "bob-2": "",
    "cat-1": "no fever no cough",
}
HEARD = {
    "ann-1": "the patient has a trial fibrillation",
    "ann-2": "no fever",
    "bob-1": "start metformin to day",
    "bob-2": "",
    "cat-1": "no fever cough",
}
ACCENT = {"ann": "scottish", "bob": "scottish", "cat": "welsh"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A recipe's folder with data/test and exp/decode, as the working directory."""
    monkeypatch.chdir(tmp_path)
    text_directory(Path("data/test"), TEXT)
    write_table(Path("data/test/spk2accent"), ACCENT)
    write_table(Path("exp/decode/text"), HEARD)
    return tmp_path


def scored(**options):
    """Run the command on `place`; score.json."""
    main(Path("data/test"), Path("exp/decode"), replications=200, **options)
    return json.loads(Path("exp/decode/score.json").read_text())


def make_data(texts, speakers=None, **labels):
    """A data directory in memory: {utterance: text}; labels are {label: {utterance: value}}."""
    utterances = []
    for name, text in sorted(texts.items()):
        known = {label: values[name] for label, values in labels.items() if name in values}
        speaker = (speakers or {}).get(name, "spk")
        utterances.append(Utterance(name, speaker, name, "none.wav", text=text, labels=known))
    return DataDirectory(Path("data/test"), utterances)


def test_every_file_is_written(place):
    main(Path("data/test"), Path("exp/decode"), replications=100)
    decode = Path("exp/decode")
    written = {str(path.relative_to(decode)) for path in decode.rglob("*") if path.is_file()}
    scoring = ["best_wer", "inputs.json", "test_filt.txt", "penalty_0.0/1.txt"]
    scoring += [f"wer_details/{name}" for name in ("per_utt", "per_spk", "ops", "wer_bootci", "lmwt", "wip")]
    others = {"text", "score.json", "wer_1_0.0", "ref.trn", "hyp.trn"}
    assert written == others | {f"scoring_kaldi/{name}" for name in scoring}
    assert (decode / "scoring_kaldi/best_wer").read_text() == (
        "%WER 35.71 [ 5 / 14, 2 ins, 1 del, 2 sub ] exp/decode/wer_1_0.0\n"
    )
    assert (decode / "scoring_kaldi/test_filt.txt").read_text() == (
        "ann-1 the patient has atrial fibrillation\nann-2 no fever\nbob-1 start metformin today\n"
        "bob-2\ncat-1 no fever no cough\n"
    )
    assert (decode / "hyp.trn").read_text() == (
        "the patient has a trial fibrillation (ann-ann-1)\nno fever (ann-ann-2)\n"
        "start metformin to day (bob-bob-1)\n(bob-bob-2)\nno fever cough (cat-cat-1)\n"
    )


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="Kaldi's frozen outputs (../shared) are not here")
@pytest.mark.parametrize("normalize", ["none", "ctc"])
def test_kaldis_frozen_case_through_the_command(tmp_path, monkeypatch, normalize):
    monkeypatch.chdir(tmp_path)
    texts, speakers = (
        dict(line.partition(" ")[::2] for line in (REFERENCE / name).read_text().splitlines())
        for name in ("text", "utt2spk")
    )
    text_directory(Path("data"), texts, speakers)
    Path("decode").mkdir()
    shutil.copyfile(REFERENCE / "hyp", "decode/text")
    main(Path("data"), Path("decode"), replications=100, normalize=normalize)
    assert Path("decode/wer_1_0.0").read_bytes() == (REFERENCE / "wer").read_bytes()
    for name in ("per_utt", "per_spk", "ops"):
        content = Path("decode/scoring_kaldi/wer_details", name).read_bytes()
        assert content == (REFERENCE / name).read_bytes()


def test_score_json(place):
    score = scored()
    assert score["schema"] == 1
    assert score["wer"] == 5 / 14
    low, high = score["wer_ci"]
    assert low <= 5 / 14 <= high
    assert (score["words"], score["utterances"], score["missing"]) == (14, 5, 0)
    assert (score["insertions"], score["deletions"], score["substitutions"]) == (2, 1, 2)
    assert (score["ci_unit"], score["ci_clusters"]) == ("speaker", 3)
    assert (score["term_error_rate"], score["normalize"]) == (None, "ctc")
    assert (score["system"], score["search"], score["set"]) == ("exp/decode", "greedy", "test")
    assert "baseline" not in score
    labels = score["by_label"]
    assert set(labels) == {"speaker", "accent"}
    assert (labels["accent"]["scottish"]["wer"], labels["accent"]["scottish"]["ci_clusters"]) == (4 / 10, 2)
    # a single speaker can't be resampled by speaker, and a single utterance not at all
    assert labels["speaker"]["bob"]["ci_unit"] == "utterance"
    assert (labels["speaker"]["cat"]["wer"], labels["speaker"]["cat"]["wer_ci"]) == (1 / 4, None)


def test_other_options_go_elsewhere_and_missing_hypotheses_are_deletions(place, capsys, caplog):
    before = scored()
    main(Path("data/test"), Path("exp/decode"), normalize="none", replications=200, out=Path("exp/raw"))
    raw = json.loads(Path("exp/raw/score.json").read_text())
    assert (raw["decode_dir"], raw["normalize"]) == ("exp/decode", "none")
    assert scored() == before and "up to date" in capsys.readouterr().out
    hypotheses = {u: text for u, text in HEARD.items() if u != "cat-1"} | {"dan-9": "x"}
    write_table(Path("exp/decode/text"), hypotheses)
    score = scored()
    assert (score["missing"], score["words"], score["utterances"]) == (1, 14, 5)
    assert Path("exp/decode/wer_1_0.0").read_text() == (
        "%WER 57.14 [ 8 / 14, 2 ins, 4 del, 2 sub ] [PARTIAL]\n%SER 60.00 [ 3 / 5 ]\n"
        "Scored 5 sentences, 1 not present in hyp.\n"
    )
    assert "all their words count as deleted: cat-1" in caplog.text


def test_clusters():
    texts = {f"u{n}": "a b" for n in range(6)}
    speakers = {f"u{n}": f"s{n % 3}" for n in range(6)}
    consultations = {f"u{n}": f"c{n % 2}" for n in range(6)}

    def unit(data, **options):
        rates = score_hypotheses(data, dict.fromkeys(texts, "a"), replications=10, **options)
        return rates.ci_unit, rates.ci_clusters

    data = make_data(texts, speakers, consultation=consultations, room={"u0": "x"})
    assert unit(data) == ("consultation", 2)
    assert unit(data, cluster="speaker") == unit(make_data(texts, speakers)) == ("speaker", 3)
    assert unit(make_data(texts)) == ("utterance", 6)  # one speaker
    with pytest.raises(UserError, match=r"`cluster` room: utterance u1 has no such label"):
        unit(data, cluster="room")


def test_terms_by_category(place):
    Path("terms.txt").write_text("Atrial Fibrillation\tcondition\nfever\tcondition\nmetformin\tdrug\n")
    write_table(Path("exp/base/text"), {u: text.replace("fever", "fervour") for u, text in HEARD.items()})
    score = scored(terms=Path("terms.txt"), baseline=Path("exp/base"))
    assert score["term_error_rate"] == 1 / 4
    pooled = score["terms"]
    assert (pooled["reference"], pooled["missed"], pooled["false"]) == (4, 1, 0)
    assert pooled["change"]["baseline"] == 3 / 4
    assert score["changes"]["term_error_rate"]["relative"] == pytest.approx(-2 / 3)
    assert score["terms_by_category"]["condition"]["term_error_rate"] == 1 / 3
    assert score["terms_by_category"]["drug"]["term_error_rate"] == 0.0
    assert score["by_label"]["accent"]["welsh"]["term_error_rate"] == 0.0
    assert score["by_label"]["accent"]["welsh"]["terms_by_category"]["drug"]["term_error_rate"] is None


SPOKEN = st.text("ab é", max_size=8)


@given(texts=st.lists(st.tuples(SPOKEN, SPOKEN, st.sampled_from("xyz")), min_size=1, max_size=6))
@settings(max_examples=30)
def test_any_texts_are_scored_as_jiwer_counts_and_the_labels_add_up(texts):
    data = make_data(
        {f"u{n}": said for n, (said, _, _) in enumerate(texts)},
        accent={f"u{n}": accent for n, (_, _, accent) in enumerate(texts)},
    )
    hypotheses = {f"u{n}": text for n, (_, text, _) in enumerate(texts)}
    terms = make_term_list({"a b": ["x"], "a": []})
    score = score_hypotheses(data, hypotheses, baseline={"u0": "a"}, terms=terms, replications=20)
    for label in ("accent", "speaker"):
        groups = score.by_label[label].values()
        for name in ("errors", "words", "character_errors", "utterances"):
            assert sum(getattr(rates, name) for rates in groups) == getattr(score, name)
    names = ("reference", "hypothesis")
    sides = [[" ".join(getattr(utterance, name)) for utterance in score.scored] for name in names]
    counted = [(jiwer.process_words(*sides), score.errors)]
    counted.append((jiwer.process_characters(*sides), score.character_errors))
    for theirs, ours in counted:
        assert theirs.substitutions + theirs.deletions + theirs.insertions == ours
    if score.words:
        assert score.wer == pytest.approx(score.errors / score.words)
        assert score.wer_ci is None if len(texts) == 1 else score.wer_ci[0] <= score.wer_ci[1]


def test_sentences_of_training_are_a_warning_and_the_others_scored_apart(place, capsys):
    """Two of five utterances are in training, in capitals, and a speaker is in both."""
    texts = {"ann-9": "No fever", "dan-1": "NO FEVER NO COUGH"}
    text_directory(Path("data/train"), texts)
    write_table(Path("exp/base/text"), {u: f"uh {text}" for u, text in HEARD.items()})
    options = {"baseline": Path("exp/base"), "training": [Path("data/train")]}
    main(Path("data/test"), Path("exp/decode"), **options)
    out = capsys.readouterr().out
    assert "2 of 4 sentences" in out and "1 of 3 speakers" in out
    record = json.loads(Path("exp/decode/score.json").read_text())
    assert len(record["overlap"]["warnings"]) == 2 and record["overlap"]["training"] == ["data/train"]
    assert (record["unseen_sentences"]["utterances"], record["unseen_sentences"]["words"]) == (3, 8)
    assert record["unseen_sentences"]["errors"] == 4
    assert record["unseen_sentences"]["changes"]["wer"]["relative"] == pytest.approx(4 / 7 - 1)
    assert re.search(r"^sentences not in training +3 +8 +50\.00 ", out, re.MULTILINE)
    main(Path("data/test"), Path("exp/decode"), **options)
    assert capsys.readouterr().out == "exp/decode/scoring_kaldi: up to date\n"
    write_table(Path("data/train/text"), {"ann-9": "no fever", "dan-1": "another sentence"})
    main(Path("data/test"), Path("exp/decode"), **options)
    assert "training" in capsys.readouterr().err


def test_a_digit_in_one_hypothesis_changes_that_utterance_alone(place):
    """Numbers are in words on both sides, text by text; `--normalize none` leaves them."""
    write_table(Path("data/test/text"), TEXT | {"ann-1": "vitamin B12 at 38.5 °C", "ann-2": "take 5 mg"})
    spoken = {
        "ann-1": "vitamin b twelve at thirty eight point five degrees celsius",
        "ann-2": "take five milligrams",
    }
    for mode in ("ctc", "english"):
        Path("terms").write_text("vitamin b12\n")
        write_table(Path("exp/decode/text"), TEXT | spoken)
        assert scored(normalize=mode, terms=Path("terms"))["wer"] == 0
        write_table(Path("exp/decode/text"), TEXT | spoken | {"ann-1": "vitamin B12 at 38.5 °C"})
        score = scored(normalize=mode, terms=Path("terms"))
        assert (score["wer"], score["term_error_rate"]) == (0, 0)
    assert scored(normalize="none")["wer"] > 0
