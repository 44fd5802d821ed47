"""What adaptation did to each speaker: comparisons, their table, pictures and curves."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from ia3_speech.experiments.by_speaker import Comparison, comparisons, write_curves
from ia3_speech.experiments.curve_files import read_learning_curve
from ia3_speech.experiments.markdown import markdown
from ia3_speech.experiments.systems import find_systems
from ia3_speech.report.scatter import write_scatters


def put(exp, name, errors, train=None):
    """A scored system: errors of speakers a, b and c, of 10, 10 and 20 words."""
    words = dict(zip("abc", (10, 10, 20), strict=True))
    total = sum(errors)
    rates = {s: {"words": words[s], "errors": e} for s, e in zip("abc", errors, strict=True)}
    score = {"wer": total / 40, "wer_ci": [0.1, 0.9], "words": 40, "by_label": {"speaker": rates}}
    score |= {"schema": 1} | ({"baseline": {"wer": 0.5, "words": 40}} if name != "base" else {})
    folder = exp / name / "decode_greedy_test"
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps(score))
    if train:
        (exp / name / "train.json").write_text(json.dumps(train))


@pytest.fixture
def exp(tmp_path):
    kept = {"adapters": 12, "speakers": 3, "start_kept": ["a/fold1", "a/fold2", "b/fold1"]}
    put(tmp_path, "base", [6, 4, 10])
    put(tmp_path, "accent", [5, 4, 8])
    put(tmp_path, "from_base_k15_seed1", [4, 4, 11], kept)
    put(tmp_path, "from_accent_k5_seed1", [5, 3, 8], kept)
    put(tmp_path, "from_accent_k15_seed1", [4, 4, 4], kept)
    return tmp_path


def test_each_system_is_compared_with_the_base_and_with_its_start(exp):
    systems = find_systems(exp)
    found = comparisons(systems, "test")
    assert [(one.system.name, one.against.name) for one in found] == [
        ("from_accent_k5", "base"), ("from_accent_k5", "accent"),
        ("from_accent_k15", "base"), ("from_accent_k15", "accent"), ("from_base_k15", "base"),
    ]  # fmt: skip
    assert [one.relative for one in found] == pytest.approx([-4 / 20, -1 / 17, -8 / 20, -5 / 17, -1 / 20])
    assert found[3].changes == pytest.approx([-0.1, 0.0, -0.2])
    low, high = found[3].relative_ci
    # Drawing one speaker three times: b changes nothing, c halves its errors.
    assert low >= -0.5 and high <= 0 and low < -5 / 17 < high


def test_the_interval_is_that_of_the_score_command():
    from ia3_speech.scoring.scorer import score_hypotheses
    from tests.test_score import make_data

    texts = {f"{s}-{n}": "a b c d" for s in "abcde" for n in range(3)}
    speakers = {id: id[0] for id in texts}
    heard = {id: "a b" if n % 3 else "a b c" for n, id in enumerate(texts)}
    before = {id: "a" if n % 4 else "x y" for n, id in enumerate(texts)}
    result = score_hypotheses(make_data(texts, speakers), heard, baseline=before, cluster="speaker")
    own = result.by_label["speaker"]
    numbers = [[own[s].words for s in own]]
    base = score_hypotheses(make_data(texts, speakers), before, cluster="speaker").by_label["speaker"]
    numbers += [[side[s].errors for s in own] for side in (base, own)]
    one = Comparison(None, None, list(own), *map(np.array, numbers))
    assert one.relative == pytest.approx(result.changes["wer"].relative)
    assert one.relative_ci == pytest.approx(result.changes["wer"].relative_ci)


def test_the_table_to_the_letter(exp):
    systems = find_systems(exp)
    lines = markdown(systems, ("speakers",)).splitlines()
    assert lines[0] == (
        "| speakers | compared with | WER % before | after | change % | median speaker, points | better % | "
        "equal % | worse % | speakers | words each | no epoch improved |"
    )
    (line,) = [line for line in lines if line.startswith("| from_base_k15 |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["from_base_k15", "base", "50.0", "47.5"]
    assert cells[4].startswith("-5.0 [")
    assert cells[5:] == ["+0.0", "33", "33", "33", "3", "10", "3 of 12 folds, 2 speakers"]


def test_recipes_without_speakers_have_no_such_table(tmp_path):
    put(tmp_path, "base", [6, 4, 10])
    put(tmp_path, "ia3_seed1", [4, 4, 4], {"dev_wer": 0.2})
    systems = find_systems(tmp_path)
    assert markdown(systems, ("speakers", "tuning")) == ""


def pictures(exp):
    """What stage 8 writes, for a run that was asked for all three."""
    systems = find_systems(exp)
    write_scatters(exp, systems, "test")
    write_curves(exp, systems, "accent", "", "test")


def test_scatter_and_curve(exp):
    pictures(exp)
    assert sorted(path.name for path in exp.glob("*.svg")) == [
        "scatter_from_accent_k15.svg", "scatter_from_accent_k5.svg", "scatter_from_base_k15.svg",
    ]  # fmt: skip
    svg = ElementTree.parse(exp / "scatter_from_accent_k15.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert [dot.find(f"{space}title").text for dot in svg.iter(f"{space}circle")] == [
        "a: 50.0 % before, 40.0 % after, 10 words",
        "b: 40.0 % before, 40.0 % after, 10 words",
        "c: 40.0 % before, 20.0 % after, 20 words",
    ]
    assert "3 speakers: 2 better (below the line), 1 equal, 0 worse" in [
        t.text for t in svg.iter(f"{space}text")
    ]
    curve = read_learning_curve(exp / "curve.json")
    assert (curve.unit, curve.base.wer) == ("utterances", 17 / 40)  # of what it starts from
    assert [(point.amount, point.estimate.wer) for point in curve.points] == [(5, 0.4), (15, 0.3)]
    assert not (exp / "curve_from_base.json").exists()  # a single point is no curve
    (exp / "from_accent_k5_seed1/decode_greedy_test/score.json").unlink()
    pictures(exp)
    assert not (exp / "curve.json").exists()  # nor is one of an earlier run
