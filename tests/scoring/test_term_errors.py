"""Term errors: occurrences, hits, and errors in the list."""

import pytest

from ia3_speech.common.errors import UserError
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.term_errors import count_terms, find_terms, make_term_list, read_term_list


def counted(reference, hypothesis, terms):
    """[reference, missed, false] pooled and by category."""
    terms = make_term_list(terms)
    counts = count_terms(align(reference.split(), hypothesis.split()), terms).tolist()
    return dict(zip(["all", *terms.categories], counts, strict=True))


def test_a_phrase_is_a_hit_if_it_is_whole():
    terms = {"atrial fibrillation": ["condition"]}
    assert counted("has atrial fibrillation today", "had atrial fibrillation", terms)["all"] == [1, 0, 0]
    assert counted("has atrial fibrillation", "has a trial fibrillation", terms)["all"] == [1, 1, 0]
    assert counted("has atrial fibrillation", "has atrial uh fibrillation", terms)["all"] == [1, 1, 0]
    assert counted("has atrial fibrillation", "", terms)["all"] == [1, 1, 0]
    assert counted("atrial and fibrillation", "atrial fibrillation", terms)["all"] == [0, 0, 1]


def test_what_was_not_said_is_falsely_produced():
    terms = {"insulin": ["drug"], "inulin": ["drug"], "fever": ["condition"]}
    rows = counted("inulin for fever", "insulin for fever fever", terms)
    assert rows == {"all": [2, 1, 2], "condition": [1, 0, 1], "drug": [1, 1, 1]}


def test_the_right_word_in_the_wrong_place_is_missed_and_false():
    assert counted("fever then cough", "cough then fever", {"fever": []})["all"] == [1, 1, 1]


def test_the_longest_term_counts_and_once():
    terms = make_term_list({"diabetes": [], "type two diabetes": [], "two": []})
    assert find_terms(["type", "two", "diabetes", "or", "diabetes", "two"], terms) == [
        (0, ("type", "two", "diabetes")),
        (4, ("diabetes",)),
        (5, ("two",)),
    ]
    assert counted("type two diabetes", "type too diabetes", {"diabetes": [], "type two diabetes": []}) == {
        "all": [1, 1, 0]  # "diabetes" alone was said, so it is not false
    }


def test_a_term_of_several_categories_counts_in_each():
    terms = {"metformin": ["drug", "unseen"], "aspirin": ["drug"]}
    rows = counted("metformin and aspirin", "metformin an aspirant", terms)
    assert rows == {"all": [2, 1, 0], "drug": [2, 1, 0], "unseen": [1, 0, 0]}


def test_reading_a_list(tmp_path):
    file = tmp_path / "terms.txt"
    file.write_text("Atrial Fibrillation\tcondition\n\nmetformin\tdrug\tunseen\nMETFORMIN\tnew\naspirin\n")
    terms = read_term_list(file, "ctc")
    assert terms.categories_of == {
        ("atrial", "fibrillation"): ("condition",),
        ("metformin",): ("drug", "new", "unseen"),
        ("aspirin",): (),
    }
    assert terms.categories == ["condition", "drug", "new", "unseen"]


def test_a_list_with_nothing_in_it_is_refused(tmp_path):
    file = tmp_path / "terms.txt"
    for content, message in (("\n", r"terms\.txt: no terms"), ("fever\n...\tcondition\n", r"terms\.txt:2: ")):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            read_term_list(file)
