"""egs/barista_orders: its preparation, of a tiny corpus as published and of the real corpus; terms."""

import json
import shutil

import pytest
import soundfile
from corpus_files import content

from ia3_speech.data.kaldi.directory import read_data_directory
from scripts import espeak

RECIPE = "barista_orders"
MODULES = ("prepare", "grammar", "terms")
# What eight people say, and what they order, as the publisher writes it (with spaces in front).
ORDERS = [
    ("can i have a small latte with soy milk",
     {"coffeeDrink": "latte", "size": "small", "milkAmount": " soy milk"}),
    ("brew a double shot espresso", {"coffeeDrink": "espresso", "numberOfShots": "double shot"}),
    ("get me an iced mocha with cream and sugar",
     {"coffeeDrink": "iced mocha", "milkAmount": " cream", "sugarAmount": " sugar"}),
    ("i want a dark roast coffee", {"coffeeDrink": "coffee", "roast": "dark roast"}),
    ("make me a large cappuccino with sugar",
     {"coffeeDrink": "cappuccino", "size": "large", "sugarAmount": " sugar"}),
    ("may i have a medium medium roast mocha",
     {"coffeeDrink": "mocha", "size": "medium", "roast": "medium roast"}),
    ("give me an americano with sugar", {"coffeeDrink": "americano", "sugarAmount": " sugar"}),
    ("i'd like a house coffee", {"coffeeDrink": "house coffee"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(local, tmp_path_factory):
    """The published layout, the orders spoken by espeak-ng; one in .ogg."""
    folder = tmp_path_factory.mktemp("corpus") / "speech-to-intent-benchmark"
    sounds, labels, voice = folder / "data/speech/clean", {}, espeak.Espeak()
    sounds.mkdir(parents=True)
    for number, (text, slots) in enumerate(ORDERS):
        labels[f"{uuid(number)}.wav"] = {"intent": "orderDrink", "slots": slots}
        suffix = "ogg" if number == 3 else "wav"
        wave = voice.speak(text, rate=140)
        soundfile.write(sounds / f"{uuid(number)}.{suffix}", wave, espeak.ESPEAK_SAMPLE_RATE)
    (folder / "data/label").mkdir()
    (folder / "data/label/label.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture
def copy(corpus, tmp_path):
    """A copy to break."""
    return shutil.copytree(corpus, tmp_path / "copy")


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def test_the_base_finds_the_sentences(local, corpus, base_folder, tmp_path):
    """Clear synthetic speech: of eight sentences, out of up to 54 each, it must find most."""
    local.prepare.main(corpus, tmp_path, base=str(base_folder))
    assert len((tmp_path / "heard").read_text().splitlines()) == 8
    sets = {name: read_data_directory(tmp_path / name) for name in ("train", "dev", "test")}
    assert {name: len(data) for name, data in sets.items()} == {"train": 4, "dev": 1, "test": 3}
    every = {utterance.id: utterance for data in sets.values() for utterance in data}
    assert sorted(every) == [uuid(number) for number in range(8)]
    assert sum(every[uuid(number)].text == text for number, (text, _) in enumerate(ORDERS)) >= 6
    assert every[uuid(0)].labels == {"drink": "latte", "size": "small", "milk": "soy milk"}
    assert all(utterance.speaker == id for id, utterance in every.items())


def test_transcripts_say_texts_and_sets(local, copy, tmp_path):
    lines, out = ["file\tsplit\ttranscript\n"], tmp_path / "out"
    for number, (text, _) in enumerate(ORDERS):
        lines.append(f"{uuid(number)}.wav\t{'test' if number % 3 == 2 else 'train'}\t{text}\n")
    (copy / "transcripts.tsv").write_text("".join(lines))
    local.prepare.main(copy, out)
    assert not (out / "heard").exists()
    assert content(out / "test") == {
        "spk2utt": [f"{uuid(2)} {uuid(2)}", f"{uuid(5)} {uuid(5)}"],
        "text": [f"{uuid(2)} {ORDERS[2][0]}", f"{uuid(5)} {ORDERS[5][0]}"],
        "utt2drink": [f"{uuid(2)} iced mocha", f"{uuid(5)} mocha"],
        "utt2dur": (out / "test/utt2dur").read_text().splitlines(),
        "utt2milk": [f"{uuid(2)} cream"],
        "utt2roast": [f"{uuid(5)} medium roast"],
        "utt2size": [f"{uuid(5)} medium"],
        "utt2spk": [f"{uuid(2)} {uuid(2)}", f"{uuid(5)} {uuid(5)}"],
        "utt2sugar": [f"{uuid(2)} sugar"],
        "wav.scp": [f"{uuid(n)} {copy.resolve()}/data/speech/clean/{uuid(n)}.wav" for n in (2, 5)],
    }
    assert len(read_data_directory(out / "train")) + len(read_data_directory(out / "dev")) == 6
    local.terms.main(out / "test", tmp_path / "terms", out / "train")
    assert (tmp_path / "terms").read_text() == (
        "cream\tmilk\tonly in test\niced mocha\tdrink\tonly in test\nmedium\tsize\tonly in test\n"
        "medium roast\troast\tonly in test\nmocha\tdrink\tonly in test\nsugar\tsugar\n"
    )
