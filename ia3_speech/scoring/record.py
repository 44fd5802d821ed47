"""Score the hypotheses of a data directory, by speaker and label; write and read the record, score.json.

In: texts, or a score.json. Out: a `Score`, or a `Result`. In score.json rates are fractions, intervals are
[lower, upper], and null stands for nan and for an interval that cannot be estimated. It holds "schema": 1,
its provenance (data, decode_dir, baseline_dir, terms_file), and the fields of `Score` except for the
utterances. Without a baseline, "baseline" and "mapsswe" are absent; without training data, "overlap" (with
its "warnings" in words) and "unseen_sentences"; without confidences of words, "confidences". These fields,
and never the path of its folder, identify the system, seed, search and test set:

    corpus         the recipe's name of it; null if unknown
    system         base, or the name of the training
    system_seed    the seed of the training; null for the base and a mean of seeds
    search         greedy, beam (without a language model), lm or hotwords
    scale          the weight of the adapter: 1 unless it was scaled
    set            name of the test set
    base, adapter  names and digests, copied from decode.json
    data_sha256    digest of the data directory's tables
    compared_with  the fields corpus to adapter of the baseline; null without a baseline
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.kaldi.overlap import Overlap
from ia3_speech.scoring import error_rates, significance
from ia3_speech.scoring.alignment import align, count_errors
from ia3_speech.scoring.error_rates import ErrorRates, Json, ScoredUtterance, TermErrorRate
from ia3_speech.scoring.term_errors import TermList, count_terms

SCHEMA = 1  # of score.json
BASE = "base"  # the system without an adapter
GREEDY, BEAM, LM, HOTWORDS = "greedy", "beam", "lm", "hotwords"
SEARCHES = {GREEDY: "", BEAM: " + beam search", LM: " + LM", HOTWORDS: " + LM + hot words"}  # in names
OUT_OF_DOMAIN = "out_of_domain"  # the test set of speech that no adapter is made for
DEV = "dev"  # scored if the training did not select by dev
IDENTITY = ("corpus", "system", "system_seed", "search", "scale", "set", "base", "adapter", "data_sha256")


@dataclass(kw_only=True)
class Score(ErrorRates):
    """Error rates of a data directory (see `ErrorRates`), by label, and significance tests."""

    normalize: str  # text normalisation of both sides, a mode of `data.text.normalize`
    replications: int  # replicates of each bootstrap
    seed: int  # of the bootstraps
    by_label: dict[str, dict[str, ErrorRates]]  # label → value → its utterances; "speaker" is a label
    wer_bootci: significance.UtteranceBootstrap  # Kaldi's, of the system and any baseline
    # a = baseline, b = system: with a positive mean or z the system makes fewer errors
    mapsswe: significance.MatchedPairsTest | None = None
    baseline: ErrorRates | None = None
    overlap: Overlap | None = None  # with training; None if training is unknown
    # Of utterances whose sentence is not in training; None if these are unknown, all or none
    unseen_sentences: ErrorRates | None = None
    confidences: dict[str, Any] | None = None  # their reliability (confidence/); None without confidences
    scored: list[ScoredUtterance]  # aligned and counted


def score_hypotheses(
    data: DataDirectory,
    hypotheses: Mapping[str, str],
    *,
    baseline: Mapping[str, str] | None = None,
    terms: TermList | None = None,
    normalize: str = "ctc",
    cluster: str | None = None,
    overlap: Overlap | None = None,
    replications: int = significance.REPLICATIONS,
    seed: int = 0,
) -> Score:
    """Score hypotheses, {utterance id: text}, against the texts of a data directory; a missing text is empty.
    Raises UserError if no hypothesis belongs to this data, or an utterance lacks the label `cluster`.

    Args:
        baseline: hypotheses of another system, to compare with.
        normalize: text normalisation of both sides, a mode of `data.text.normalize`.
        cluster: the label whose values the bootstrap draws; None: consultations if every utterance has that
            label, else speakers.
        overlap: the overlap of the data with training; utterances whose sentence is not in training are also
            scored separately, unless these are all or none.
        replications, seed: of each bootstrap.
    """
    scored = score_utterances(data, hypotheses, terms, normalize)
    baseline_scored = None if baseline is None else score_utterances(data, baseline, terms, normalize)
    unit = cluster_unit(scored, cluster)

    def rates_of(indices: Sequence[int]) -> ErrorRates:
        chosen = [scored[index] for index in indices]
        against = baseline_scored and [baseline_scored[index] for index in indices]
        return error_rates.compute_error_rates(chosen, against, terms, unit, replications, seed)

    by_label: dict[str, dict[str, ErrorRates]] = {}
    for label in ["speaker", *sorted({label for u in scored for label in u.labels} - {"speaker"})]:
        groups: dict[str, list[int]] = {}
        for index, utterance in enumerate(scored):
            groups.setdefault(error_rates.label_value(utterance, label), []).append(index)
        by_label[label] = {value: rates_of(indices) for value, indices in sorted(groups.items())}
    errors, words = ([getattr(u.errors, count) for u in scored] for count in ("total", "words"))
    errors_before = baseline_scored and [utterance.errors.total for utterance in baseline_scored]
    result = Score(
        **vars(rates_of(range(len(scored)))),
        normalize=normalize,
        replications=replications,
        seed=seed,
        by_label=by_label,
        wer_bootci=significance.utterance_bootstrap(errors, words, errors_before, replications, seed),
        overlap=overlap,
        scored=scored,
    )
    if overlap and 0 < len(overlap.unseen) < len(scored):
        unseen = [index for index, utterance in enumerate(scored) if utterance.id in overlap.unseen]
        result.unseen_sentences = rates_of(unseen)
    if baseline_scored is not None:
        sampling = (unit, replications, seed)
        result.baseline = error_rates.compute_error_rates(baseline_scored, None, terms, *sampling)
        before, after = ([u.hypothesis for u in side] for side in (baseline_scored, scored))
        result.mapsswe = significance.mapsswe([utterance.reference for utterance in scored], before, after)
    return result


def score_utterances(
    data: DataDirectory, hypotheses: Mapping[str, str], terms: TermList | None, normalize: str
) -> list[ScoredUtterance]:
    """Normalise, align and count every utterance. Raises UserError as `score_hypotheses` does."""
    if not any(utterance.id in hypotheses for utterance in data):
        hint = "is it the set that was decoded?"
        raise UserError(f"{data.path}: none of its utterances has a hypothesis ({hint})")
    scored = []
    for utterance in data:
        reference = error_rates.normalized_words(utterance.text, normalize)
        hypothesis = error_rates.normalized_words(hypotheses.get(utterance.id, ""), normalize)
        pairs = align(reference, hypothesis)
        scored.append(
            ScoredUtterance(
                id=utterance.id,
                speaker=utterance.speaker,
                labels=utterance.labels,
                reference=reference,
                hypothesis=hypothesis,
                missing=utterance.id not in hypotheses,
                pairs=pairs,
                errors=count_errors(reference, hypothesis),
                characters=len(" ".join(reference)),
                character_errors=Levenshtein.distance(" ".join(reference), " ".join(hypothesis)),
                terms=count_terms(pairs, terms) if terms else np.zeros((1, 3), dtype=np.int64),
            )
        )
    return scored


def cluster_unit(scored: Sequence[ScoredUtterance], cluster: str | None) -> str:
    """The label whose values the bootstrap draws. Raises UserError if an utterance lacks it."""
    if cluster is None:
        return "consultation" if all("consultation" in u.labels for u in scored) else "speaker"
    for utterance in scored:
        if cluster not in (labels := ["speaker", "utterance", *sorted(utterance.labels)]):
            known = f"no such label (it has {', '.join(labels)})"
            raise UserError(f"`cluster` {cluster}: utterance {utterance.id} has {known}")
    return cluster


def write_score(file: Path, score: Score, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Write score.json and return its contents; `provenance`: the sources of the scored texts."""
    absent = {"scored"} | ({"baseline", "mapsswe"} if score.baseline is None else set())
    absent |= {"overlap", "unseen_sentences"} if score.overlap is None else set()
    absent |= {"confidences"} if score.confidences is None else set()
    fields = {name: value for name, value in vars(score).items() if name not in absent}
    if score.overlap:
        fields["overlap"] = score.overlap.record()
    record = {"schema": SCHEMA, **provenance, **json_value(fields)}
    write_json(file, record)
    return record


def json_value(value: Any) -> Any:
    """A value whose dataclasses, tuples and nan have become objects, arrays and null of JSON."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def identify(
    decode_dir: Path,
    set_name: str,
    system: str | None = None,
    system_seed: int | None = None,
    corpus: str | None = None,
) -> Json:
    """The fields that identify a result, without the digest of the data. A name that is not given is copied
    from an earlier score.json, or else from decode.json. Raises UserError for a damaged file."""
    decoded = load_json(decode_dir / "decode.json", None)
    scored = load_json(decode_dir / "score.json", None)
    adapter = decoded.get("adapter")
    name = (adapter["name"] if adapter else BASE) if "base" in decoded else str(decode_dir)
    terms = (adapter or {}).get("terms", ())
    search = scored.get("search", GREEDY)
    if decoded:
        beam = LM if decoded.get("lm") else BEAM
        search = HOTWORDS if decoded.get("hotwords") else beam if decoded.get("search") == "beam" else GREEDY
    return {
        "corpus": corpus or scored.get("corpus"),
        "system": system or scored.get("system") or name,
        "system_seed": scored.get("system_seed") if system is system_seed is None else system_seed,
        "search": search,
        "scale": terms[0].get("weight", 1.0) if len(terms) == 1 else 1.0,
        "set": set_name,
        "base": decoded.get("base"),
        "adapter": adapter,
    }


def load_json(file: Path, hint: str | None = "run the earlier stages") -> Json:
    """The JSON object in a file. Raises UserError for a damaged file, or for a missing file, with a hint;
    without a hint a missing file is empty."""
    if hint is None and not file.is_file():
        return {}
    try:
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: is not there ({hint})") from None
    except ValueError as error:
        raise UserError(f"{file}: is not JSON: {error} (damaged: make it again)") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}: is not a JSON object (damaged: make it again)")
    return record


@dataclass(frozen=True)
class Result:
    """The result of a system on a test set."""

    record: Json  # the contents of score.json
    folder: Path  # of score.json

    @property
    def system(self) -> str:
        return self.record["system"]

    @property
    def search(self) -> str:
        return self.record["search"]

    @property
    def search_name(self) -> str:
        """`LM + hot words`; empty for greedy search."""
        return SEARCHES[self.search].removeprefix(" + ")

    @property
    def set(self) -> str:
        return self.record["set"]

    @property
    def name(self) -> str:
        """`ia3_plus + LM`."""
        return name_of(self.record)

    @property
    def label(self) -> str:
        """`ia3_plus_seed1 + LM`: the name with the seed."""
        return name_of(self.record, with_seed=True)

    @property
    def baseline_name(self) -> str | None:
        return name_of(self.record["compared_with"]) if self.has_baseline else None

    @property
    def baseline_label(self) -> str | None:
        return name_of(self.record["compared_with"], with_seed=True) if self.has_baseline else None

    @cached_property
    def all(self) -> ErrorRates:
        """The rates of all utterances."""
        return ErrorRates.read(self.record)

    @cached_property
    def unseen(self) -> ErrorRates | None:
        """The rates of utterances whose sentence is not in training; None if unknown, all or none."""
        rates = self.record.get("unseen_sentences")
        return ErrorRates.read(rates) if rates else None

    @cached_property
    def by_label(self) -> dict[str, dict[str, ErrorRates]]:
        """Label → value → the rates of its utterances; "speaker" is a label."""
        return {
            label: {value: ErrorRates.read(rates) for value, rates in values.items()}
            for label, values in self.record["by_label"].items()
        }

    @property
    def terms(self) -> dict[str, TermErrorRate]:
        """Errors of all terms, by the name "", and of each category; empty without a term list."""
        return {"": self.all.terms} | self.all.terms_by_category if self.all.terms else {}

    @property
    def has_baseline(self) -> bool:
        return bool(self.record.get("baseline"))

    def is_against(self, baseline: "Result") -> bool:
        """Whether this was scored against `baseline` as it is now, on the same data."""
        then, now = self.record.get("baseline") or {}, baseline.record
        counts = ("utterances", "words", "errors", "wer")
        same_data = self.record["data_sha256"] == now["data_sha256"]
        return same_data and all(then.get(name) == now[name] for name in counts)

    @property
    def few_clusters(self) -> bool:
        """Whether all intervals are from too few speakers (or other clusters)."""
        return self.record["ci_clusters"] < significance.FEW_CLUSTERS

    def is_marked(self, label: str, rates: ErrorRates) -> bool:
        """Whether the interval of a label's value is from too few clusters. Each value of the clusters' label
        (each speaker) is a single cluster and needs no mark."""
        unit = self.record["ci_unit"]
        return label != unit and (rates.ci_unit != unit or rates.ci_clusters < significance.FEW_CLUSTERS)

    @property
    def confidences(self) -> Json | None:
        """The reliability of the word confidences; None if decode wrote no confidences."""
        return self.record.get("confidences")

    @property
    def overlap(self) -> Json:
        """The overlap of the test set with training; empty if it is unknown."""
        return self.record.get("overlap") or {}

    @property
    def warnings(self) -> list[str]:
        """Sentences, without full stops, on the overlap of the test set with training."""
        return list(self.overlap.get("warnings", ()))


def name_of(identity: Json, with_seed: bool = False) -> str:
    """`ia3_plus + LM`, `ia3_plus_seed1 + LM`, `ia3_plus × 0.5`."""
    seed = f"_seed{identity['system_seed']}" if with_seed and identity["system_seed"] is not None else ""
    scale = f" × {identity['scale']:g}" if identity["scale"] != 1 else ""
    return f"{identity['system']}{seed}{scale}{SEARCHES[identity['search']]}"


def read_result(file: Path) -> Result:
    """The result in a score.json. Raises UserError for a missing file or another format."""
    record = load_json(file, f'run "ia3-speech score DATA {file.parent}" first')
    if record.get("schema") != SCHEMA:
        raise UserError(f'{file}: not a score.json of "schema" {SCHEMA} (ia3-speech score writes it)')
    if "data_sha256" not in record:  # ia3-speech 0.1 wrote it
        hint = "run stages 4 to 7 again, or ia3-speech score --system NAME --force"
        raise UserError(f"{file}: does not say which system it is of ({hint})")
    return Result(record, file.parent)
