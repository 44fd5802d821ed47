"""The scaling of word confidences: fitted on real speech, kept with an adapter or a base, and found."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ia3_speech.calibrate import main
from ia3_speech.cli import UserError
from ia3_speech.confidence.calibration import are_right
from ia3_speech.confidence.reliability import Scaling, measure
from ia3_speech.confidence.stored_confidence_scaling import store_scaling
from ia3_speech.data.kaldi import subset_data_directory
from ia3_speech.decode import main as decode
from ia3_speech.decoding.options import ConfidenceOptions
from ia3_speech.loading import SearchOptions, load
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


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_what_is_fitted_has_a_smaller_cross_entropy(search, tmp_path, capsys):
    options, out = SearchOptions(search), tmp_path / "confidence.yaml"
    main(OUT_OF_DOMAIN, search_options=options, base="mini", out=out)
    shown = capsys.readouterr().out.splitlines()
    fitted = ConfidenceOptions(**yaml.safe_load(out.read_text()))
    assert shown[1].startswith(f"{fitted.scaling}: ") and shown[-1].startswith(f"{out}: take it as ")
    before, after = (re.findall(r"cross-entropy (\S+) .* error (\S+)%", line)[0] for line in shown[:2])
    assert float(after[0]) < float(before[0])
    # By greedy search both errors (4.6 and 6.0 %) are about what chance makes of some 500 calibrated words.
    assert search == "greedy" or float(after[1]) < float(before[1]) / 3
    main(OUT_OF_DOMAIN, search_options=options, base="mini", confidence_options=fitted)
    assert capsys.readouterr().out.splitlines() == shown[:-1]


@pytest.fixture
def some_sentences(tmp_path) -> Path:
    """Ten of the thirty sentences of out-of-domain speech: a minute."""
    subset_data_directory(OUT_OF_DOMAIN, tmp_path / "ten", last=10)
    return tmp_path / "ten"


def test_too_few_words_fit_no_temperature(some_sentences, tmp_path, capsys):
    out = tmp_path / "confidence.yaml"
    main(some_sentences, search_options=SearchOptions("greedy"), base="mini", out=out, minimum_words=10_000)
    assert "words recognised, and 10,000 are needed" in capsys.readouterr().out and not out.exists()


def test_a_scaling_that_is_measured_is_not_written(tmp_path):
    for options in ({"out": tmp_path / "a.yaml"}, {"store": True}):
        given = ConfidenceOptions(confidence_bias=1.0)
        with pytest.raises(UserError, match="a scaling that is given is measured"):
            main(OUT_OF_DOMAIN, search_options=SearchOptions(), confidence_options=given, **options)


def test_options_give_a_scaling_where_there_are_some():
    assert ConfidenceOptions().scaling is None
    assert ConfidenceOptions(confidence_temperature=1.0).scaling == Scaling()
    assert ConfidenceOptions(1.5, confidence_bias=2.0).scaling == Scaling(1.5, 1.0, 2.0)
    with pytest.raises(UserError, match="--confidence-slope is 0, and has to be a positive number"):
        _ = ConfidenceOptions(confidence_slope=0.0).scaling


# ---- kept with a base or an adapter


@pytest.fixture
def stored(tiny_folder, speaker42):
    """A function that stores a scaling of a recogniser as `calibrate` does, and loads it again."""

    def store(adapter: str | None, search: str, scaling: Scaling):
        options = SearchOptions(search)
        recognizer = load(tiny_folder, adapter=adapter, search=options).recognizer
        fitted = measure(np.array([0.2, 0.9]), np.array([False, True]), scaling)
        place = store_scaling(recognizer.base, recognizer.adapter, search, fitted, Path("data/clinic/dev"))
        return place, load(tiny_folder, adapter=adapter, search=options).recognizer.scaling

    return store


ONE, OTHER, THIRD = Scaling(slope=0.5), Scaling(slope=0.4, bias=1.6), Scaling(bias=-1.0)


def test_a_scaling_belongs_to_one_adapter_or_base_and_one_search(stored, tiny_folder, speaker42):
    assert load(tiny_folder).recognizer.scaling is load(adapter="speaker42").recognizer.scaling is None
    assert stored("speaker42", "greedy", ONE) == (speaker42 / "ia3_speech.json", ONE)
    assert load(tiny_folder).recognizer.scaling is None  # the base has none
    assert stored(None, "beam", OTHER) == (tiny_folder / "confidence.json", OTHER)
    assert stored(None, "greedy", THIRD) == (tiny_folder / "confidence.json", THIRD)
    entry = {"data": "clinic/dev", "words": 2, "calibration_error": 0.15}
    kept = json.loads((tiny_folder / "confidence.json").read_text())
    assert kept["greedy"] == {"slope": 1.0, "bias": -1.0} | entry
    assert kept["beam"] == {"slope": 0.4, "bias": 1.6} | entry
    assert load(adapter="speaker42").recognizer.scaling == ONE
    assert load(adapter="speaker42", search=SearchOptions("beam")).recognizer.scaling is None
    assert load(adapter="speaker42:0.5").recognizer.scaling is None  # a sum is another system
    assert load(tiny_folder, bank={"speaker42": speaker42}).recognizer.scaling is None
    assert load(tiny_folder, scaling=Scaling()).recognizer.scaling == Scaling()
    with pytest.raises(UserError, match="a sum has no folder"):
        stored("speaker42:0.5", "greedy", ONE)


def test_the_scaling_of_another_base_is_not_used(stored, tiny_folder, tiny_model, caplog):
    place, _ = stored(None, "greedy", OTHER)
    tiny_model(seed=1).save_pretrained(tiny_folder)
    assert load(tiny_folder).recognizer.scaling is None
    assert f"{place}: is of another base, and is not used" in caplog.text
    assert stored(None, "greedy", ONE)[1] == ONE


def test_a_temperature_of_an_earlier_version_gives_the_same_confidences(stored, tiny_folder):
    place, _ = stored(None, "greedy", OTHER)
    kept = json.loads(place.read_text())
    kept["greedy"] = {"temperature": 1.741, "data": "clinic/dev", "words": 2, "calibration_error": 0.15}
    place.write_text(json.dumps(kept))
    scaling = load(tiny_folder).recognizer.scaling
    confidences = np.array([0.0, 0.123456789, 1.0])
    assert scaling == Scaling(1.741) and scaling(confidences) is confidences  # the logits alone are divided


@pytest.mark.parametrize(
    "content",
    ["{", '{"greedy": {"temperature": 0}}', '{"greedy": {"slope": "a"}}', '{"greedy": 2}', '{"greedy": {}}'],
)
def test_a_damaged_scaling_is_named(stored, tiny_folder, content):
    place, _ = stored(None, "greedy", OTHER)
    kept = json.loads(place.read_text())
    place.write_text(content if content == "{" else json.dumps(kept | json.loads(content)))
    with pytest.raises(UserError, match=r"confidence.json: .* writes it again"):
        load(tiny_folder)


def test_what_calibrate_stores_decode_uses(base_folder, some_sentences, tmp_path, capsys):
    """A copy of a real base, calibrated on a few sentences; then decoding is up to date."""
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(base_folder, base, ignore=shutil.ignore_patterns("lm.*", "confidence.json"))
    greedy = SearchOptions("greedy")
    decode(some_sentences, out, base=str(base), search_options=greedy)
    before = read_confidences(out / "hyp.ctm")
    main(some_sentences, search_options=greedy, base=str(base), store=True)
    kept = json.loads((base / "confidence.json").read_text())
    fitted = {"temperature": 1.0} | {name: kept["greedy"][name] for name in ("slope", "bias")}
    assert fitted["bias"] and f"{base / 'confidence.json'}: holds them for greedy" in capsys.readouterr().out
    decode(some_sentences, out, base=str(base), search_options=greedy)
    assert json.loads((out / "decode.json").read_text())["confidence_scaling"] == fitted
    after = read_confidences(out / "hyp.ctm")
    assert [[word for word, _ in own] for own in after.values()] == [
        [word for word, _ in own] for own in before.values()
    ]
    assert after != before
    (base / "confidence.json").write_text(json.dumps(kept | {"beam": kept["greedy"] | {"bias": 3.0}}))
    decode(some_sentences, out, base=str(base), search_options=greedy)
    assert "up to date" in capsys.readouterr().out  # another search's scaling is not its own
