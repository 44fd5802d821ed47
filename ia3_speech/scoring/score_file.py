"""The result of scoring, and its file `score.json`, which this module alone writes and reads.

In `score.json` rates are fractions, intervals are [lower, upper], and null stands for nan and for an interval
that cannot be estimated. It holds "schema": 1, the provenance (data, decode_dir, baseline_dir, terms_file and
filters), and the fields of `Score` apart from the utterances. Without a baseline, "baseline" and "mapsswe"
are absent, without training data "overlap" (with its "warnings" in words) and "unseen_sentences", and without
confidences of words "confidences".
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.overlap import Overlap
from ia3_speech.scoring.error_rates import ErrorRates, ScoredUtterance
from ia3_speech.scoring.significance import MatchedPairsTest, UtteranceBootstrap

SCHEMA = 1


@dataclass(kw_only=True)
class Score(ErrorRates):
    """Error rates of a data directory (see `ErrorRates`), by label, and significance tests.

    Attributes:
        normalize: text normalisation of references and hypotheses, a mode of `data.text.normalize`.
        replications: replicates of each bootstrap.
        seed: of the bootstraps.
        by_label: label → value → error rates of its utterances; "speaker" is a label.
        wer_bootci: Kaldi's bootstrap over utterances, of the baseline too if there is one.
        mapsswe: matched pairs test, a = baseline, b = system: a positive mean or z says that the system makes
            fewer errors. None without a baseline.
        baseline: error rates of the baseline; None without one.
        overlap: what the test set has in common with training; None where training is not known.
        unseen_sentences: error rates of the utterances whose sentence does not occur in training; None where
            that is not known, and where it holds for all utterances or for none.
        confidences: how reliable the word confidences are that decode wrote, as confidence/ measured
            it; None where it wrote none.
        scored: the utterances, aligned and counted.
        baseline_scored: the same of the baseline; None without one.
    """

    normalize: str
    replications: int
    seed: int
    by_label: dict[str, dict[str, ErrorRates]]
    wer_bootci: UtteranceBootstrap
    mapsswe: MatchedPairsTest | None = None
    baseline: ErrorRates | None = None
    overlap: Overlap | None = None
    unseen_sentences: ErrorRates | None = None
    confidences: dict[str, Any] | None = None
    scored: list[ScoredUtterance]
    baseline_scored: list[ScoredUtterance] | None = None


def write_score(file: Path, score: Score, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Write score.json and return its contents; `provenance` is where the scored texts came from."""
    fields = {name: value for name, value in vars(score).items() if not name.endswith("scored")}
    if score.baseline is None:
        del fields["baseline"], fields["mapsswe"]
    if score.overlap is None:
        del fields["overlap"], fields["unseen_sentences"]
    else:
        fields["overlap"] = score.overlap.record()
    if score.confidences is None:
        del fields["confidences"]
    record = {"schema": SCHEMA, **provenance, **json_value(fields)}
    write_json(file, record)
    return record


def read_score(file: Path) -> dict[str, Any]:
    """The contents of a score.json.

    Raises:
        UserError: the file is not there, or not a score.json of this schema.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = f'run "ia3-speech score DATA {file.parent}" first'
        raise UserError(f"{file}: is not there ({hint})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: {error} (ia3-speech score writes it)") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA or "wer" not in record:
        raise UserError(f'{file}: not a score.json of "schema" {SCHEMA} (ia3-speech score writes it)')
    return record


def json_value(value: Any) -> Any:
    """Dataclasses, tuples and nan as JSON has them: objects, arrays and null."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
