"""egs/accent_times_domain: its sentences and sets, its tables to the letter, both parts of it small."""

import json
import os
import re
import subprocess
import sys
from itertools import chain

import bench
import pytest
from warm_python import path_with_warm_python

from ia3_speech import IA3Config, attach, decode, load_base, save_adapter
from ia3_speech import score as scoring
from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.experiments.pages import fill
from ia3_speech.model.attach import trainable

RECIPE = "accent_times_domain"
FOLDER = bench.ROOT / "egs" / RECIPE
DICTATION = str(bench.ROOT / "egs/medical_dictation/local")
MODULES = ("prepare_espeak", "compare", "prepare", "grammar", "wording")


@pytest.fixture(scope="module")
def local():
    sys.path.insert(0, DICTATION)
    try:
        with bench.local(RECIPE, *MODULES) as modules:
            yield modules
    finally:
        sys.path.remove(DICTATION)


# ---- sentences and sets


def test_everyday_sentences(local):
    """Thousands of different ones, of every pattern, that any character model can write; nothing medical."""
    drawn = list(local.prepare_espeak.made_up(3000))
    texts = {sentence.text for sentence in drawn}
    assert len(texts) == 3000
    assert all(re.fullmatch(r"[a-z']+( [a-z']+){2,19}", text) for text in texts)
    patterns = local.grammar.read_sections(local.prepare_espeak.EVERYDAY).patterns
    assert {sentence.pattern for sentence in drawn} == set(patterns)
    assert {*"abcdefghijklmnopqrstuvwxyz"} <= set("".join(texts))
    terms = set(local.prepare.Grammar(local.prepare.HERE).terms)
    assert not terms & {word for text in texts for word in text.split()}


@pytest.fixture(scope="module")
def sets(local, tmp_path_factory):
    out = tmp_path_factory.mktemp("sets")
    local.prepare_espeak.main(out, size="small")
    places = ("test_caribbean", "test_scottish", *(f"{name}/{side}" for name in
              ("domain", "accent_caribbean", "accent_scottish", "both_caribbean", "both_scottish")
              for side in ("train", "dev")))  # fmt: skip
    return {place: read_data_directory(out / place) for place in places}


def of(data, label: str) -> set[str]:
    return {one.labels[label] for one in data}


def test_accents_and_voices_of_the_sets(local, sets):
    from ia3_speech.data.corpora.espeak import ACCENTS, UNHEARD_ACCENTS, UNHEARD_VARIANTS

    assert set(local.prepare_espeak.NEW_ACCENTS.values()) == set(UNHEARD_ACCENTS)
    assert set(local.prepare_espeak.KNOWN_ACCENTS.values()) == set(ACCENTS)
    for name in ("caribbean", "scottish"):
        for place in (f"accent_{name}/train", f"accent_{name}/dev", f"test_{name}"):
            assert of(sets[place], "accent") == {name}
        assert of(sets[f"test_{name}"], "voice") == set(UNHEARD_VARIANTS)
    assert not of(sets["domain/train"], "accent") & {"caribbean", "scottish"}
    for name in ("domain", "accent_scottish"):
        train, dev = (of(sets[f"{name}/{side}"], "voice") for side in ("train", "dev"))
        assert not train & dev
        assert not (train | dev) & set(UNHEARD_VARIANTS)


def test_no_sentence_is_in_two_sets_and_both_is_the_union(sets):
    said = {place: {one.text for one in data} for place, data in sets.items()}
    for name in ("caribbean", "scottish"):
        apart = [said[f"{part}/{side}"] for part in (f"accent_{name}", "domain") for side in ("train", "dev")]
        apart.append(said[f"test_{name}"])
        assert len(set(chain(*apart))) == sum(map(len, apart)) == 18 + 6 + 12 + 6 + 12
        for side in ("train", "dev"):
            parts = [*sets[f"accent_{name}/{side}"], *sets[f"domain/{side}"]]
            assert {one.id: (one.text, one.source) for one in sets[f"both_{name}/{side}"]} == {
                one.id: (one.text, one.source) for one in parts
            }
    assert said["test_caribbean"] == said["test_scottish"]


def test_sentences_of_a_file(local, tmp_path):
    lines = [f"the {number} tall\ttrees fell" for number in range(24)]
    (tmp_path / "some.txt").write_text("\n".join(["two words", lines[0].upper(), "", *lines]) + "\n")
    found = [sentence.text for sentence in local.prepare_espeak.lines_of(tmp_path / "some.txt")]
    assert sorted(found) == sorted(line.replace("\t", " ") for line in lines)
    counts = local.prepare_espeak.COUNTS["small"]["everyday"]
    divided = local.prepare_espeak.divide(found, counts, tmp_path / "some.txt")
    assert {side: len(texts) for side, texts in divided.items()} == counts
    with pytest.raises(UserError, match=r"some\.txt: holds 23 different sentences of 3 to 20 words, and 24 "):
        local.prepare_espeak.divide(found[1:], counts, tmp_path / "some.txt")
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        local.prepare_espeak.lines_of(tmp_path / "none.txt")


# ---- the comparison, on texts made by hand

SAID = {"a-1": "one two three four", "a-2": "five six", "b-1": "seven eight nine ten"}
HEARD = {  # one word wrong for each x
    "base": [("x x three four", "x six", "x x x ten")],
    "accent": [("one x three four", "x six", "x x nine ten"), ("x x three four", "five six", "x x nine ten")],
    "domain": [("x x three four", "five six", "x x nine ten")] * 2,
    "sum": [
        ("one two three four", "five six", "x x nine ten"),
        ("one x three four", "five six", "x x x ten"),
    ],
}


@pytest.fixture
def scored(local, tmp_path):
    """exp and data with one set; the systems of HEARD, and a product that was refused."""
    exp, data = tmp_path / "exp", tmp_path / "data/test_orders"
    bench.noise(tmp_path / "a.wav")
    write_data_directory(
        data, [Utterance(id, id[0], id, str(tmp_path / "a.wav"), text=text) for id, text in SAID.items()]
    )
    for system, seeds in HEARD.items():
        for seed, texts in enumerate(seeds, 1):
            folder = (
                exp / ("base" if system == "base" else f"{system}_seed{seed}") / "decode_greedy_test_orders"
            )
            folder.mkdir(parents=True)
            lines = (f"{id} {text}\n" for id, text in zip(SAID, texts, strict=True))
            (folder / "text").write_text("".join(lines))
            (folder / ".done").write_text("key 1\ncommit abc1234\ndirty false\ncommand bash run.sh\n")
            adapter = None if system == "base" else {"name": f"{system}+", "path": system}
            if system == "sum":
                del adapter["path"]
            write_json(folder / "decode.json", {"adapter": adapter})
            scoring.main(data, folder, None if system == "base" else exp / "base" / folder.name)
    refused = exp / "product_seed2/of_people/refused"
    refused.parent.mkdir(parents=True)
    refused.write_text("domain: layer 1, ffn holds -0.5, and the method log needs positive numbers\n")
    return exp


EXPECTED = """\
| test_orders | WER % | against base % | against accent % | against domain % | CER % | WER % of the seeds \
|
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 60.0 [50.0, 75.0] | – | – | – | 52.2 | – |
| accent | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | – | +0.0 [+0.0, +0.0] | 35.9 | 40.0 to 40.0 |
| domain | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | +0.0 [+0.0, +0.0] | – | 34.8 | 40.0 to 40.0 |
| accent+domain | 30.0 [8.3, 62.5] | -50.0 [-83.3, -16.7] | -25.0 [-75.0, +25.0] | -25.0 [-75.0, +25.0] | \
29.3 | 20.0 to 40.0 |

| MAPSSWE, test_orders | against base | against accent | against domain |
| --- | ---: | ---: | ---: |
| accent | z = 2.00, p = 0.046 | – | z = 0.00, p = 1 |
| domain | z = 2.00, p = 0.046 | z = 0.00, p = 1 | – |
| accent+domain | z = 2.00, p = 0.046 | z = 0.00, p = 1 | z = 0.00, p = 1 |

- test_orders: 3 utterances, 10 words. In brackets 95 % intervals of a bootstrap over 2 speakers; changes \
are relative, on the same draws, and negative is better.
- Rates are those of 2 seeds together; seed s is compared with seed s.
- MAPSSWE: with a positive z the system makes fewer errors; of the seeds, the one with the largest p.
- No accent × domain of people: domain: layer 1, ffn holds -0.5, and the method log needs positive \
numbers.
- base, accent, domain, accent+domain: `bash run.sh` (commit abc1234).
"""


def test_tables(local, scored, capsys):
    capsys.readouterr()
    local.compare.main(scored, scored.parent / "data", "test_orders", seeds=2)
    assert capsys.readouterr().out == (scored / "RESULTS.md").read_text() == EXPECTED


UNSEEN = """\
| test_orders, sentences not in training | WER % | against base % | against accent % | against domain % | \
CER % | WER % of the seeds |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 66.7 [50.0, 75.0] | – | – | – | 64.3 | – |
| accent | 41.7 [25.0, 50.0] | -37.5 [-50.0, -33.3] | – | +25.0 [+0.0, +25.0] | 42.9 | 33.3 to 50.0 |
| domain | 33.3 [0.0, 50.0] | -50.0 [-100.0, -33.3] | -20.0 [-100.0, +0.0] | – | 35.7 | 33.3 to 33.3 |
| accent+domain | 41.7 [0.0, 62.5] | -37.5 [-100.0, -16.7] | +0.0 [-100.0, +25.0] | +25.0 [+25.0, +25.0] | \
42.9 | 33.3 to 50.0 |"""


def test_sentences_of_the_training_of_either_part(local, scored):
    """They are a warning in both files, and the others have a table: those of a-2 and b-1."""
    data = scored.parent / "data"
    for part, text in (("accent", "ONE two three four"), ("domain", "something else")):
        source = str(scored.parent / "a.wav")
        write_data_directory(data / part, [Utterance(f"{part}-1", part, f"{part}-1", source, text=text)])
    training = [data / "accent", data / "domain"]
    with bench.local(RECIPE, "score") as modules:
        modules.score.main(scored, data / "test_orders", training)
    local.compare.main(scored, data, "test_orders", seeds=2)
    warning = (
        "1 of 3 sentences of the test set occur in training: the 2 utterances with other sentences are "
        "scored separately too"
    )
    found = json.loads((scored / "results.json").read_text())
    assert found["warnings"] == [{"set": "test_orders", "system": None, "text": warning}]
    assert all(row["unseen_sentences"]["utterances"] == 2 for row in found["systems"])
    _, _, *parts, notes = (scored / "RESULTS.md").read_text().split("\n\n")
    assert parts == [UNSEEN, f"- **Warning:** {warning}."]
    assert notes.startswith("- test_orders: 3 utterances")


def test_results_json(local, scored):
    local.compare.main(scored, scored.parent / "data", "test_orders", seeds=2)
    found = json.loads((scored / "results.json").read_text())
    assert list(found) == ["schema", "systems", "pairs", "warnings", "commit", "dirty", "command"]
    assert [(one["name"], one["seed"], one["adapter"], one["wer"]) for one in found["systems"]] == [
        ("base", None, None, 0.6), ("accent", 1, "accent", 0.4), ("accent", 2, "accent", 0.4),
        ("domain", 1, "domain", 0.4), ("domain", 2, "domain", 0.4),
        ("sum", 1, "sum+", 0.2), ("sum", 2, "sum+", 0.4),
    ]  # fmt: skip
    pairs = {(one["system"], one["baseline"]): one for one in found["pairs"]}
    assert set(pairs) == {("accent", "base"), ("accent", "domain"), ("domain", "base"), ("domain", "accent"),
                          ("sum", "base"), ("sum", "accent"), ("sum", "domain")}  # fmt: skip
    assert pairs["sum", "base"]["relative"] == pytest.approx(0.3 / 0.6 - 1)
    assert pairs["sum", "accent"]["relative"] == pytest.approx(0.3 / 0.4 - 1)
    assert pairs["sum", "domain"]["mapsswe"]["seed"] == 2  # no fewer errors there


def test_a_seed_that_is_not_scored_is_named(local, scored):
    with pytest.raises(
        UserError, match=r"accent_seed3/decode_greedy_test_orders: not scored yet \(run stages 6"
    ):
        local.compare.main(scored, scored.parent / "data", "test_orders", seeds=3)


def test_results_md_takes_the_tables(local, scored):
    local.compare.main(scored, scored.parent / "data", "test_orders", seeds=2)
    page = scored.parent / "page.md"
    page.write_text("<!-- results exp/RESULTS.md -->\nnot run yet\n<!-- end of results -->\n")
    fill(page)
    assert (scored / "RESULTS.md").read_text() in page.read_text()


# ---- by espeak-ng, from end to end

OTHER = str(bench.ROOT / "ia3_speech/out_of_domain/librispeech_dev:6")  # five sentences
SMALL = ("--size", "small", "--seeds", "1", "--small-opts", "--epochs 1", "--out-of-domain", OTHER)
SETS = ("test_caribbean", "test_scottish", "out_of_domain_caribbean", "out_of_domain_scottish")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, random_base):
    work = tmp_path_factory.mktemp("work")
    options = (*SMALL, "--work-dir", str(work), "--base", str(random_base))
    done = bench.run(RECIPE, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    done.options, done.exp = options, work / "exp/espeak_small"
    return done


def test_every_system_is_decoded_with_what_it_is_made_of(ran):
    """On dictation in the accent, and on out-of-domain speech, which was not asked for."""
    for place in SETS:
        name = place.rpartition("_")[2]
        accent, domain = ran.exp / f"accent_{name}_seed1/adapter", ran.exp / "domain_seed1/adapter"
        expected = {
            "base": None,
            "accent_seed1": {str(accent): 1},
            "domain_seed1": {str(domain): 1},
            "sum_seed1": {str(accent): 1, str(domain): 1},
            "half_seed1": {str(accent): 0.5, str(domain): 0.5},
            "product_seed1": {str(ran.exp / f"product_seed1/of_{name}/adapter"): 1},
            "both_seed1": {str(ran.exp / f"both_{name}_seed1/adapter"): 1},
        }
        for folder, parts in expected.items():
            used = json.loads((ran.exp / folder / f"decode_greedy_{place}/decode.json").read_text())[
                "adapter"
            ]
            terms = used and used.get("terms", [used])
            assert (terms and {one["path"]: one.get("weight", 1) for one in terms}) == parts


def test_the_report_has_every_system_on_every_set(ran):
    report = (ran.exp / "RESULTS.md").read_text()
    assert report in ran.stdout
    rows = [line.split(" | ")[0].removeprefix("| ") for line in report.splitlines() if line.startswith("| ")]
    systems = [
        "accent",
        "domain",
        "accent+domain",
        "accent:0.5+domain:0.5",
        "accent × domain",
        "trained on both",
    ]
    expected = []
    for name in SETS:
        expected += [name, "base", *systems, f"MAPSSWE, {name}", *systems]
    assert [row for row in rows if row != "---"] == expected
    assert "term errors %" in report
    assert "\n- No sentence of test_scottish occurs in training.\n" in report
    assert "\n- out_of_domain_scottish: 5 utterances, " in report


def test_no_term_list_and_no_test_set_waited_for_a_training(ran):
    terms = (ran.exp / "terms_test_scottish").stat().st_mtime
    assert all(terms < path.stat().st_mtime for path in ran.exp.glob("*_seed1/train.json"))
    assert "\tonly in test\n" in (ran.exp / "terms_test_scottish").read_text()


def test_a_second_run_does_nothing_again(ran):
    before = {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*") if path.is_file()}
    again = bench.run(RECIPE, *ran.options)
    assert again.returncode == 0, again.stderr
    told = r"stage \d+, .*|(test|out_of_domain)_\w+ and \w+ share .*|.*: up to date"
    assert not [line for line in again.stdout.splitlines() if not re.fullmatch(told, line)], again.stdout
    assert {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*") if path.is_file()} == before


# ---- real people: what the two recipes leave, here with random adapters of a tiny base

PARENTS = {
    "speechocean762": ("test_adults", "test_children", "out_of_domain"),
    "barista_orders": ("test", "out_of_domain"),
}


@pytest.fixture
def parents(tmp_path, tiny_folder):
    """data and exp of both recipes below work/, one seed each; orders are said by nobody known."""
    work = tmp_path / "work"
    for recipe, sets in PARENTS.items():
        trained = work / f"exp/{recipe}/ia3_seed1"
        adapter(tiny_folder, trained / "adapter", lowest=0.5 if recipe == "speechocean762" else -3.0)
        (trained / ".key").write_text(f"{recipe}\n")
        source = str(bench.noise(work / f"{recipe}.wav"))
        text = "One two" if recipe == "barista_orders" else "seven"
        write_data_directory(work / f"data/{recipe}/train", [Utterance("t", "t", "t", source, text=text)])
        for name in sets:
            data = work / f"data/{recipe}/{name}"
            utterances = []
            for number, text in enumerate(("one two", "three", "four five six")):
                bench.noise(work / f"{recipe}{number}.wav", 1.0 + number / 4)
                id = f"{name[-1]}{number}"
                place = str(work / f"{recipe}{number}.wav")
                utterances.append(Utterance(id, id, id, place, text=text))
            write_data_directory(data, utterances)
            base = work / f"exp/{recipe}/base/decode_greedy_{name}"
            decode.main(data, base, str(tiny_folder))
            unit = "utterance" if recipe == "barista_orders" else "speaker"
            scoring.main(data, base, cluster=unit)
            decode.main(data, trained / base.name, str(tiny_folder), str(trained / "adapter"))
            scoring.main(data, trained / base.name, base, cluster=unit)
    (work / "exp/barista_orders/terms_test").write_text("three\tnumber\n")
    return work


def adapter(random_base, out, lowest: float) -> None:
    """Random numbers from `lowest` to 4."""
    import torch

    base = load_base(random_base)
    attach(base.model, IA3Config())
    generator = torch.Generator().manual_seed(len(str(lowest)))
    with torch.no_grad():
        for _, vector in trainable(base.model):
            vector.copy_(lowest + (4 - lowest) * torch.rand(vector.shape, generator=generator))
    save_adapter(base.model, out, base=base)


def test_real_people(parents, tiny_folder):
    options = (
        "--accent-corpus",
        "a",
        "--domain-corpus",
        "b",
        "--work-dir",
        str(parents),
        "--base",
        str(tiny_folder),
    )
    done = bench.run(RECIPE, *options, "--seeds", "1", "--stage", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    exp, theirs = parents / "exp/real", parents / "exp"
    links = {
        "base/decode_greedy_test_adults": "speechocean762/base/decode_greedy_test_adults",
        "accent_seed1/decode_greedy_test_children": "speechocean762/ia3_seed1/decode_greedy_test_children",
        "domain_seed1/decode_greedy_test_orders": "barista_orders/ia3_seed1/decode_greedy_test",
        "accent_seed1/decode_greedy_out_of_domain": "speechocean762/ia3_seed1/decode_greedy_out_of_domain",
    }
    for ours, place in links.items():
        assert (exp / ours).resolve() == (theirs / place).resolve()
    for folder, sets in {
        "accent_seed1": ("test_orders",), "domain_seed1": ("test_adults", "test_children", "out_of_domain"),
        "sum_seed1": ("test_adults", "test_children", "test_orders", "out_of_domain"),
        "half_seed1": ("test_adults", "test_children", "test_orders", "out_of_domain"),
    }.items():  # fmt: skip
        for name in sets:
            assert (exp / folder / f"decode_greedy_{name}/score.json").is_file()
    used = json.loads((exp / "sum_seed1/decode_greedy_test_orders/decode.json").read_text())["adapter"][
        "terms"
    ]
    assert [one["path"] for one in used] == [f"{theirs}/{recipe}/ia3_seed1/adapter" for recipe in PARENTS]
    report = (exp / "RESULTS.md").read_text()
    assert report.count("| accent+domain |") == 8 + 3
    assert "accent × domain |" not in report
    assert re.search(
        r"- No accent × domain of speechocean762: \S+/barista_orders/ia3_seed1/adapter: ", report
    )
    assert report.count("term errors %") == 2  # the orders have a list of terms; all, and those not in train
    for name in ("test_adults", "test_children", "test_orders"):  # "one two" is in the orders' train
        assert f"\n| {name}, sentences not in training | WER % |" in report
    warning = "1 of 3 sentences of the test set occur in training: the 2 utterances with other sentences are"
    assert report.count(f"\n- **Warning:** {warning} scored separately too.\n") == 3
    assert "out_of_domain, sentences" not in report
    assert (
        "test_orders: 3 utterances, 6 words. In brackets 95 % intervals of a bootstrap over 3 utt" in report
    )


def test_what_the_parents_lack_is_named(parents, tiny_folder):
    (parents / "exp/barista_orders/base/decode_greedy_test/score.json").unlink()
    options = (
        "--accent-corpus",
        "a",
        "--domain-corpus",
        "b",
        "--work-dir",
        str(parents),
        "--base",
        str(tiny_folder),
    )
    done = bench.run(RECIPE, *options, "--seeds", "1", "--stage", "6")
    assert done.returncode == 1
    fault = "exp/barista_orders: the recipe barista_orders has not run there (leave --stage out)"
    assert done.stderr == f"run.sh: {parents}/{fault}\n"


def test_another_fault_of_a_product_is_an_error(parents, tmp_path):
    one = parents / "exp/speechocean762/ia3_seed1/adapter"
    done = subprocess.run(
        ["bash", "local/product.sh", one, tmp_path / "none", tmp_path / "out"],
        cwd=FOLDER, env=os.environ | {"PATH": path_with_warm_python()}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "none: no such folder" in done.stdout
    assert not (tmp_path / "out").exists()


# ---- the command line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--accent-corpus", "a"), "run.sh: give both --accent-corpus DIR and --domain-corpus DIR"),
        (
            ("--accent-corpus", "a", "--domain-corpus", "b", "--sentences", "s"),
            "run.sh: --sentences has no meaning with corpora",
        ),
        (("--seeds", "0"), "run.sh: --seeds must be a number from 1 on, not '0'"),
        (("--size", "medium"), "run.sh: --size must be full or small, not 'medium'"),
        (("--sizes", "small"), "invalid option --sizes (--help lists the options)"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    done = bench.run(RECIPE, *options, "--work-dir", str(tmp_path / "work"))
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "work").exists()


def test_help_and_the_length_of_run_sh():
    done = bench.run(RECIPE, "--help")
    assert (done.returncode, done.stdout) == (0, (FOLDER / "local/help.txt").read_text())
    assert len((FOLDER / "run.sh").read_text().splitlines()) < 40
