"""ia3_speech.experiments: results.json to its contract, and the Markdown tables to the letter."""

import json

import pytest
from planned import planned

from ia3_speech.cli import UserError
from ia3_speech.experiments.collect import collect, select
from ia3_speech.experiments.pages import fill
from ia3_speech.experiments.plan import Training
from ia3_speech.experiments.remaining import remaining


@pytest.fixture(autouse=True)
def made_here(monkeypatch):
    """What is written says that it was made by this command."""
    found = {"command": "bash run.sh --seeds 3", "commit": "abc1234", "dirty": True}
    monkeypatch.setattr("ia3_speech.experiments.collect.provenance", lambda: found)


def rates(wer: float, baseline: float | None = None) -> dict:
    found = {"wer": wer, "wer_ci": [wer - 0.05, wer + 0.05], "cer": wer / 4, "utterances": 10, "words": 100}
    found |= {"changes": {}, "ci_unit": "speaker", "ci_clusters": 12}
    if baseline:
        change = {"relative": wer / baseline - 1, "relative_ci": [wer / baseline - 1.1, wer / baseline - 0.9]}
        change["baseline"] = baseline
        found["changes"] = {"wer": change, "cer": change, "term_error_rate": change}
    return found


def term(rate: float, baseline: float | None = None) -> dict:
    found = {"reference": 40, "term_error_rate": rate}
    if baseline:
        found["change"] = {
            "relative": rate / baseline - 1,
            "relative_ci": [rate / baseline - 1.1, rate / baseline - 0.9],
        }
    return found


def score(wer: float, baseline: float | None = None) -> dict:
    half = baseline and 0.8
    return rates(wer, baseline) | {
        "ci_unit": "speaker",
        "ci_clusters": 4,
        "term_error_rate": wer * 1.5,
        "term_error_rate_ci": [wer, 2 * wer],
        "terms": term(wer * 1.5, half),
        "terms_by_category": {"drug": term(wer * 2, half)},
        "by_label": {
            "speaker": {f"s{n}": rates(wer, baseline) for n in range(7)},
            "accent": {
                "scottish": rates(wer, baseline),
                "caribbean": rates(wer / 2, baseline) | {"ci_clusters": 2},
            },
        },
        **(
            {
                "baseline": rates(baseline),
                "mapsswe": {"segments": 30, "z": 2.5, "p": 0.0124},
                "wer_bootci": {
                    "system": {"wer": wer, "margin": 0.02},
                    "baseline": {"wer": baseline, "margin": 0.03},
                    "improvement": 0.9876,
                },
            }
            if baseline
            else {}
        ),
    }


MARKER = "key 0123456789abcdef\nseconds 9\ncommit {}\ndirty {}\ncommand bash run.sh{}\n"


@pytest.fixture
def exp(tmp_path):
    """A base, and ia3 with three seeds whose dev WERs are 0.30, 0.20 and 0.25."""

    def put(folder: str, scored: dict, train: dict | None = None) -> None:
        decoded = tmp_path / folder / "decode_greedy_test"
        decoded.mkdir(parents=True)
        (decoded / "score.json").write_text(json.dumps({"schema": 1, **scored}))
        (decoded / ".done").write_text(MARKER.format("abc1234", "false", ""))
        if train:
            (tmp_path / folder / ".done").write_text(MARKER.format("def5678", "true", " --seeds 3"))
            (tmp_path / folder / "train.json").write_text(json.dumps(train))
            (tmp_path / folder / "config.yaml").write_text(
                "placements: [key, value]\nlearning_rate: 0.01\nepochs: 8\n"
            )

    put("base", score(0.4))
    for seed, (wer, dev) in enumerate([(0.36, 0.3), (0.3, 0.2), (0.32, 0.25)], 1):
        train = {"trainable": 9216, "seconds": 61.7, "dev_wer": dev, "seed": seed, "epochs": 8}
        put(f"ia3_seed{seed}", score(wer, 0.4), train)
    return planned(tmp_path)


def test_results_json(exp, capsys):
    collect(exp)
    found = json.loads((exp / "results.json").read_text())
    assert list(found) == ["schema", "systems", "pairs", "warnings", "commit", "dirty", "command"]
    assert found["warnings"] == []
    assert (found["schema"], found["commit"], found["dirty"]) == (1, "abc1234", True)
    assert found["command"] == "bash run.sh --seeds 3"
    assert [(one["name"], one["seed"]) for one in found["systems"]] == [
        ("base", None),
        ("ia3", 1),
        ("ia3", 2),
        ("ia3", 3),
    ]
    base, first = found["systems"][:2]
    assert (base["adapter"], base["trainable"], base["seconds"]) == (None, 0, 0.0)
    assert first == {  # the contract, and no more
        "name": "ia3",
        "adapter": f"{exp}/ia3_seed1/adapter",
        "set": "test",
        "seed": 1,
        "wer": 0.36,
        "wer_ci": [0.31, 0.41],
        "ci_unit": "speaker",
        "cer": 0.09,
        "words": 100,
        "utterances": 10,
        "term_error_rate": 0.54,
        "trainable": 9216,
        "seconds": 61.7,
    }
    assert [(one["set"], one["baseline"], one["system"], one["seed"]) for one in found["pairs"]] == [
        ("test", "base", "ia3", seed) for seed in (1, 2, 3)
    ]
    assert list(found["pairs"][0]) == ["set", "baseline", "system", "seed", "relative", "relative_ci"]
    assert found["pairs"][0]["relative"] == pytest.approx(-0.1)
    assert found["pairs"][0]["relative_ci"] == pytest.approx([-0.2, 0.0])
    assert capsys.readouterr().out == (exp / "RESULTS.md").read_text()


def test_markdown(exp):
    collect(exp)
    assert (exp / "RESULTS.md").read_text() == EXPECTED


EXPECTED = """\
| test | WER % | change % | CER % | change % | term errors % | change % | dev WER % | trained | WER % of \
the seeds |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 40.0 [35.0, 45.0] | – | 10.0 | – | 60.0 [40.0, 80.0] | – | – | – | – |
| ia3 (seed 3 of 3) | 32.0 [27.0, 37.0] | -20.0 [-30.0, -10.0] | 8.0 | -20.0 [-30.0, -10.0] | 48.0 \
[32.0, 64.0] | \
-20.0 [-30.0, -10.0] | 25.0 | 9,216 parameters, 62 s | 30.0 to 36.0 |

| terms | occurrences | base % | ia3 % | change % |
| --- | ---: | ---: | ---: | ---: |
| all | 40 | 60.0 | 48.0 | -40.0 [-50.0, -30.0] |
| drug | 40 | 80.0 | 64.0 | -20.0 [-30.0, -10.0] |

| by label | utterances | words | base WER % | ia3 WER % | change % |
| --- | ---: | ---: | ---: | ---: | ---: |
| speaker: median of 7 | 70 | 700 | 40.0 | 32.0 | – |
| accent: scottish | 10 | 100 | 40.0 | 32.0 | -20.0 [-30.0, -10.0] |
| accent: caribbean \\* | 10 | 100 | 20.0 | 16.0 | -60.0 [-70.0, -50.0] |

\\* fewer than 10 speakers (for a single speaker, utterances are drawn): the interval is too narrow.

- test: 10 utterances, 100 words. In brackets 95 % intervals of a bootstrap over 4 speakers; changes are \
relative \
to the base on the same draws, negative is better. With so few the intervals are too narrow.
- Matched pairs test (MAPSSWE) of ia3 against the base: 30 segments, z = 2.50, p = 0.012. Kaldi's bootstrap \
over utterances: 40.0 [37.0, 43.0] and 32.0 [30.0, 34.0], better in 98.76 % of the draws.
- base: `bash run.sh` (commit abc1234).
- ia3: `bash run.sh --seeds 3` (commit def5678 with changes).
"""


def test_base_and_adapter_with_a_language_model_are_systems_of_their_own(exp):
    """Compared with the base with it; only the adapter that is shown; gone when a run has none."""
    for folder, scored in (("base", score(0.3, 0.4)), ("ia3_seed3", score(0.24, 0.3)),
                           ("ia3_seed1", score(0.2, 0.3))):  # fmt: skip
        decoded = exp / folder / "decode_lm_test"
        decoded.mkdir()
        (decoded / "score.json").write_text(json.dumps({"schema": 1, **scored}))
        (decoded / ".done").write_text(MARKER.format("abc1234", "false", " --lm own"))
        (exp / folder / "lm_search.yaml").write_text("lm_weight: 0.5\nword_score: 1.5\n")
    parts = {"/home/ann/data/own/train": 0.75, "/home/ann/mini/lm.arpa.gz": 0.25}
    dev = {"perplexity": 12.34, "words": 310, "unknown_words": 3}
    summary = {"order": 3, "ngrams": [9, 9, 9], "weights": parts, "dev": dev}
    (exp / "lm.json").write_text(json.dumps(summary))
    collect(planned(exp, language_model=True))
    found = json.loads((exp / "results.json").read_text())
    assert [(one["name"], one["seed"]) for one in found["systems"]][4:] == [
        ("base + LM", None),
        ("ia3 + LM", 3),
    ]
    assert [one.get("language_model", False) for one in found["systems"]] == [False] * 4 + [True] * 2
    assert [(one["baseline"], one["system"]) for one in found["pairs"]][3:] == [
        ("base", "base + LM"), ("base + LM", "ia3 + LM"),
    ]  # fmt: skip
    text = (exp / "RESULTS.md").read_text()
    rows = [line.split(" | ")[:4] for line in text.splitlines()[:6]]
    assert rows[0] == ["| test", "WER %", "change %", "compared with"]
    assert [row[0] for row in rows[2:]] == [
        "| base",
        "| ia3 (seed 3 of 3)",
        "| base + LM",
        "| ia3 + LM (seed 3 of 3)",
    ]
    assert rows[4][1:] == ["30.0 [25.0, 35.0]", "-25.0 [-35.0, -15.0]", "base"]
    assert rows[5][1:] == ["24.0 [19.0, 29.0]", "-20.0 [-30.0, -10.0]", "base + LM"]
    assert "| ia3 + LM WER % | change from base + LM % |" in text
    assert (
        "- Language model: 3-grams, 0.75 of own/train and 0.25 of mini/lm.arpa.gz, weights chosen on dev "
        "(perplexity 12.3; 3 of 310 words unknown). Search weights chosen on dev: base + LM 0.5 and 1.5 a "
        "word, ia3 + LM 0.5 and 1.5 a word.\n"
    ) in text
    assert "of ia3 + LM against base + LM: 30 segments" in text
    decoded = exp / "ia3_seed3/decode_hotwords_test"
    decoded.mkdir()
    with_hotwords = score(0.16, 0.2)
    alone = json.loads((exp / "ia3_seed3/decode_greedy_test/score.json").read_text())
    with_hotwords["baseline"] = {"wer": alone["wer"], "words": alone["words"]}
    (decoded / "score.json").write_text(json.dumps({"schema": 1, **with_hotwords}))
    collect(planned(exp, language_model=True, hotwords=True))
    found = json.loads((exp / "results.json").read_text())
    assert (found["systems"][-1]["name"], found["systems"][-1]["hotwords"]) == ("ia3 + LM + hot words", True)
    assert found["pairs"][-1]["baseline"] == "ia3"
    text = (exp / "RESULTS.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| ia3 + LM + hot words")).split(" | ")
    assert row[:4] == ["| ia3 + LM + hot words (seed 3 of 3)", "16.0 [11.0, 21.0]", row[2], "ia3"]
    collect(planned(exp, language_model=True))
    assert "hot words" not in (exp / "RESULTS.md").read_text()
    collect(planned(exp))
    assert "LM" not in (exp / "RESULTS.md").read_text()


OVERLAP = {
    "training": ["data/train"], "speakers": 4, "common_speakers": 0, "sentences": 10, "common_sentences": 6,
    "utterances": 10, "unseen_utterances": 4,
    "warnings": ["6 of 10 sentences of the test set occur in training: the 4 utterances with others"],
}  # fmt: skip


def test_word_confidences_of_each_system_and_set(exp):
    """Where they were written; the seed that is shown, and out-of-domain speech last."""
    scaling = {"temperature": 1.0, "slope": 0.5, "bias": 1.0}
    for place, scaled in (("base", None), ("ia3_seed3", scaling)):
        found = {"scaling": scaled, "words": 80, "errors": 24, "calibration_error": 0.051, "area": 0.875}
        found |= {"found": 0.25, "found_ci": [0.2, 0.314]}
        file = exp / place / "decode_greedy_test/score.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"confidences": found}))
    other = exp / "base/decode_greedy_out_of_domain"
    other.mkdir()
    (other / "score.json").write_text(json.dumps({"schema": 1, **score(0.2), "confidences": found}))
    page = exp / "page.md"
    page.write_text("<!-- results . confidences -->\n<!-- end of results -->\n")
    fill(page)
    assert page.read_text().splitlines()[1:-1] == [
        "| word confidences | set | words | wrong % | calibration error % | "
        "errors in the least certain 10 %, % of all | area under ROC % | calibrated |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| base | test | 80 | 30.0 | 5.1 | 25 [20, 31] | 87.5 | no |",
        "| ia3 | test | 80 | 30.0 | 5.1 | 25 [20, 31] | 87.5 | yes |",
        "| base | out_of_domain | 80 | 30.0 | 5.1 | 25 [20, 31] | 87.5 | yes |",
    ]


def test_overlap_and_training_without_effect_are_warnings(exp):
    """In results.json and under the table; the sentences that training lacks have a table of their own."""
    for place in exp.glob("*/decode_greedy_test/score.json"):
        found = json.loads(place.read_text())
        against = 0.4 if "baseline" in found else None
        unseen = rates(0.5 if against else 0.4, against) | {"term_error_rate": None}
        place.write_text(json.dumps(found | {"overlap": OVERLAP, "unseen_sentences": unseen}))
    train = json.loads((exp / "ia3_seed3/train.json").read_text())
    (exp / "ia3_seed3/train.json").write_text(json.dumps(train | {"selected_epoch": 0}))
    collect(exp)
    found = json.loads((exp / "results.json").read_text())
    start = "no epoch improved on the start, so the adapter is as it started (try a lower --learning-rate)"
    assert found["warnings"] == [
        {"set": "test", "system": None, "text": OVERLAP["warnings"][0]},
        {"set": None, "system": "ia3_seed3", "text": start},
    ]
    assert found["systems"][1]["unseen_sentences"]["wer"] == 0.5
    assert (exp / "RESULTS.md").read_text().split("\n\n")[1:3] == [
        "| test, sentences not in training | utterances | words | compared with | WER % before | after | "
        "change % |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| ia3 | 10 | 100 | base | 40.0 | 50.0 [45.0, 55.0] | +25.0 [+15.0, +35.0] |",
        f"- **Warning:** {OVERLAP['warnings'][0]}.\n- **Warning:** ia3_seed3: {start}.",
    ]


def test_a_warning_names_the_systems_that_it_is_about(exp):
    """Adapters of speakers are trained on other sentences each; what is true of all systems names none."""
    for seed, common in ((1, 6), (2, 0), (3, 6)):
        place = exp / f"ia3_seed{seed}/decode_greedy_test/score.json"
        warnings = OVERLAP["warnings"] if common else []
        overlap = OVERLAP | {"common_sentences": common, "warnings": warnings, "by_speaker": True}
        place.write_text(json.dumps(json.loads(place.read_text()) | {"overlap": overlap}))
    collect(exp)
    named = [one["system"] for one in json.loads((exp / "results.json").read_text())["warnings"]]
    assert named == ["ia3_seed1", "ia3_seed3"]
    text = (exp / "RESULTS.md").read_text()
    assert f"- **Warning:** ia3_seed1: {OVERLAP['warnings'][0]}.\n" in text
    assert "No sentence" not in text


def test_a_test_set_without_training_sentences_says_so(exp):
    for place in exp.glob("*/decode_greedy_test/score.json"):
        overlap = OVERLAP | {"common_sentences": 0, "warnings": []}
        found = json.loads(place.read_text()) | {"overlap": overlap, "unseen_sentences": None}
        place.write_text(json.dumps(found))
    collect(exp)
    text = (exp / "RESULTS.md").read_text()
    assert "\n- No sentence of test occurs in training.\n" in text and "Warning" not in text


TRAINING = """\
| trained | placements | learning rate | epochs | seeds | dev WER % | of the seeds | parameters | s a seed |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| ia3_rate3e-3 | key, value | 0.003 | 8 | 1 | 10.0 | – | 9,216 | 30 |
| ia3 | key, value | 0.01 | 8 | 3 | 25.0 | 20.0 to 30.0 | 9,216 | 62 |
"""


def test_what_was_trained_by_dev_alone(exp, capsys):
    """The learning-rate sweep: nothing of it is decoded on a test set, and the best stands first."""
    folder = exp / "ia3_rate3e-3_seed1"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps({"trainable": 9216, "seconds": 30.2, "dev_wer": 0.1}))
    (folder / "config.yaml").write_text("placements: [key, value]\nlearning_rate: 0.003\nepochs: 8\n")
    page = exp / "page.md"
    page.write_text("<!-- results . training only ia3* -->\n<!-- end of results -->\n")
    fill(page)
    assert page.read_text() == f"<!-- results . training only ia3* -->\n{TRAINING}<!-- end of results -->\n"
    collect(exp)
    assert {one["name"] for one in json.loads((exp / "results.json").read_text())["systems"]} == {
        "base",
        "ia3",
    }


def test_projected_time(exp, tmp_path, capsys):
    remaining(exp, 12)
    remaining(exp / "base", 12)
    two_more = Training("ia3_seedJOB", 5, "--train data/train")
    remaining(planned(exp, train=(two_more,)))
    remaining(planned(tmp_path / "new", train=(two_more,)))
    remaining(planned(exp, train=(Training("ia3_seedJOB", 3, ""),)))
    assert capsys.readouterr().out == (
        "12 trainings left, 62 s each so far: 0.2 hours\n"
        "12 trainings left; the first one will tell how long one takes\n"
        "2 trainings left, 62 s each so far: 0.0 hours\n"
        "5 trainings left; the first one will tell how long one takes\n"
    )


def test_scores_against_an_older_baseline_are_left_out(exp, capsys):
    place = exp / "ia3_seed1/decode_greedy_test/score.json"
    outdated = json.loads(place.read_text())
    outdated["baseline"]["wer"] = 0.41
    place.write_text(json.dumps(outdated))
    collect(exp)
    assert capsys.readouterr().err == (
        f"{exp}/ia3_seed1: left out on test, another baseline stands there now\n"
    )
    rows = json.loads((exp / "results.json").read_text())["systems"]
    assert [(one["name"], one["seed"]) for one in rows] == [("base", None), ("ia3", 2), ("ia3", 3)]


@pytest.mark.parametrize("changed", ["a category", "how many", "a label's value"])
def test_scores_that_count_other_terms_or_labels_are_left_out(exp, capsys, changed):
    place = exp / "base/decode_greedy_test/score.json"
    now = json.loads(place.read_text())
    if changed == "a category":
        now["terms_by_category"]["icd"] = term(0.5)
    elif changed == "how many":
        now["terms_by_category"]["drug"]["reference"] = 41
    else:
        now["by_label"]["accent"]["welsh"] = rates(0.4)
    place.write_text(json.dumps(now))
    collect(exp)
    said = capsys.readouterr()
    assert said.err.count("left out on test, another baseline stands there now\n") == 3
    assert "| ia3" not in said.out


def test_seeds_of_other_inputs_are_left_out(exp, capsys):
    """--seeds 3, then another configuration and --seeds 1: the other two say nothing about it."""
    marker = exp / "ia3_seed1/.done"
    for seed in (1, 2, 3):
        old = (exp / f"ia3_seed{seed}/.done").read_text() + "finished 2026-01-01T00:00:00Z\n"
        (exp / f"ia3_seed{seed}/.done").write_text(old)
    marker.write_text(marker.read_text().replace("key 0123", "key abcd").replace("2026-01", "2026-02"))
    collect(planned(exp, "ia3_seed1", seeds=1))
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"{exp}/ia3_seed{seed}: left out, other seeds were made of other inputs since" for seed in (2, 3)
    ]
    rows = json.loads((exp / "results.json").read_text())["systems"]
    assert [(one["name"], one["seed"]) for one in rows] == [("base", None), ("ia3", 1)]


def test_what_a_run_was_not_asked_for_is_left_out(exp, capsys):
    """--seeds 3, then --seeds 2: table, page and registered adapter are of the same seed."""
    collect(planned(exp, "ia3_seed1 ia3_seed2", seeds=2))
    said = capsys.readouterr()
    assert said.err == f"{exp}/ia3_seed3: left out, this run wasn't asked for it\n"
    assert "| ia3 (seed 2 of 2) |" in said.out
    select(exp)
    assert capsys.readouterr().out == "ia3_seed2\n"


def test_a_page_is_filled_with_the_seeds_of_the_last_run(exp, capsys):
    collect(planned(exp, "ia3_seed1 ia3_seed2", seeds=2))
    page = exp / "page.md"
    page.write_text("<!-- results . systems -->\n<!-- end of results -->\n")
    fill(page)
    assert "| ia3 (seed 2 of 2) |" in page.read_text()


def test_the_mean_of_seeds_is_a_system_of_its_own(exp, capsys):
    """With what all of its seeds took, its dev WER as decoded, and no table for dev; gone with its seeds."""
    for set_name, found in {"test": score(0.28, 0.4), "dev": {**score(0.19), "changes": {}}}.items():
        decoded = exp / f"ia3_average/decode_greedy_{set_name}"
        decoded.mkdir(parents=True)
        (decoded / "score.json").write_text(json.dumps({"schema": 1, **found}))
        (decoded / ".done").write_text(MARKER.format("def5678", "false", " --average true"))
    train = {"average_of": "0123456789abcdef", "trainable": 9216, "seconds": 185.0}
    (exp / "ia3_average/train.json").write_text(json.dumps(train))
    collect(planned(exp, "ia3_seed1 ia3_seed2 ia3_seed3 ia3_average"))
    said = capsys.readouterr()
    row = "| ia3_average | 28.0 [23.0, 33.0] | -30.0 [-40.0, -20.0] | 7.0 | -30.0 [-40.0, -20.0] | "
    assert f"\n{row}" in said.out and "| 19.0 | 9,216 parameters, 185 s | – |\n" in said.out
    assert "| dev |" not in said.out and said.err == ""
    rows = json.loads((exp / "results.json").read_text())["systems"]
    assert [(one["name"], one["set"]) for one in rows if "average" in one["name"]] == [
        ("ia3_average", "test")
    ]
    assert rows[1]["adapter"] == f"{exp}/ia3_average/adapter"
    (exp / "ia3_average/train.json").write_text(json.dumps(train | {"average_of": "another"}))
    collect(exp)
    said = capsys.readouterr()
    changed = f"{exp}/RESULTS.md: was made from other inputs (changed: scores) and is made again\n"
    assert said.err == f"{changed}{exp}/ia3_average: left out, other seeds were made of other inputs since\n"
    assert "ia3_average" not in said.out


def test_median_of_seeds(exp, capsys):
    for seeds, expected in ((1, 1), (2, 2), (3, 3)):
        select(planned(exp, seeds=seeds))
        assert capsys.readouterr().out == f"ia3_seed{expected}\n"
    for average, trained, expected in ((True, False, "ia3_average"), (True, True, "ia3_seed3")):
        select(planned(exp, average=average), trained=trained)
        assert capsys.readouterr().out == f"{expected}\n"


def test_fill_replaces_what_stands_in_a_block_and_nothing_else(exp, capsys):
    collect(exp)
    page = exp / "page.md"
    page.write_text("# Title\n<!-- results . terms -->\nold\n<!-- end of results -->\nprose 40.0\n")
    fill(page)
    table = EXPECTED.split("\n\n")[1]
    filled = f"# Title\n<!-- results . terms -->\n{table}\n<!-- end of results -->\nprose 40.0\n"
    assert page.read_text() == filled
    fill(page)
    assert page.read_text() == filled


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("exp/other", "/exp/other: not there, its block stays as it is\n"),
        (". training only ia3_rate* other", ": has nothing of ia3_rate* other, its block stays as it is\n"),
    ],
)
def test_fill_leaves_a_block_alone_whose_results_are_elsewhere(exp, capsys, block, said):
    """What was measured on another machine is worth more than nothing."""
    page = exp / "page.md"
    kept = f"<!-- results {block} -->\nolder numbers\n<!-- end of results -->\n"
    page.write_text(kept)
    fill(page)
    assert page.read_text() == kept
    assert f"{exp}{said}" in capsys.readouterr().out


def test_fill_takes_some_systems(exp, capsys):
    collect(exp)
    page = exp / "page.md"
    page.write_text("<!-- results . systems only ia3_seed1 -->\n<!-- end of results -->\n")
    fill(page)
    assert "| ia3 |" in page.read_text() and "of the seeds" not in page.read_text()


def test_errors_name_the_cure(exp, tmp_path):
    page = exp / "page.md"
    page.write_text("no block\n")
    with pytest.raises(UserError, match=r"page\.md: no block to fill \(<!-- results exp/CORPUS -->"):
        fill(page)
    page.write_text("<!-- results . graphs -->\n<!-- end of results -->\n")
    with pytest.raises(UserError, match="a block asks for 'graphs'"):
        fill(page)
    with pytest.raises(UserError, match=r"train\.json: not there yet"):
        select(planned(exp, seeds=4))
