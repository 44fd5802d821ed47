"""The view by word: counts, terms of several words, what is recognised instead."""

import json
import re

from ia3_speech.report import find_report_paths, read_report_data
from ia3_speech.report.word_accuracy import count_words, group_by_accuracy, instead_text, words_table


def test_words_and_terms(recipe, tmp_path):
    (tmp_path / "terms").write_text("atrial fibrillation\tdiagnosis\nfever\tfinding\nmetformin\n")
    recipe.score(terms=tmp_path / "terms")
    data = read_report_data(recipe.data, find_report_paths(recipe.adapted))
    words = {one.word: one for one in count_words(data)}
    found = words["no"]
    assert (found.count, found.correct, found.gain, found.term) == (3, [1, 3], 2, None)
    assert found.instead == [[("", 1), ("know", 1)], []]
    assert (words["metformin"].correct, words["metformin"].term) == ([0, 1], "term")
    assert words["fever"].term == "finding"
    phrase = words["atrial fibrillation"]  # the base has its second word
    assert (phrase.count, phrase.correct, phrase.term, phrase.instead) == (1, [0, 0], "diagnosis", [[], []])
    assert words["fibrillation"].correct == [1, 0]
    gains = [one.gain for one in words.values()]
    assert gains == sorted(gains, reverse=True)
    spoken = [one for one in words.values() if " " not in one.word]
    score = data.system.score
    assert sum(one.count for one in spoken) == score["words"]
    wrong = score["substitutions"] + score["deletions"]
    assert sum(one.count - one.correct[1] for one in spoken) == wrong


def test_terms_agree_with_score(recipe, tmp_path):
    (tmp_path / "terms").write_text("atrial fibrillation\nmetformin\nno\n")
    recipe.score(terms=tmp_path / "terms")
    data = read_report_data(recipe.data, find_report_paths(recipe.adapted))
    of_terms = [one for one in count_words(data) if one.word in ("atrial fibrillation", "metformin", "no")]
    terms = data.system.score["terms"]
    assert sum(one.count for one in of_terms) == terms["reference"]
    assert sum(one.count - one.correct[1] for one in of_terms) == terms["missed"]


def test_a_term_list_that_is_gone_colours_nothing(recipe, tmp_path):
    (tmp_path / "terms").write_text("no\n")
    recipe.score(terms=tmp_path / "terms")
    (tmp_path / "terms").unlink()
    data = read_report_data(recipe.data, find_report_paths(recipe.adapted))
    assert {one.term for one in count_words(data)} == {None}


def test_the_table(recipe):
    data = read_report_data(recipe.data, find_report_paths(recipe.adapted))
    table = words_table(data)
    assert table.csv().splitlines()[:2] == [
        "word,count,base correct %,ia3_seed1 correct %,gain,term,base instead,ia3_seed1 instead",
        'no,3,33.3333,100.0000,2,,"(nothing) 1, know 1",',
    ]


def test_one_system_has_no_gain(recipe):
    recipe.score()
    table = words_table(read_report_data(recipe.data, find_report_paths(recipe.base)))
    assert table.head == ["word", "count", "base correct %", "term", "base instead"]
    assert table.csv().splitlines()[1] == 'no,3,33.3333,,"(nothing) 1, know 1"'


def test_dots_hold_every_word_once(recipe):
    data = read_report_data(recipe.data, find_report_paths(recipe.adapted))
    words = count_words(data)
    dots = group_by_accuracy(words)
    assert sorted(one.word for group in dots.values() for one in group) == sorted(one.word for one in words)
    assert [one.word for one in dots[False, 1 / 3, 1.0]] == ["no"]
    rows = json.loads(re.search(r'id="word-data">(.*?)</script>', recipe.page(), re.DOTALL)[1])["rows"]
    number = list(dots).index((False, 1 / 3, 1.0))
    assert rows[0] == {
        "word": "no", "count": 3, "correct": [1, 3], "term": None, "instead": "", "dot": number
    }  # fmt: skip


def test_what_is_recognised_instead():
    assert instead_text([("met", 4), ("", 2), ("mat", 1), ("mit", 1)]) == "met 4, (nothing) 2, mat 1, …"
