"""egs/accent_times_domain: its tables, and the record of its results."""

import json

import pytest
from corpus_files import noise, write_table

from ia3_speech.commands import score as scoring
from ia3_speech.common.atomic import write_json
from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "accent_times_domain"
MODULES = ("study",)

SAID = {"a-1": "one two three four", "a-2": "five six", "b-1": "seven eight nine ten"}
HEARD = {  # one word wrong for each x
    "base": [("x x three four", "x six", "x x x ten")],
    "accent": [("one x three four", "x six", "x x nine ten"), ("x x three four", "five six", "x x nine ten")],
    "domain": [("x x three four", "five six", "x x nine ten")] * 2,
    "sum": [
        ("one two three four", "five six", "x x nine ten"),
        ("one x three four", "five six", "x x x ten"),
    ],
    "half": [("one x three four", "five six", "x x nine ten")] * 2,
}


SETS = {  # name → the recipe's EXP, its name there, and the system whose adapter was trained there
    "test_adults": ("speechocean762", "test_adults", "accent"),
    "test_children": ("speechocean762", "test_children", "accent"),
    "test_orders": ("barista_orders", "test", "domain"),
}


@pytest.fixture
def work(tmp_path):
    """What both recipes and stage 7 leave: three sets of the same texts, and the systems of HEARD."""
    source = str(noise(tmp_path / "a.wav"))
    for recipe, text in (("speechocean762", "ONE two three four"), ("barista_orders", "something else")):
        heard = [Utterance("c-1", "c", "c-1", source, text=text)]
        write_data_directory(tmp_path / "data" / recipe / "train", heard)
        for seed in (1, 2):
            write_json(tmp_path / f"exp/{recipe}/ia3_plus_seed{seed}/train.json", {"dev_wer": seed / 10})
    for recipe, name, _ in SETS.values():
        said = [Utterance(id, id[0], id, source, text=text) for id, text in SAID.items()]
        write_data_directory(tmp_path / "data" / recipe / name, said)
    for set_name, (recipe, name, trained) in SETS.items():
        base = tmp_path / f"exp/{recipe}/base/decode_greedy_{name}"
        for system, seeds in HEARD.items():
            for seed, texts in enumerate(seeds, 1):
                folder = tmp_path / f"exp/real/{system}_seed{seed}/decode_greedy_{set_name}"
                if system in ("base", trained):
                    part = "base" if system == "base" else f"ia3_plus_seed{seed}"
                    folder = tmp_path / f"exp/{recipe}/{part}/decode_greedy_{name}"
                write_table(folder / "text", dict(zip(SAID, texts, strict=True)))
                data = tmp_path / "data" / recipe / name
                scoring.main(
                    data, folder, None if system == "base" else base, training=[data.with_name("train")]
                )
    return tmp_path


ROWS = """\
| accent | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | – | +0.0 [+0.0, +0.0] | 37.0 | 40.0 to 40.0 |
| domain | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | +0.0 [+0.0, +0.0] | – | 34.8 | 40.0 to 40.0 |
| accent+domain | 20.0 [0.0, 50.0] | -66.7 [-100.0, -33.3] | -50.0 [-100.0, +0.0] | -50.0 [-100.0, +0.0] | \
21.7 | 20.0 to 40.0 |
"""


def test_the_tables_and_results_json(local, work, capsys):
    """A sentence of the training of either part is a warning, and the utterances with others have a table."""
    options = dict.fromkeys(("accent_corpus", "domain_corpus", "work_dir"), work)
    options |= {"out_of_domain": "none", "stage": 8}
    capsys.readouterr()
    local.study.main(local.study.Options(seeds=2, **options))
    text = (work / "exp/real/RESULTS.md").read_text()
    assert capsys.readouterr().out == text
    assert ROWS in text and "| accent+domain | z = 4.00, p = 6.3e-05 | z = 2.00, p = 0.046 | " in text
    assert "\n| domain | 33.3 [0.0, 50.0] | -50.0 [-100.0, -33.3] | -33.3 [-100.0, +0.0] | – | " in text
    assert "**Warning:** 1 of 3 sentences of the test set occur in training: the 2 utterances with" in text
    results = json.loads((work / "exp/real/results.json").read_text())
    adults = [row for row in results["systems"] if row["set"] == "test_adults"]
    assert [(row["system"], row["seed"], row["wer"]) for row in adults] == [
        ("base", None, 0.6), ("accent", 1, 0.4), ("accent", 2, 0.4), ("domain", 1, 0.4), ("domain", 2, 0.4),
        ("sum", 1, 0.2), ("sum", 2, 0.4), ("half", 1, 0.3), ("half", 2, 0.3),
    ]  # fmt: skip
    assert len([row for row in results["pairs"] if row["set"] == "test_adults"]) == 2 + 2 + 3 + 3
