"""ia3_speech.report: results.json to its contract, and the Markdown tables to the letter."""

import json

import pytest
from records import made, put, rates, score, terms, write

from ia3_speech.commands.results import collect, fill
from ia3_speech.scoring.sentences import NOT_IMPROVED


@pytest.fixture(autouse=True)
def made_here(monkeypatch):
    """The files name this command as their provenance."""
    run = {"command": "bash run.sh --seeds 3", "commit": "abc1234", "dirty": True}
    monkeypatch.setattr("ia3_speech.commands.results.provenance", lambda: run)


def full_score(wer: float, baseline: float | None = None) -> dict:
    """With terms and labels."""
    half = baseline and 0.8
    accents = {"scottish": rates(wer, baseline), "caribbean": rates(wer / 2, baseline, clusters=2)}
    labels = {"speaker": {f"s{n}": rates(wer, baseline) for n in range(7)}, "accent": accents}
    by_category = {"drug": terms(wer * 2, half)}
    return score(
        wer, baseline, labels, term_error_rate=wer * 1.5, term_error_rate_ci=[wer, 2 * wer],
        terms=terms(wer * 1.5, half), terms_by_category=by_category,
    )  # fmt: skip


@pytest.fixture
def exp(tmp_path):
    """A base, and ia3_plus with three seeds whose dev WERs are 0.30, 0.20 and 0.25."""

    def system(folder: str, scored: dict, train: dict | None = None) -> None:
        put(tmp_path, f"{folder}/decode_greedy_test", scored)
        write(tmp_path / folder / "decode_greedy_test/inputs.json", made())
        if train:
            write(tmp_path / folder / "inputs.json", made("bash run.sh --seeds 3", "def5678", True))
            write(tmp_path / folder / "train.json", train)
            options = "placements: [key, value]\nlearning_rate: 0.01\nepochs: 8\n"
            (tmp_path / folder / "config.yaml").write_text(options)

    system("base", full_score(0.4))
    for seed, (wer, dev) in enumerate([(0.36, 0.3), (0.3, 0.2), (0.32, 0.25)], 1):
        train = {"trainable": 9216, "seconds": 61.7, "dev_wer": dev, "seed": seed, "epochs": 8}
        train["peak_memory_bytes"] = 3_400_000_000
        system(f"ia3_plus_seed{seed}", full_score(wer, 0.4), train)
    return tmp_path


def results(exp) -> dict:
    return json.loads((exp / "results.json").read_text())


def systems(exp) -> list[tuple]:
    """The name and the seed of each row of results.json."""
    return [(result["name"], result["system_seed"]) for result in results(exp)["results"]]


def filled(exp, block: str, before: str = "") -> str:
    """What `fill` writes into a block of a page in the experiment's folder."""
    page, head = exp / "page.md", f"# Title\n<!-- results {block} -->\n"
    end = "<!-- end of results -->\nprose\n"
    page.write_text(head + before + end)
    fill(page)
    text = page.read_text()
    assert text.startswith(head) and text.endswith(end)
    return text.removeprefix(head).removesuffix(end)


def change_score(file, **fields) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_results_json_and_markdown(exp, capsys):
    collect(exp)
    content = results(exp)
    assert list(content) == ["schema", "results", "warnings", "commit", "dirty", "command"]
    assert (content["schema"], content["warnings"], content["commit"]) == (2, [], "abc1234")
    assert systems(exp) == [("base", None), ("ia3_plus", 1), ("ia3_plus", 2), ("ia3_plus", 3)]
    base, first = content["results"][:2]
    assert (base["adapter"], base["training"], base["changes"]) == (None, None, {})
    names = ("corpus", "system", "system_seed", "search", "scale", "set", "wer", "words", "errors")
    assert [first[name] for name in names] == ["notes", "ia3_plus", 1, "greedy", 1.0, "test", 0.36, 100, 36]
    assert first["compared_with"]["system"] == "base" and first["training"]["trainable"] == 9216
    assert first["changes"]["wer"]["relative_ci"] == pytest.approx([-0.2, 0.0])
    assert capsys.readouterr().out == ""
    text = (exp / "RESULTS.md").read_text()
    assert text.startswith(EXPECTED) and "`bash run.sh --seeds 3` (commit def5678 with changes)" in text


EXPECTED = """\
| test | WER % | change % | CER % | CER change % | term errors % | term errors change % | dev WER % \
| trained | WER % of the seeds |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 40.0 [35.0, 45.0] | – | 10.0 | – | 60.0 [40.0, 80.0] | – | – | – | – |
| ia3_plus (seed 3 of 3) | 32.0 [27.0, 37.0] | -20.0 [-30.0, -10.0] | 8.0 | -20.0 [-30.0, -10.0] | 48.0 \
[32.0, 64.0] | \
-20.0 [-30.0, -10.0] | 25.0 | 9,216 parameters, 62 s, 3.4 GB | 30.0 to 36.0 |

| terms | occurrences | base % | ia3_plus % | change % |
| --- | ---: | ---: | ---: | ---: |
| all | 40 | 60.0 | 48.0 | -40.0 [-50.0, -30.0] |
| drug | 40 | 80.0 | 64.0 | -20.0 [-30.0, -10.0] |

| by label | utterances | words | base WER % | ia3_plus WER % | change % |
| --- | ---: | ---: | ---: | ---: | ---: |
| speaker: median of 7 | 70 | 700 | 40.0 | 32.0 | – |
| accent: scottish | 10 | 100 | 40.0 | 32.0 | -20.0 [-30.0, -10.0] |
| accent: caribbean \\* | 10 | 100 | 20.0 | 16.0 | -60.0 [-70.0, -50.0] |

"""


def test_each_search_is_a_system_of_its_own(exp):
    """Compared with the base with it; with hot words too, with the adapter without them."""
    for folder, scored in (("base", full_score(0.3, 0.4)), ("ia3_plus_seed3", full_score(0.24, 0.3))):
        put(exp, f"{folder}/decode_lm_test", scored)
        (exp / folder / "lm_search.yaml").write_text("lm_weight: 0.5\nword_score: 1.5\n")
    put(exp, "ia3_plus_seed3/decode_hotwords_test", full_score(0.16, 0.24))
    collect(exp)
    assert [result["name"] for result in results(exp)["results"]][4:] == [
        "base + LM", "ia3_plus + LM", "ia3_plus + LM + hot words",
    ]  # fmt: skip
    text = (exp / "RESULTS.md").read_text()
    lines = [line.split(" | ")[:4] for line in text.splitlines()[:7]]
    assert lines[0] == ["| test", "WER %", "change %", "compared with"]
    assert [(line[0], line[1], line[3]) for line in lines[3:]] == [
        ("| ia3_plus (seed 3 of 3)", "32.0 [27.0, 37.0]", "base"),
        ("| base + LM", "30.0 [25.0, 35.0]", "base"),
        ("| ia3_plus + LM (seed 3 of 3)", "24.0 [19.0, 29.0]", "base + LM"),
        ("| ia3_plus + LM + hot words (seed 3 of 3)", "16.0 [11.0, 21.0]", "ia3_plus + LM"),
    ]


OVERLAP = {
    "training": ["data/train"], "speakers": 4, "common_speakers": 0, "sentences": 10, "common_sentences": 6,
    "utterances": 10, "unseen_utterances": 4,
    "warnings": ["6 of 10 sentences of the test set occur in training: the 4 utterances with others"],
}  # fmt: skip


def test_overlap_and_training_without_effect_are_warnings(exp):
    """In results.json and under the table; the sentences that training lacks have a separate table."""
    for place in exp.glob("*/decode_greedy_test/score.json"):
        against = 0.4 if "baseline" in json.loads(place.read_text()) else None
        change_score(place, overlap=OVERLAP, unseen_sentences=rates(0.5 if against else 0.4, against))
    train = json.loads((exp / "ia3_plus_seed3/train.json").read_text())
    write(exp / "ia3_plus_seed3/train.json", train | {"selected_epoch": 0})
    collect(exp)
    content = results(exp)
    assert [(row["set"], row["system"]) for row in content["warnings"]] == [
        ("test", None), (None, "ia3_plus_seed3"),
    ]  # fmt: skip
    assert content["warnings"][0]["text"] == OVERLAP["warnings"][0]
    assert content["warnings"][1]["text"].startswith(NOT_IMPROVED)
    assert content["results"][1]["unseen_sentences"]["wer"] == 0.5
    text = (exp / "RESULTS.md").read_text()
    assert "| ia3_plus | 10 | 100 | base | 40.0 | 50.0 [45.0, 55.0] | +25.0 [+15.0, +35.0] |" in text
    assert text.count("- **Warning:** ") == 2


def test_scores_of_other_data_or_another_baseline_are_left_out(exp, capsys):
    for seed, differing in ((2, {"baseline": rates(0.4) | {"errors": 41}}), (3, {"data_sha256": "2"})):
        change_score(exp / f"ia3_plus_seed{seed}/decode_greedy_test/score.json", **differing)
    collect(exp)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("against another baseline" in line for line in lines)
    assert systems(exp) == [("base", None), ("ia3_plus", 1)]


def test_seeds_of_other_inputs_are_left_out_and_a_mean_of_earlier_ones(exp, capsys):
    """--seeds 3, then another configuration and --seeds 1: the other two say nothing about it."""
    for seed, rate, day in ((1, 0.02, "02"), (2, 0.01, "01"), (3, 0.01, "01")):
        options = {"seed": seed, "learning_rate": rate}
        record = made(options=options, finished=f"2026-01-{day}T00:00:00Z")
        write(exp / f"ia3_plus_seed{seed}/inputs.json", record)
    averaged = {f"{exp}/ia3_plus_seed1/adapter": "sha256"}
    write(exp / "mean/inputs.json", made(inputs=averaged, finished="2026-01-01T00:00:00Z"))
    put(exp, "mean/decode_greedy_test", full_score(0.2, 0.4))
    collect(exp)
    assert capsys.readouterr().err.count(": left out") == 3
    assert systems(exp) == [("base", None), ("ia3_plus", 1)]


def test_fill_replaces_what_stands_in_a_block_and_nothing_else(exp):
    collect(exp)
    table = EXPECTED.split("\n\n")[1] + "\n"
    assert filled(exp, ". terms", "old\n") == filled(exp, ". terms", table) == table


def test_many_categories_of_terms_are_a_csv_file_beside_the_page(exp):
    for file in exp.glob("*/decode_greedy_test/score.json"):
        category = terms(0.5, None if file.parts[-3] == "base" else 0.8)
        change_score(file, terms_by_category=dict.fromkeys([*"abcdefghi", "only in test"], category))
    head, _, *rows = filled(exp, ". terms", "old\n").splitlines()
    assert [row.split(" | ")[0] for row in (head, *rows[:2])] == ["| terms", "| all", "| only in test"]
    name = f"terms_{exp.name}_test.csv"
    assert rows[2:] == ["", f"[All categories of terms]({name}), 11 rows."]
    lines = (exp / name).read_text().splitlines()
    assert lines[0] == "terms,occurrences,base %,ia3_plus %," + ",".join(
        f"ia3_plus change from base %{bound}" for bound in ("", " low", " high")
    )
    assert lines[2] == "a,40,50.0000,50.0000,-37.5000,-47.5000,-27.5000" and len(lines) == 12


@pytest.mark.parametrize("block", ["exp/other", ". training only rate* other", ". forgetting curve"])
def test_fill_leaves_a_block_alone_whose_results_are_elsewhere(exp, capsys, block):
    """What was measured on another machine is worth more than nothing."""
    assert filled(exp, block, "older numbers\n") == "older numbers\n"
    assert "its block stays as it is" in capsys.readouterr().out
