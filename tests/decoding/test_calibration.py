"""The scaling of word confidences: fitted on real speech, kept with an adapter or a base, and found."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ia3_speech.adapters.spec import AdapterSpec, parse_sum
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.decoding.calibrations import find_scaling, search_key, store_scaling, uncalibrated
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.reliability import measure
from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.lm.arpa import write_arpa
from ia3_speech.lm.ngram import estimate
from ia3_speech.model.base import load_base
from ia3_speech.session import load

OUT_OF_DOMAIN = Path(__file__).parents[2] / "ia3_speech/out_of_domain/librispeech_dev"


def test_what_is_fitted_has_a_smaller_cross_entropy(tmp_path, run_command):
    options, out = ("--search", "beam", "--base", "mini"), tmp_path / "confidence.yaml"
    write_data_directory(tmp_path / "data", read_data_directory(OUT_OF_DOMAIN).utterances[:15])
    *shown, last = run_command("calibrate", tmp_path / "data", *options, "--out", out).out.splitlines()
    assert last == f"{out}: take it as --config of ia3-speech transcribe"
    before, after = (re.findall(r"cross-entropy (\S+) .* error (\S+)%", line)[0] for line in shown[:2])
    assert float(after[0]) < float(before[0])
    assert float(after[1]) < float(before[1]) / 3


GREEDY, FITTED = {"search": "greedy"}, Scaling(0.5, 1.6)


@pytest.fixture
def calibrated(tiny_folder, speaker42):
    """A function that stores a scaling as `calibrate` does, for an adapter or the base; returns its file."""

    def store(adapter: str | None, record: dict, scaling: Scaling = FITTED) -> Path:
        fitted = measure(np.array([0.2, 0.9]), np.array([False, True]), scaling)
        spec = parse_sum(adapter) if adapter else AdapterSpec()
        return store_scaling(load_base(tiny_folder), spec, record, fitted, Path("data/clinic/dev"))

    return store


def test_a_scaling_belongs_to_one_adapter_or_base(calibrated, tiny_folder, speaker42):
    assert calibrated("speaker42", GREEDY) == speaker42 / "ia3_speech.json"
    assert load(tiny_folder).recognizer.scaling is None  # the base has none
    assert calibrated(None, GREEDY, Scaling(bias=-1.0)) == tiny_folder / "confidence.json"
    entry = {"slope": 1.0, "bias": -1.0, "data": "clinic/dev", "words": 2, "calibration_error": 0.15}
    assert json.loads((tiny_folder / "confidence.json").read_text())["greedy"] == entry
    assert load(adapter="speaker42").recognizer.scaling == FITTED
    assert load(adapter="speaker42:0.5").recognizer.scaling is None  # a sum is another system
    assert load(tiny_folder, options=LoadOptions(scaling=Scaling())).recognizer.scaling == Scaling()
    with pytest.raises(UserError, match="a sum has no folder"):
        calibrated("speaker42:0.5", GREEDY)


def test_a_scaling_is_found_for_the_search_that_it_was_fitted_with_alone(calibrated, tiny_folder, tmp_path):
    lm, terms = tmp_path / "lm.arpa", tmp_path / "terms"
    write_arpa(estimate([["a", "fever"]], 2), lm)
    terms.write_text("fever\n")
    base = load_base(tiny_folder)

    def record(search: str | None = None, **options) -> dict:
        return make_search(SearchOptions(search, **options), base)[1]

    own = record(lm=lm, lm_weight=0.7)
    key = r"beam lm=[0-9a-f]{12} lm_weight=0.7 word_score=1.5 unknown_word_score=-10 beam_size=50"
    assert re.fullmatch(key, search_key(own))
    calibrated(None, own, Scaling(0.4))
    calibrated(None, record("greedy", hotwords=terms), Scaling(0.6))
    copy = shutil.copy(lm, tmp_path / "copy.arpa")
    for options, scaling in [
        ({"lm": lm, "lm_weight": 0.7}, Scaling(0.4)),
        ({"lm": copy, "lm_weight": 0.7, "word_score": 1.5}, Scaling(0.4)),  # the same model, elsewhere
        ({"search": "greedy", "hotwords": terms, "hotword_weight": 2.0}, Scaling(0.6)),
        ({"lm": lm}, None),
        ({"lm": lm, "lm_weight": 0.7, "word_score": 1.0}, None),
        ({"lm": lm, "lm_weight": 0.7, "hotwords": terms}, None),
        ({"search": "greedy"}, None),
    ]:
        assert find_scaling(base, AdapterSpec(), record(**options)) == scaling, options
        said = uncalibrated(Recognizer(base, search_record=record(**options)))
        assert bool(said) == (scaling is None)
    terms.write_text("fever\ncough\n")
    assert find_scaling(base, AdapterSpec(), record("greedy", hotwords=terms)) is None


def test_the_scaling_of_another_base_or_a_damaged_one_is_not_used(
    calibrated, tiny_folder, tiny_model, caplog
):
    place = calibrated(None, GREEDY)
    tiny_model(seed=1).save_pretrained(tiny_folder)
    assert load(tiny_folder).recognizer.scaling is None
    assert f"{place}: is of another base, and is not used" in caplog.text
    calibrated(None, GREEDY)
    stored = json.loads(place.read_text())
    for content in ("{", json.dumps(stored | {"greedy": {"slope": "a"}})):
        place.write_text(content)
        with pytest.raises(UserError, match=r"confidence.json: .* again"):
            load(tiny_folder)
