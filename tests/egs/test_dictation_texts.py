"""egs/medical_dictation/local: what is said: wording and grammar."""

import re
from pathlib import Path

import pytest

RECIPE = "medical_dictation"
MODULES = ("wording", "grammar", "prepare")
LOCAL = Path(__file__).parents[2] / "egs/medical_dictation/local"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Type 2 diabetes mellitus without complications", "type two diabetes mellitus"),
        ("Non-ST elevation (NSTEMI) myocardial infarction", "non s t elevation myocardial infarction"),
        ("Epilepsy, unspecified, not intractable, without status epilepticus", "epilepsy"),
        ("Ménière's disease, bilateral", "meniere's disease bilateral"),
    ],
)
def test_descriptions_become_speakable(local, written, said):
    assert local.wording.spoken(written) == said


@pytest.fixture(scope="module")
def texts(local):
    return local.prepare.draw_texts(local.prepare.SENTENCES["full"])


def test_sentences_are_writable_different_and_drawn_alike(local, texts):
    every = [sentence.text for sentences in texts.values() for sentence in sentences]
    assert all(re.fullmatch(r"[a-z']+( [a-z']+)*", text) for text in every)
    assert len(set(every)) == len(every)
    small = local.prepare.SENTENCES["small"]
    assert local.prepare.draw_texts(small) == local.prepare.draw_texts(small)


def test_held_out_terms_and_patterns_occur_in_test_alone(local, texts):
    grammar = local.grammar.Grammar(LOCAL)
    heard = " | ".join(sentence.text for name in ("train", "dev") for sentence in texts[name])
    assert not [term for term in grammar.new_terms if re.search(rf"\b{re.escape(term)}\b", heard)]
    assert not any(sentence.new_wording for name in ("train", "dev") for sentence in texts[name])
    assert sum(len(sentence.new_terms) for sentence in texts["test"]) >= 30
    assert sum(sentence.new_wording for sentence in texts["test"]) >= 20
    patterns = {sentence.pattern for sentence in texts["train"]}
    assert not patterns & {sentence.pattern for sentence in texts["test"] if sentence.new_wording}
