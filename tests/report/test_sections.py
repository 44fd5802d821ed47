"""The report's computations: the top of the page in plain words, the view by word, word confidences."""

import json
import re
import shutil

import pytest

from ia3_speech.commands.score import main as score_main
from ia3_speech.report.browse import count_words
from ia3_speech.report.data import read_report
from ia3_speech.report.page import rate_cards, report_sentences, report_warnings
from ia3_speech.report.tables import systems_table
from ia3_speech.scoring.ctm import ctm_line
from tests.report.conftest import add_extras, add_searches, make_recipe

# Of twelve speakers the base makes an error in one of two words, the adapter in none.
HELPFUL = {f"s{n:02d}-1": ("no fever", "know fever", "no fever") for n in range(12)}


@pytest.fixture
def helpful(tmp_path):
    return make_recipe(tmp_path, HELPFUL, sound=False)


def read(recipe, folder=None):
    return read_report(recipe.data, folder or recipe.adapted)


# ---- in plain words


def change_score(file, change, **fields) -> None:
    """Other numbers in a score.json."""
    score = json.loads(file.read_text())
    score["changes"]["wer"] |= change
    file.write_text(json.dumps(score | fields))


def write_out_of_domain(recipe, **change) -> None:
    """score.json of 6 speakers, on which the adapter raises the WER from 28 to 30.1 %."""
    folder = recipe.adapted.parent / "decode_greedy_out_of_domain"
    folder.mkdir()
    text = (recipe.adapted / "score.json").read_text()
    (folder / "score.json").write_text(text)
    row = next(iter(json.loads(text)["by_label"]["speaker"].values()))
    speakers = {"speaker": dict.fromkeys("abcdef", row)}
    change = {"baseline": 0.28, "relative": 0.075, "relative_ci": [0.02, 0.13]} | change
    change_score(
        folder / "score.json", change, utterances=30, wer=0.301, by_label=speakers, ci_clusters=12,
        set="out_of_domain",
    )  # fmt: skip


def test_sentences(helpful):
    assert any("was not measured" in sentence for sentence in report_sentences(read(helpful)))
    write_out_of_domain(helpful)
    first, in_100_words, elsewhere = report_sentences(read(helpful))
    assert "from 50.0 % (base) to 0.0 % (relative −100.0 %" in first
    assert "0 errors" in in_100_words and "instead of 50" in in_100_words
    assert "30 utterances of 6 speakers" in elsewhere and "from 28.0 % (base) to 30.1 %" in elsewhere
    assert not list(report_warnings(read(helpful)))


def test_training_without_effect_and_overlap_with_training_are_warnings(helpful):
    add_extras(helpful)
    assert not list(report_warnings(read(helpful)))
    row = {"epoch": 0, "step": 0, "loss": None, "dev_wer": 0.6, "selected_epoch": 0}
    worse = {"epoch": 1, "step": 1, "loss": 2.0, "dev_wer": 0.7, "selected_epoch": 0}
    (helpful.exp / "ia3_plus_seed1/metrics.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(worse)}\n")
    helpful.score(training=[helpful.data])
    not_improved, overlap = list(report_warnings(read(helpful)))[:2]
    assert "no epoch" in not_improved and "every sentence" in overlap
    before, after = helpful.page().split('<div class="cards">')
    assert f"{not_improved[1:]}.</p>" in before and f"{overlap[1:]}.</p>" in after


@pytest.mark.parametrize("decoded", ["greedy", "lm", "hotwords", "other start"])
def test_a_card_compares_two_systems_and_names_both(recipe, tmp_path, decoded):
    """The change is computed from the two rates beside it, with terms too."""
    (tmp_path / "terms").write_text("fever\nmetformin\nblood pressure\n")
    recipe.score(terms=tmp_path / "terms")
    folder = add_searches(recipe, terms=tmp_path / "terms")
    if decoded == "other start":  # compared with another adapter, with which its training began
        start = recipe.exp / "start/decode_greedy_test"
        shutil.copytree(recipe.adapted, start)
        score_main(recipe.data, recipe.adapted, baseline=start, replications=100, terms=tmp_path / "terms")
    folder = folder.with_name(f"decode_{'greedy' if decoded == 'other start' else decoded}_test")
    report = read(recipe, folder)
    rates = {system.name: system.result.all for system in report.all_systems}
    cards = [*rate_cards(report)]
    assert len(cards) == 3
    for card, name in zip(cards, ("wer", "cer", "term_error_rate"), strict=True):
        before, after = (getattr(rates[card[side]], name) for side in ("against", "system"))
        assert (card["before"], card["rate"].value) == (f"{100 * before:.1f}", after)
        assert card["change"].value == pytest.approx((after - before) / before)
    page = recipe.page() if folder == recipe.adapted else None
    assert page is None or f"relative to {cards[0]['against']}" in page


def test_hot_words_are_not_credited_with_what_the_language_model_did(recipe):
    """The best system beside the base alone; of the gain, the parts of the adapter and of the hot words."""
    report = read(recipe, add_searches(recipe))
    write_out_of_domain(recipe)
    sentences = " ".join(report_sentences(read(recipe, report.system.folder)))
    rates = {decoded.name: decoded.result.all.wer for decoded in report.all_systems}
    names = ["base", "ia3_plus_seed1", "base + LM", "ia3_plus_seed1 + LM", "ia3_plus_seed1 + LM + hot words"]
    assert [*rates] == names
    base, _, with_lm, adapted, hot = (f"{100 * rate:.1f} %" for rate in rates.values())
    assert hot in sentences and f"base alone {base}" in sentences
    assert f"raises the word error rate from {with_lm} (base + LM) to {adapted} (" in sentences
    assert f"lowers the word error rate from {adapted} (ia3_plus_seed1 + LM) to {hot} (" in sentences
    rows = [line.split(",") for line in systems_table(report).csv().splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [
        ("system", "compared with"), ("base", ""), ("ia3_plus_seed1", "base"), ("base + LM", "base"),
        ("ia3_plus_seed1 + LM", "base + LM"), ("ia3_plus_seed1 + LM + hot words", "ia3_plus_seed1 + LM"),
    ]  # fmt: skip
    warnings = [*report_warnings(report)]
    shown = report.baseline.result.all.change().bounds[1]
    assert f"{100 * shown:+.1f}" in warnings[0]  # the adapter's change, not the change by hot words


# ---- words


def test_words_and_terms(recipe, tmp_path):
    (tmp_path / "terms").write_text("atrial fibrillation\tdiagnosis\nfever\tfinding\nmetformin\n")
    recipe.score(terms=tmp_path / "terms")
    data = read(recipe)
    words = {word["word"]: word for word in count_words(data)}
    assert words["no"] == {
        "word": "no", "count": 3, "correct": [1, 3], "gain": 2, "term": None,
        "instead": ["(nothing) 1, know 1", ""],
    }  # fmt: skip
    assert (words["metformin"]["correct"], words["metformin"]["term"]) == ([0, 1], "term")
    phrase = words["atrial fibrillation"]  # the base has its second word
    assert (phrase["count"], phrase["correct"], phrase["term"]) == (1, [0, 0], "diagnosis")
    assert words["fibrillation"]["correct"] == [1, 0]
    gains = [word["gain"] for word in words.values()]
    assert gains == sorted(gains, reverse=True)
    row, terms = data.system.result.all, data.system.result.terms[""]
    single = [word for name, word in words.items() if " " not in name]
    assert sum(word["count"] for word in single) == row.words
    assert sum(word["count"] - word["correct"][1] for word in single) == row.substitutions + row.deletions
    listed = [words[term] for term in ("atrial fibrillation", "fever", "metformin")]
    assert sum(word["count"] for word in listed) == terms.reference
    assert sum(word["count"] - word["correct"][1] for word in listed) == terms.missed
    (tmp_path / "terms").unlink()  # a term list that is gone colours nothing
    assert {word["term"] for word in count_words(read(recipe))} == {None}


# ---- confidences

WRONG_OF_BASE = {"a": 0.15, "trial": 0.45, "know": 0.15, "met": 0.95}  # all others are right


def write_confidences(folder, confidence: float, others=()) -> None:
    """hyp.ctm of all words of a decode directory."""
    lines = []
    for text in (folder / "text").read_text().splitlines():
        utterance, *words = text.split()
        for n, word in enumerate(words):
            lines.append(ctm_line(utterance, n, n + 1, word, dict(others).get(word, confidence)))
    (folder / "hyp.ctm").write_text("".join(lines))


@pytest.fixture
def confident(recipe):
    """A recipe whose systems have confidences, the adapter's calibrated."""
    write_confidences(recipe.base, 0.85, WRONG_OF_BASE)
    write_confidences(recipe.adapted, 0.5)
    decoding = {"adapter": None, "base": {"name": "mini", "sha256": "0"}, "command": "decode"}
    decoding |= {"device": "cpu", "dtype": "float32", "versions": {}}
    decoding |= {"confidence_scaling": {"slope": 0.4, "bias": 1.6}}
    (recipe.adapted / "decode.json").write_text(json.dumps(decoding))
    recipe.score()
    return recipe


def section_of(page: str) -> str:
    return re.search(r'<section id="confidence".*?</section>', page, re.DOTALL)[0]


def test_what_reviewers_find_and_how_reliable_confidences_are(confident):
    section = section_of(confident.page())
    base, adapted = re.findall(r"<p><b>(.*?)</p>", section)
    assert "calibration error 21.9 %" in base and "Not calibrated" in base
    assert "calibration error 26.9 %" in adapted and adapted.endswith("Calibrated with slope 0.4, bias 1.6.")
    titles = re.findall(r"<title>(confidence .*?)</title>", section)
    assert titles[0] == "confidence 10 to 20 %: 2 words, mean confidence 15.0 %, right 0.0 [0.0, 65.8] %"
