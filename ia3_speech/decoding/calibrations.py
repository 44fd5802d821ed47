"""Scalings of word confidences, stored with a base (confidence.json in its folder) or an adapter (under
"confidence" in ia3_speech.json), for each search. The key describes the search:

    {"greedy": {"slope": 0.91, "bias": 0.2, "data": "clinic/dev", "words": 494, "calibration_error": 0.03},
     "beam lm=0acb5f7d1266 lm_weight=0.5 word_score=0.75 unknown_word_score=-10 beam_size=50": {…}}

Files (a language model, hot words) count by content. A scaling is valid only for the search, language model,
weights and hot words with which it was measured. A sum of adapters has no scaling, and an adapter does not
use its base's.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters.card import set_name
from ia3_speech.adapters.record import METADATA, own_record, same_base, write_record
from ia3_speech.adapters.registry import without_writers
from ia3_speech.adapters.spec import AdapterSpec
from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import digest_of
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.scoring.record import load_json

if TYPE_CHECKING:
    from ia3_speech.decoding.recognizer import Recognizer
    from ia3_speech.decoding.reliability import Calibration
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

BASE_CONFIDENCE = "confidence.json"  # in a base's folder
WRITE_AGAIN = "(ia3-speech calibrate --store writes it again)"
# Entries of a search's record (see `search.make_search`) on which confidences depend.
FILES = ("lm", "hotwords")
NUMBERS = ("lm_weight", "word_score", "unknown_word_score", "beam_size", "hotword_weight")


def search_key(search_record: Mapping[str, Any]) -> str:
    """A line for a search, equal for equal searches: `greedy`, or `beam lm=… lm_weight=0.5 …`."""
    parts = [str(search_record["search"])]
    for name in FILES:
        if search_record.get(name):
            parts.append(f"{name}={digest_of(Path(search_record[name]))[:12]}")
    parts += [f"{name}={search_record[name]:g}" for name in NUMBERS if name in search_record]
    return " ".join(parts)


def stored_calibrations(
    base_folder: Path | None, spec: AdapterSpec, searches: Collection[str] = ("greedy", "beam")
) -> dict[str, Any]:
    """The stored entries for these searches: a single adapter's, or, without an adapter, the base's. Raises
    UserError if the base's file cannot be read."""
    stored: Any = {}
    if spec != AdapterSpec():
        stored = spec.terms[0].record.get("confidence") if spec.is_single else {}
    elif base_folder:
        stored = load_json(base_folder / BASE_CONFIDENCE, None)
    if not isinstance(stored, dict):
        return {}
    return {key: entry for key, entry in stored.items() if key.partition(" ")[0] in searches}


def find_scaling(base: "Base", spec: AdapterSpec, search_record: Mapping[str, Any]) -> Scaling | None:
    """The stored scaling of the single adapter, or, without an adapter, of the base, for a search, which is
    described as in decode.json; None if there is none. Raises UserError if the entry is no scaling."""
    folder = base.folder
    place = spec.terms[0].folder / METADATA if spec.terms else folder / BASE_CONFIDENCE
    stored = stored_calibrations(folder, spec, [search_record["search"]])
    if not stored or (entry := stored.get(search_key(search_record))) is None:
        return None
    if not spec.terms and not is_of_base(place, base):
        logger.warning(
            "%s: is of another base, and is not used (ia3-speech calibrate --store fits it)", place
        )
        return None
    try:
        return Scaling(entry["slope"], entry["bias"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place}: {error!r} {WRITE_AGAIN}") from None


def uncalibrated(recognizer: "Recognizer") -> str | None:
    """A note for the end of a run whose confidences are not calibrated, although a calibration for another
    search is stored; else None."""
    base, spec = recognizer.base, recognizer.spec
    stored = stored_calibrations(base.folder, spec)
    is_mine = recognizer.scaling or recognizer.test_time or search_key(recognizer.search_record) in stored
    if is_mine or not stored:
        return None
    name = str(spec) or base.name
    command = f"ia3-speech calibrate DEV_DATA {f'--adapter {name} ' if spec.terms else ''}--store"
    return (
        f"word confidences are not calibrated: the calibration stored with {name} is for another search, "
        f"language model, other weights or hot words ({command} calibrates these)"
    )


def is_of_base(file: Path, base: "Base") -> bool:
    return same_base(load_json(file).get("fingerprint", {}), base.fingerprint)


def storage_file(base: "Base", spec: AdapterSpec) -> Path:
    """The file of a scaling. Raises UserError if the adapter is a sum or has no record of ours; or, without
    an adapter, if the base is not a folder."""
    if spec.terms:
        if not spec.is_single:
            raise UserError("`store` needs a single adapter: a sum has no folder (take `out`)")
        own_record(spec.terms[0].folder)
        return spec.terms[0].folder / METADATA
    folder = base.folder
    if not folder.is_dir():
        raise UserError(f"`store`: the base {base.name} is not a folder (take `out`)")
    return folder / BASE_CONFIDENCE


def store_scaling(
    base: "Base", spec: AdapterSpec, search_record: Mapping[str, Any], fitted: "Calibration", data: Path
) -> Path:
    """Store a scaling, with its measures on the dev set `data`, in place of an older scaling for the same
    search; returns the file. Raises UserError as `storage_file`."""
    file = storage_file(base, spec)
    entry = {
        search_key(search_record): {
            **vars(fitted.scaling),
            "data": set_name(str(data.absolute())),
            "words": fitted.words,
            "calibration_error": round(fitted.calibration_error, 4),
        }
    }
    if spec.terms:
        with without_writers():  # a registered adapter may be replaced meanwhile
            record = own_record(file.parent)
            write_record(file.parent, record | {"confidence": record.get("confidence", {}) | entry})
        return file
    stored = stored_calibrations(file.parent, AdapterSpec())
    stored = stored if stored and is_of_base(file, base) else {}
    write_json(file, {"fingerprint": base.fingerprint} | stored | entry)
    return file
