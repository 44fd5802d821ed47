"""The scaling of word confidences: given as options, or what belongs to a base or an adapter, kept with it.

In: what `calibrate` fitted. Out: an entry for the search that it was fitted with, under "confidence" in an
adapter's ia3_speech.json, or in confidence.json in a base's folder:

    {"greedy": {"slope": 0.91, "bias": 0.2, "data": "clinic/dev", "words": 494, "calibration_error": 0.03}}

A sum of adapters has no scaling, nor has an adapter the base's: how
well an adapted model is calibrated is measured.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters.card import set_name
from ia3_speech.adapters.expressions import Term, is_single_adapter
from ia3_speech.adapters.record import METADATA, read_record, read_summary, same_base, write_record
from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.confidence.reliability import Calibration
from ia3_speech.decoding.word_times import Scaling

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

BASE_CONFIDENCE = "confidence.json"  # in a base's folder


def stored_calibrations(base_folder: Path | None, terms: Sequence[Term]) -> dict[str, Any]:
    """What is kept with one adapter, or, where there is none, with the base; empty where nothing is.

    Raises:
        UserError: the base's file cannot be read.
    """
    if terms:
        found = read_summary(terms[0].folder).get("confidence") if is_single_adapter([*terms]) else None
        return found if isinstance(found, dict) else {}
    file = base_folder and base_folder / BASE_CONFIDENCE
    if file is None or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: {error} (ia3-speech calibrate --store writes it again)") from None
    return found if isinstance(found, dict) else {}


def find_scaling(base: "Base", terms: Sequence[Term], search: str) -> Scaling | None:
    """The scaling that belongs to one adapter, or to the base where there is none; None where none does.

    Args:
        base: as it was loaded.
        terms: what the adapter consists of.
        search: greedy or beam.

    Raises:
        UserError: it is no scaling.
    """
    folder = Path(base.model.config.name_or_path)
    place = terms[0].folder / METADATA if terms else folder / BASE_CONFIDENCE
    stored = stored_calibrations(folder, terms)
    if (found := stored.get(search)) is None:
        return None
    if not terms and not same_base(stored.get("fingerprint", {}), base.fingerprint):
        logger.warning(
            "%s: is of another base, and is not used (ia3-speech calibrate --store fits it)", place
        )
        return None
    try:
        own = {name: found[name] for name in vars(Scaling()) if name in found}
        if not own:
            raise ValueError("holds no slope")
        return Scaling(**own)
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: {error} (ia3-speech calibrate --store writes it again)") from None


def storage_file(base: "Base", terms: Sequence[Term]) -> Path:
    """Where a scaling is kept: the record of the adapter, or, where there is none, a file of the base.

    Raises:
        UserError: the adapter is a sum, or has no record of ours; or the base is no folder.
    """
    if terms:
        if not is_single_adapter([*terms]):
            raise UserError("--store needs one adapter: a sum has no folder (take --out)")
        read_record(terms[0].folder)
        return terms[0].folder / METADATA
    folder = Path(base.model.config.name_or_path)
    if not folder.is_dir():
        raise UserError(f"--store: the base {base.name} is no folder (take --out)")
    return folder / BASE_CONFIDENCE


def store_scaling(base: "Base", terms: Sequence[Term], search: str, fitted: Calibration, data: Path) -> Path:
    """Keep a scaling with the adapter or the base, in place of that of the same search; returns the file.

    Args:
        base, terms, search: as for `find_scaling`.
        fitted: the scaling, and what was measured with it.
        data: the dev set that it was fitted on.

    Raises:
        UserError: as `storage_file`.
    """
    file = storage_file(base, terms)
    entry = {
        search: {
            "slope": fitted.scaling.slope,
            "bias": fitted.scaling.bias,
            "data": set_name(str(data.absolute())),
            "words": fitted.words,
            "calibration_error": round(fitted.calibration_error, 4),
        }
    }
    if terms:
        record = read_record(file.parent)
        write_record(file.parent, record | {"confidence": record.get("confidence", {}) | entry})
        return file
    stored, own = stored_calibrations(file.parent, ()), base.fingerprint
    kept = stored if same_base(stored.get("fingerprint", {}), own) else {}
    write_json(file, {"fingerprint": own} | kept | entry)
    return file
