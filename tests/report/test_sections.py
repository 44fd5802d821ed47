"""The report's computations: the cards at the top of the page, and the view by word."""

import pytest

from ia3_speech.report.data import read_report
from ia3_speech.report.page import rate_cards
from ia3_speech.report.tables import count_words


def read(recipe, folder=None):
    return read_report(recipe.data, folder or recipe.adapted)


def test_a_card_compares_the_rates_of_two_systems(recipe):
    report = read(recipe)
    rates = {system.name: system.result.all for system in report.all_systems}
    card = next(rate_cards(report))
    before, after = (rates[card[side]].wer for side in ("against", "system"))
    assert (card["before"], card["rate"].value) == (f"{100 * before:.1f}", after)
    assert card["change"].value == pytest.approx((after - before) / before)


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
    assert sum(word["count"] for name, word in words.items() if " " not in name) == row.words
    listed = [words[term] for term in ("atrial fibrillation", "fever", "metformin")]
    assert sum(word["count"] for word in listed) == terms.reference
    (tmp_path / "terms").unlink()  # a term list that is gone colours nothing
    assert {word["term"] for word in count_words(read(recipe))} == {None}
