"""Word confidences in the report: the sentence for reviewers, the reliability diagram, and its table."""

import json
import re

import pytest

from ia3_speech.cli import UserError
from ia3_speech.scoring.ctm import ctm_line

WRONG_OF_BASE = {"a": 0.15, "trial": 0.45, "know": 0.15, "met": 0.95}  # all others are right
HEARD_BY_BASE = ("ann-1 the patient has a trial fibrillation", "ann-2 know fever", "bob-1 start met today",
                 "cat-10 no fever cough", "cat-9 blood pressure")  # fmt: skip
HEARD_BY_IA3 = ("ann-2 no fever", "bob-1 start metformin two day", "bob-2 uh", "cat-10 no fever no cough",
                "cat-9 blood pressure")  # fmt: skip
DECODING = {
    "adapter": None, "base": {"name": "mini", "sha256": "0"}, "command": "decode", "device": "cpu",
    "dtype": "float32", "versions": {}, "confidence_temperature": 1.5,
}  # fmt: skip


def write_confidences(folder, texts, confidence: float, others=()) -> None:
    lines = []
    for text in texts:
        utterance, *words = text.split()
        for n, word in enumerate(words):
            lines.append(ctm_line(utterance, n, n + 1, word, dict(others).get(word, confidence)))
    (folder / "hyp.ctm").write_text("".join(lines))


@pytest.fixture
def confident(recipe):
    """A recipe whose systems have confidences, the adapter's calibrated."""
    write_confidences(recipe.base, HEARD_BY_BASE, 0.85, WRONG_OF_BASE)
    write_confidences(recipe.adapted, HEARD_BY_IA3, 0.5)
    (recipe.adapted / "decode.json").write_text(json.dumps(DECODING))
    return recipe


def section_of(page: str) -> str:
    return re.search(r'<section id="confidence".*?</section>', page, re.DOTALL)[0]


def test_what_reviewers_find_and_how_reliable_confidences_are(confident):
    section = section_of(confident.page())
    base, adapted = re.findall(r"<p><b>(.*?)</p>", section)
    assert re.fullmatch(
        r"base</b>: looking at the least certain 10 % of the 16 words finds 50 \[\d+, \d+\] % of the 4 "
        r"errors \(10 % by chance, 50 % at best\)\. Calibration error 21\.9 % \(16 words\), not calibrated "
        r"\(ia3-speech calibrate does it on a dev set\)\. Area under the ROC curve 0\.750\.",
        base,
    )
    assert adapted.startswith("ia3_seed1</b>: looking at the least certain 10 % of the 13 words finds 8 [")
    assert "Calibration error 26.9 % (13 words), calibrated with temperature 1.5." in adapted
    assert section.count("<figure>") == 2 and "Reliability of base" in section
    titles = re.findall(r"<title>(confidence .*?)</title>", section)
    assert titles[0] == "confidence 10 to 20 %: 2 words, mean confidence 15.0 %, right 0.0 [0.0, 65.8] %"
    assert len(titles) == 5 and titles[4].startswith(
        "confidence 50 to 60 %: 13 words, mean confidence 50.0 %"
    )
    assert section.count('class="dot baseline"') == 4 and section.count('class="dot system"') == 1


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ({"confidence_scaling": None}, "not calibrated (ia3-speech"),
        ({"confidence_scaling": {"temperature": 1.0, "slope": 0.4, "bias": 1.6}},
         "calibrated with slope 0.4, bias 1.6."),
        ({"confidence_scaling": {"temperature": 1.0, "slope": 1.0, "bias": 0.0}},
         "calibrated with temperature 1."),
        ({"confidence_temperature": 1.0}, "not calibrated (ia3-speech"),  # of an earlier version
    ],
)  # fmt: skip
def test_a_calibration_that_changes_nothing_is_one(confident, record, shown):
    (confident.adapted / "decode.json").write_text(
        json.dumps(DECODING | {"confidence_temperature": 1.0} | record)
    )
    assert f"(13 words), {shown}" in section_of(confident.page())


def test_the_table_has_all_ten_ranges(confident):
    confident.page()
    lines = (confident.adapted / "report/confidences.csv").read_text().splitlines()
    assert lines[0] == (
        "confidence %,base words,base mean %,base right %,base right % low,base right % high,ia3_seed1 words,"
        "ia3_seed1 mean %,ia3_seed1 right %,ia3_seed1 right % low,ia3_seed1 right % high"
    )
    assert len(lines) == 11 and lines[1] == "0 to 10,0,,,,,0,,,,"
    assert lines[9] == "80 to 90,12,85.0000,100.0000,75.7506,100.0000,0,,,,"


def test_words_that_normalisation_changed_are_counted(confident):
    texts = [*HEARD_BY_BASE[:-1], "cat-9 blood pressures"]
    write_confidences(confident.base, texts, 0.85, WRONG_OF_BASE)
    section = section_of(confident.page())
    assert "of the 15 words finds" in section
    assert "base: without 1 word that a filter or the text normalisation has changed." in section


def test_folders_of_earlier_versions_make_a_report_without_it(confident):
    before = confident.page()
    (confident.base / "hyp.ctm").unlink()
    page = confident.page()
    assert page != before and "base</b>: looking at" not in page and "ia3_seed1</b>: looking at" in page
    (confident.adapted / "hyp.ctm").unlink()
    page = confident.page()
    assert "Word confidences" not in page and not (confident.adapted / "report/confidences.csv").exists()


def test_a_damaged_file_is_named(confident):
    (confident.base / "hyp.ctm").write_text("ann-1 1 0 1 the\n")
    with pytest.raises(UserError, match=r"base/decode_greedy_test/hyp.ctm:1: is not `utterance channel"):
        confident.page()
