"""egs/medical_dictation: wording, grammar, terms, and the recipe itself, run small from end to end."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from ia3_speech.cli import UserError
from ia3_speech.datadir import Utterance, read, write

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs/medical_dictation"
STAND_IN = ROOT.parent / "shared/models/stand_in_base"
BASE = "mini" if (ROOT / "ia3_speech/mini/model.safetensors").exists() else str(STAND_IN)


@pytest.fixture(scope="module")
def local():
    """The modules of local/ and recipes/utils, which are no package; forgotten afterwards."""
    names = ("wording", "grammar", "prepare", "terms", "kaldi_corpus", "overlap")
    places = [str(RECIPE / "local"), str(ROOT / "recipes/utils")]
    sys.path[:0] = places
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        for place in places:
            sys.path.remove(place)
        for name in (*names, "espeak"):
            sys.modules.pop(name, None)


# ---- wording


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Type 2 diabetes mellitus without complications", "type two diabetes mellitus"),
        (
            "Type 2 diabetes mellitus with diabetic polyneuropathy",
            "type two diabetes mellitus with diabetic polyneuropathy",
        ),
        ("Essential (primary) hypertension", "essential hypertension"),
        ("Non-ST elevation (NSTEMI) myocardial infarction", "non s t elevation myocardial infarction"),
        ("Epilepsy, unspecified, not intractable, without status epilepticus", "epilepsy"),
        (
            "Fracture of unspecified part of neck of right femur, initial encounter for closed fracture",
            "fracture of neck of right femur",
        ),
        ("Urinary tract infection, site not specified", "urinary tract infection"),
        ("Panic disorder [episodic paroxysmal anxiety]", "panic disorder"),
        ("Bipolar II disorder", "bipolar two disorder"),
        ("Ménière's disease, bilateral", "meniere's disease bilateral"),
        ("Other pulmonary embolism without acute cor pulmonale", "pulmonary embolism"),
        ("Chronic kidney disease, stage 4 (severe)", "chronic kidney disease stage four"),
    ],
)
def test_descriptions_become_speakable(local, written, said):
    assert local.wording.spoken(written) == said


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (17, "seventeen"),
        (42, "forty two"),
        (100, "one hundred"),
        (120, "one hundred and twenty"),
        (1000, "one thousand"),
        (1005, "one thousand and five"),
        (5250, "five thousand two hundred and fifty"),
        ("62.5", "sixty two point five"),
        ("1.25", "one point two five"),
        (37.0, "thirty seven"),
    ],
)
def test_numbers(local, value, words):
    assert local.wording.number(value) == words


def test_doses(local):
    assert local.wording.dose("1 g") == "one gram"
    assert local.wording.dose("2.5 mg") == "two point five milligrams"
    assert local.wording.dose("5000 units") == "five thousand units"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a eight day history", "an eight day history"),
        ("a one year history", "a one year history"),
        ("a urinary infection", "a urinary infection"),
        ("a ulcer and a unilateral hernia", "an ulcer and a unilateral hernia"),
        ("a e c g and a x ray", "an e c g and an x ray"),
        ("a hour", "an hour"),
        ("a euthyroid state", "a euthyroid state"),
    ],
)
def test_articles(local, before, after):
    assert local.wording.with_articles(before) == after


# ---- grammar


@pytest.fixture(scope="module")
def texts(local):
    return local.prepare.draw_texts(local.prepare.SENTENCES["full"])


def test_sentences_can_be_written_by_any_character_model(texts):
    for sentences in texts.values():
        for sentence in sentences:
            assert re.fullmatch(r"[a-z']+( [a-z']+)*", sentence.text), sentence.text


def test_no_sentence_stands_in_two_sets(texts):
    every = [sentence.text for sentences in texts.values() for sentence in sentences]
    assert len(set(every)) == len(every)


def test_held_out_terms_and_patterns_occur_in_test_alone(local, texts):
    grammar = local.grammar.Grammar(RECIPE / "local")
    heard = " | ".join(sentence.text for name in ("train", "dev") for sentence in texts[name])
    assert not [term for term in grammar.new_terms if re.search(rf"\b{re.escape(term)}\b", heard)]
    assert not any(sentence.new_wording for name in ("train", "dev") for sentence in texts[name])
    assert sum(len(sentence.new_terms) for sentence in texts["test"]) >= 40
    assert sum(sentence.new_wording for sentence in texts["test"]) >= 20
    patterns = {sentence.pattern for sentence in texts["train"]}
    assert not patterns & {sentence.pattern for sentence in texts["test"] if sentence.new_wording}


def test_drawing_again_gives_the_same(local, texts):
    again = local.prepare.draw_texts(local.prepare.SENTENCES["full"])
    assert again == texts


def test_every_slot_of_the_grammar_can_be_filled(local):
    grammar = local.grammar.Grammar(RECIPE / "local")
    built_in = {"drug dose", "drug for", "drug to", "medication"}
    lines = [*grammar.patterns, *(line for choices in grammar.sections.values() for line in choices)]
    slots = {slot for line in lines for slot in re.findall(r"\{([^}]*)\}", line)}
    assert {slot for slot in slots if ".." not in slot} <= set(grammar.sections) | built_in
    used = {slot for slot in slots if ".." not in slot}
    assert set(grammar.sections) - used <= {"drug"}, "sections that no sentence uses"


def test_pronouns_agree(texts):
    for sentences in texts.values():
        for sentence in sentences:
            words = set(sentence.text.split())
            assert not (words & {"he", "his", "him"} and words & {"she", "woman", "lady"}), sentence.text


def test_drug_list_is_well_formed(local):
    drugs = local.grammar.read_drugs(RECIPE / "local/drugs.tsv")
    names = [drug.name for drug in drugs]
    assert names == sorted(set(names))
    for drug in drugs:
        assert re.fullmatch(r"[a-z]+( [a-z]+)?", drug.name)
        for dose in drug.doses:
            assert local.wording.dose(dose)


def test_speakers_of_the_sets_have_no_voice_in_common(local):
    espeak = importlib.import_module("espeak")
    voices = {
        name: {(one.accent, one.variant) for one in speakers}
        for name, speakers in local.prepare.SPEAKERS.items()
    }
    own = {(local.prepare.SPEAKER42.accent, local.prepare.SPEAKER42.variant)}
    sets = [*voices.values(), own]
    assert sum(map(len, sets)) == len(set().union(*sets))
    for accent, variant in set().union(*sets):
        assert accent in espeak.UNHEARD_ACCENTS
        assert variant in espeak.UNHEARD_VARIANTS
    names = [one.name for speakers in local.prepare.SPEAKERS.values() for one in speakers]
    assert len(set(names)) == len(names)
    assert "speaker42" not in names


# ---- terms


def test_terms_of_references(local, tmp_path):
    for name, lines in {
        "train": ["she has pneumonia"],
        "test": [
            "No HAEMATURIA, but low back pain.",
            "take bisoprolol after total hip replacement",
            "the patient has pneumonia of the left side",
        ],
    }.items():
        utterances = [Utterance(f"s-{n}", "s", f"s-{n}", "", text=line) for n, line in enumerate(lines)]
        write(tmp_path / name, utterances)
    local.terms.main(tmp_path / "test", tmp_path / "terms", tmp_path / "train")
    assert (tmp_path / "terms").read_text() == (
        "back pain\ticd\tonly in test\n"
        "bisoprolol\tdrug\tonly in test\n"
        "haematuria\ticd\tonly in test\n"
        "hip\ticd\tonly in test\n"
        "low back pain\ticd\tonly in test\n"
        "pain\ticd\tonly in test\n"
        "pneumonia\ticd\n"
        "total hip replacement\tprocedure\tonly in test\n"
    )


def test_a_corpus_without_any_term_says_so(local, tmp_path):
    write(tmp_path / "test", [Utterance("s-1", "s", "s-1", "", text="good morning to you all")])
    with pytest.raises(UserError, match="no term of ICD-10-CM and of our lists occurs in its references"):
        local.terms.main(tmp_path / "test", tmp_path / "terms")


# ---- a corpus of one's own


def corpus(folder: Path, speakers: int = 10, each: int = 4, label: str | None = None, sets=("train", "test")):
    """Kaldi directories with real, short audio files."""
    rng = np.random.default_rng(0)
    for name in sets:
        utterances = []
        for number in range(speakers * each):
            speaker = f"{name}{number % speakers:02d}"
            id = f"{speaker}-{number:03d}"
            path = folder / "audio" / f"{id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(8000).astype(np.float32), 16000)
            labels = {label: f"visit{number % 20:02d}"} if label else {}
            utterances.append(Utterance(id, speaker, id, str(path), text=f"text {number}", labels=labels))
        write(folder / name, utterances)
    return folder


@pytest.mark.parametrize(("label", "groups"), [("consultation", 3), (None, 2)])
def test_dev_is_split_from_train_by_consultation_or_speaker(local, tmp_path, label, groups):
    source = corpus(tmp_path / "corpus", label=label)
    local.kaldi_corpus.take(source, tmp_path / "out")
    train, dev, test = (read(tmp_path / "out" / name) for name in ("train", "dev", "test"))
    assert len(train) + len(dev) == 40
    assert len(test) == 40

    def group(utterance):
        return utterance.labels["consultation"] if label else utterance.speaker

    in_dev = {group(utterance) for utterance in dev}
    assert len(in_dev) == groups
    assert not in_dev & {group(utterance) for utterance in train}
    local.kaldi_corpus.take(source, tmp_path / "again")
    assert [u.id for u in read(tmp_path / "again/dev")] == [u.id for u in dev]


def test_a_dev_set_of_the_corpus_is_taken(local, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev", "test"))
    local.kaldi_corpus.take(source, tmp_path / "out")
    assert [len(read(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [40, 40, 40]


def test_small_takes_a_part(local, tmp_path):
    source = corpus(tmp_path / "corpus", each=8)
    local.kaldi_corpus.take(source, tmp_path / "out", "small")
    assert [len(read(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [48, 12, 24]
    assert len(read(tmp_path / "out/train").speakers) == 8  # of the 8 that dev has left, all


def test_a_corpus_of_another_shape_is_described(local, tmp_path):
    with pytest.raises(
        UserError, match=r"train: no Kaldi directory \(a corpus is a folder with train/ and test/"
    ):
        local.kaldi_corpus.take(tmp_path, tmp_path / "out")


def test_an_utterance_on_both_sides_is_refused(local, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev"))
    first = read(source / "train").utterances[0]
    write(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
    with pytest.raises(UserError, match=r"utterance x-1 is also in .*train: a test set must hold nothing"):
        local.overlap.main(source / "train", source / "dev", source / "test")


# ---- the recipe


def recipe(work: Path, *options: str, home: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "IA3_SPEECH_HOME": str(home),
    }
    return subprocess.run(
        ["bash", str(RECIPE / "run.sh"), "--work-dir", str(work), "--base", BASE, *options],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The whole recipe, small."""
    if BASE != "mini" and not STAND_IN.is_dir():
        pytest.skip("the mini base is not shipped yet, and ../shared/models/stand_in_base is not there")
    work = tmp_path_factory.mktemp("medical")
    home = tmp_path_factory.mktemp("home")
    done = recipe(work, "--size", "small", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return SimpleNamespace(work=work, home=home, out=done.stdout, exp=work / "exp/espeak_small")


def test_recipe_reports_base_and_adapter(ran):
    results = json.loads((ran.exp / "results.json").read_text())
    assert results["schema"] == 1
    base, ia3 = results["systems"]
    assert (base["name"], base["adapter"], base["set"]) == ("base", None, "test")
    assert (ia3["name"], ia3["seed"], ia3["set"]) == ("ia3", 1, "test")
    for row in (base, ia3):
        assert 0 < row["wer"] < 1.2
        assert row["wer_ci"][0] <= row["wer"] <= row["wer_ci"][1]
        assert (row["utterances"], row["ci_unit"]) == (24, "speaker")
        assert row["term_error_rate"] > 0
    assert ia3["trainable"] > 0
    assert ia3["seconds"] > 0
    (pair,) = results["pairs"]
    assert (pair["set"], pair["baseline"], pair["system"]) == ("test", "base", "ia3")
    assert pair["relative"] == pytest.approx(ia3["wer"] / base["wer"] - 1)
    assert results["command"].startswith("bash egs/medical_dictation/run.sh --work-dir ")
    assert (ran.exp / "RESULTS.md").read_text() in ran.out


def test_recipe_registers_both_adapters_and_they_transcribe(ran):
    assert {path.name for path in (ran.home / "adapters").iterdir() if path.name[0] != "."} == {
        "medical",
        "speaker42",
    }
    command = re.search(r"IA3_SPEECH_HOME=\S+ (?:uv run )?python (-m ia3_speech.transcribe .*)\n", ran.out)
    arguments = command[1].split()
    assert arguments[:4] == ["-m", "ia3_speech.transcribe", "--adapter", "speaker42"]
    said = subprocess.run(
        [sys.executable, *arguments[:2], "--base", BASE, *arguments[2:]],
        cwd=ROOT,
        env=os.environ | {"IA3_SPEECH_HOME": str(ran.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    transcripts = (ran.exp / "speaker42/transcripts").read_text()
    assert [line.split()[0] for line in transcripts.splitlines()] == ["said", "base", "medical", "speaker42"]
    assert said.stdout.strip() == transcripts.splitlines()[-1].partition(" ")[2].strip()
    assert transcripts in ran.out


def test_recipe_adapts_to_the_speaker_from_fifteen_sentences(ran):
    data = ran.work / "data/espeak_small/speaker42"
    assert [len(read(data / name)) for name in ("train", "dev")] == [12, 3]
    results = json.loads((ran.exp / "speaker42/results.json").read_text())
    assert [row["name"] for row in results["systems"]] == ["base", "medical", "speaker42"]


def test_a_second_run_does_nothing_again(ran):
    before = {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*.safetensors")}
    again = recipe(ran.work, "--size", "small", home=ran.home)
    assert again.returncode == 0
    stages = [line for line in again.stdout.splitlines() if line.startswith("stage ")]
    assert stages
    assert [line for line in stages if not line.endswith(": done") and "register" not in line] == []
    assert {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*.safetensors")} == before


def test_stages_can_be_chosen(ran):
    done = recipe(ran.work, "--size", "small", "--stage", "2", "--stop-stage", "3", home=ran.home)
    assert done.stdout == (
        "stage 2, validate espeak_small: done\nstage 3, coverage: done\nstage 3, terms of test: done\n"
    )


def test_a_corpus_of_ones_own_lies_beside_the_others(ran, tmp_path):
    source = ran.work / "data/espeak_small"
    link = tmp_path / "my notes"
    link.symlink_to(source)
    options = ("--corpus", "my notes", "--corpus-name", "mine", "--stop-stage", "3")
    done = recipe(ran.work, *options, home=ran.home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = ran.work / "data/mine"
    assert [len(read(data / name)) for name in ("train", "dev", "test")] == [48, 12, 24]
    assert (ran.work / "exp/mine/terms_test").read_text() == (ran.exp / "terms_test").read_text()


def test_wrong_options_are_refused(tmp_path):
    for options, message in (
        (("--sizes", "small"), "invalid option --sizes"),
        (("--size", "medium"), "--size must be full or small, not 'medium'"),
        (("--seeds", "0"), "--seeds must be a number from 1 on, not '0'"),
        (("--corpus", "/no/such/folder", "--stop-stage", "1"), "no Kaldi directory"),
        (("--train-config", "none.yaml"), "there is no training configuration none.yaml"),
    ):
        done = recipe(tmp_path, *options, home=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr


def test_help(tmp_path):
    done = recipe(tmp_path, "--help", home=tmp_path)
    assert done.returncode == 0
    for option in (
        "--corpus DIR",
        "--seeds N",
        "--size full|small",
        "--stage N",
        "--stop-stage N",
        "--base BASE",
    ):
        assert option in done.stdout
    assert not any(tmp_path.iterdir())
