"""The report's computations: the cards at the top of the page, and the view by word."""

import shutil

import pytest

from ia3_speech.commands.score import main as score_main
from ia3_speech.report.data import read_report
from ia3_speech.report.page import rate_cards
from ia3_speech.report.tables import count_words
from tests.report.conftest import add_searches


def read(recipe, folder=None):
    return read_report(recipe.data, folder or recipe.adapted)


@pytest.mark.parametrize("decoded", ["hotwords", "other start"])
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
