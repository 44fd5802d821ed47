"""The temperature of word confidences: fitted on real speech, kept with an adapter or a base, and found."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ia3_speech.calibrate import main
from ia3_speech.cli import UserError
from ia3_speech.decode import main as decode
from ia3_speech.decoding.calibration import are_right
from ia3_speech.decoding.recognizer import load_recognizer
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.stored_temperature import store_temperature
from ia3_speech.scoring.calibration import measure
from ia3_speech.scoring.ctm import read_confidences

OUT_OF_DOMAIN = Path(__file__).parents[2] / "ia3_speech/out_of_domain/librispeech_dev"


def test_a_word_is_right_where_the_alignment_has_it():
    assert are_right(["no", "fever", "no", "cough"], "no feather no a cough") == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert are_right(["yes"], "") == []


def test_the_temperature_that_is_fitted_has_the_smallest_cross_entropy(tmp_path, capsys):
    greedy, out = SearchOptions("greedy"), tmp_path / "confidence.yaml"
    main(OUT_OF_DOMAIN, search_options=greedy, base="mini", out=out)
    shown = capsys.readouterr().out.splitlines()
    fitted = yaml.safe_load(out.read_text())["confidence_temperature"]
    assert shown[1].startswith(f"temperature {fitted:g}: ") and shown[-1].startswith(f"{out}: take it as ")
    before, after = (float(line.split("cross-entropy ")[1].split()[0]) for line in shown[:2])
    assert after < before
    main(OUT_OF_DOMAIN, search_options=greedy, base="mini", temperature=fitted)
    assert capsys.readouterr().out.splitlines() == shown[1:-1]


def test_too_few_words_fit_no_temperature(tmp_path, capsys):
    out = tmp_path / "confidence.yaml"
    main(OUT_OF_DOMAIN, search_options=SearchOptions("greedy"), base="mini", out=out, minimum_words=10_000)
    assert "words recognised, and 10,000 are needed" in capsys.readouterr().out and not out.exists()


def test_a_temperature_that_is_measured_is_not_written(tmp_path):
    for options in ({"out": tmp_path / "a.yaml"}, {"store": True}, {"temperature": -1.0}):
        options = {"temperature": 2.0} | options
        with pytest.raises(UserError, match="--temperature is a positive number, and is measured"):
            main(OUT_OF_DOMAIN, search_options=SearchOptions(), **options)


# ---- kept with a base or an adapter


@pytest.fixture
def stored(tiny_folder, speaker42):
    """A function that stores a temperature of a recogniser as `calibrate` does, and loads it again."""

    def store(adapter: str | None, search: str, temperature: float):
        options = SearchOptions(search)
        recognizer = load_recognizer(tiny_folder, adapter, search=options)
        fitted = measure(np.array([0.2, 0.9]), np.array([False, True]), temperature)
        place = store_temperature(
            recognizer.base, recognizer.adapter, search, fitted, Path("data/clinic/dev")
        )
        return place, load_recognizer(tiny_folder, adapter, search=options).temperature

    return store


def test_a_temperature_belongs_to_one_adapter_or_base_and_one_search(stored, tiny_folder, speaker42):
    assert load_recognizer(tiny_folder).temperature == load_recognizer(adapter="speaker42").temperature == 1.0
    assert stored("speaker42", "greedy", 1.5) == (speaker42 / "ia3_speech.json", 1.5)
    assert load_recognizer(tiny_folder).temperature == 1.0  # the base has none
    assert stored(None, "beam", 3.0) == (tiny_folder / "confidence.json", 3.0)
    assert stored(None, "greedy", 2.0) == (tiny_folder / "confidence.json", 2.0)
    entry = {"temperature": 2.0, "data": "clinic/dev", "words": 2, "calibration_error": 0.15}
    kept = json.loads((tiny_folder / "confidence.json").read_text())
    assert kept["greedy"] == entry and kept["beam"] == entry | {"temperature": 3.0}
    assert load_recognizer(adapter="speaker42").temperature == 1.5
    assert load_recognizer(adapter="speaker42", search=SearchOptions("beam")).temperature == 1.0
    assert load_recognizer(adapter="speaker42:0.5").temperature == 1.0  # a sum is another system
    assert load_recognizer(tiny_folder, bank={"speaker42": speaker42}).temperature == 1.0
    assert load_recognizer(tiny_folder, temperature=1.0).temperature == 1.0
    with pytest.raises(UserError, match="a sum has no folder"):
        stored("speaker42:0.5", "greedy", 1.5)


def test_the_temperature_of_another_base_is_not_used(stored, tiny_folder, tiny_model, caplog):
    place, _ = stored(None, "greedy", 2.0)
    tiny_model(seed=1).save_pretrained(tiny_folder)
    assert load_recognizer(tiny_folder).temperature == 1.0
    assert f"{place}: is of another base, and is not used" in caplog.text
    assert stored(None, "greedy", 1.5)[1] == 1.5


@pytest.mark.parametrize("content", ["{", '{"greedy": {"temperature": 0}}', '{"greedy": 2}'])
def test_a_damaged_temperature_is_named(stored, tiny_folder, content):
    place, _ = stored(None, "greedy", 2.0)
    kept = json.loads(place.read_text())
    place.write_text(content if content == "{" else json.dumps(kept | json.loads(content)))
    with pytest.raises(UserError, match=r"confidence.json: .* writes it again"):
        load_recognizer(tiny_folder)


def test_what_calibrate_stores_decode_uses(base_folder, tmp_path, capsys):
    """A copy of a real base, calibrated on a few sentences; then decoding is up to date."""
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(base_folder, base, ignore=shutil.ignore_patterns("lm.*", "confidence.json"))
    greedy = SearchOptions("greedy")
    decode(OUT_OF_DOMAIN, out, base=str(base), search_options=greedy)
    before = read_confidences(out / "hyp.ctm")
    main(OUT_OF_DOMAIN, search_options=greedy, base=str(base), store=True)
    fitted = json.loads((base / "confidence.json").read_text())["greedy"]["temperature"]
    assert fitted != 1.0 and f"{base / 'confidence.json'}: holds it for greedy" in capsys.readouterr().out
    decode(OUT_OF_DOMAIN, out, base=str(base), search_options=greedy)
    assert json.loads((out / "decode.json").read_text())["confidence_temperature"] == fitted
    after = read_confidences(out / "hyp.ctm")
    assert [[word for word, _ in own] for own in after.values()] == [
        [word for word, _ in own] for own in before.values()
    ]
    assert after != before
    kept = json.loads((base / "confidence.json").read_text())
    (base / "confidence.json").write_text(json.dumps(kept | {"beam": kept["greedy"] | {"temperature": 3.0}}))
    decode(OUT_OF_DOMAIN, out, base=str(base), search_options=greedy)
    assert "up to date" in capsys.readouterr().out  # another search's temperature is not its own
