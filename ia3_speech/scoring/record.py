"""The record of a result: a score.json, which identifies the system, seed, search and test set of its rates.

In: the arguments of `ia3-speech score`, or a score.json. Out: the fields that identify a result (never the
path of its folder), or a `Result`.

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

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ia3_speech.common.errors import UserError
from ia3_speech.scoring.error_rates import ErrorRates, Json, TermErrorRate
from ia3_speech.scoring.scorer import SCHEMA
from ia3_speech.scoring.significance import FEW_CLUSTERS

BASE = "base"  # the system without an adapter
GREEDY, BEAM, LM, HOTWORDS = "greedy", "beam", "lm", "hotwords"
SEARCHES = {GREEDY: "", BEAM: " + beam search", LM: " + LM", HOTWORDS: " + LM + hot words"}  # in names
OUT_OF_DOMAIN = "out_of_domain"  # the test set of speech that no adapter is made for
DEV = "dev"  # scored if the training did not select by dev
IDENTITY = ("corpus", "system", "system_seed", "search", "scale", "set", "base", "adapter", "data_sha256")


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
        return self.record["ci_clusters"] < FEW_CLUSTERS

    def is_marked(self, label: str, rates: ErrorRates) -> bool:
        """Whether the interval of a label's value is from too few clusters. Each value of the clusters' label
        (each speaker) is a single cluster and needs no mark."""
        unit = self.record["ci_unit"]
        return label != unit and (rates.ci_unit != unit or rates.ci_clusters < FEW_CLUSTERS)

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
