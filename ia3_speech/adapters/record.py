"""An adapter in memory, and its record, `ia3_speech.json`. Nothing here loads torch.

    adapter_config.json, adapter_model.safetensors      PEFT's layout: `PeftModel.from_pretrained` reads it
    ia3_speech.json                                     base, placements, speaker, scores
    README.md                                           the same for people and the Hub (see `card`)
    gate.safetensors                                    perhaps: statistics of its speech (see `routing`)
    guard.json                                          perhaps: when its text is better than the base's

In: an adapter's folder, ours or PEFT's. Out: its record as JSON values, which a `spec.Term` carries, so that
nothing below reads it again.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Required, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import ia3_speech
from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.architectures import IA3Config

if TYPE_CHECKING:
    import torch

    from ia3_speech.model.ia3 import TargetModule

SCHEMA = 1  # of ia3_speech.json
METADATA, OWN_WEIGHTS = "ia3_speech.json", "ia3_speech.safetensors"
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CARD, GATE, GUARD = "README.md", "gate.safetensors", "guard.json"
FILES = (METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS, CARD, GATE, GUARD)  # all files of an adapter
STORED_LM, STORED_LM_WEIGHTS, STORED_HOTWORDS = "lm.arpa.gz", "lm.json", "hotwords.txt"
SEARCH_FILES = (STORED_LM, STORED_LM_WEIGHTS, STORED_HOTWORDS)  # of its search, registered beside it
PLACED = ("lora", "dora", "vera", "peft")  # methods beside IA³ that stand on the modules of placements
# Names of the base mini in PEFT's configuration: its path in an installation, and the text of versions to 0.2
OTHER_MINI = re.compile(r"(.*[/\\])?ia3_speech[/\\]mini[/\\]?|mini \(.*", re.DOTALL)
DAMAGED = "(damaged: restore a copy, or write it again)"


class Fingerprint(TypedDict, total=False):
    architecture: str
    classes: int
    class_names: list[str]


class Config(TypedDict, total=False):
    placements: list[str]
    layers: str | int
    train_head: bool
    window: str
    language: str
    method: str
    options: dict[str, Any]


class Training(TypedDict, total=False):
    data: str | None  # the data directory; `dataset`: its name, of an adapter from another machine
    dataset: str
    data_sha256: str  # of its texts and audio files, `training.data.data_digest`
    trained_on: list[str]  # utterances
    corrections: dict[str, int]  # utterance → CRC-32 of its text
    classes: list[str]


class UnseenSentences(TypedDict, total=False):
    utterances: Required[int]
    wer: Required[float | None]
    base_wer: float | None


class ScoreSummary(TypedDict, total=False):
    set: Required[str]
    wer: Required[float | None]
    wer_ci: tuple[float, float] | None
    cer: float | None
    base_wer: float | None
    relative: float | None
    relative_ci: tuple[float, float] | None
    words: int | None
    warnings: list[str] | None
    pooled_speakers: int | None
    search: str  # with which `wer` was measured; missing for greedy search
    compared_with: str | None
    unseen_sentences: UnseenSentences | None


class Confidence(TypedDict):
    slope: float
    bias: float


class Gate(TypedDict, total=False):
    utterances: int


class Record(TypedDict, total=False):
    base: str
    fingerprint: Fingerprint
    config: Config
    labels: dict[str, str | float | bool | None]
    training: Training
    scores: list[ScoreSummary]
    confidence: dict[str, Confidence]  # as `calibrate --store` writes it
    gate: Gate  # as `adapters gate` writes it
    version: str
    created: str


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number that a float can hold."""
    return type(value) in (int, float) and abs(value) < 1e300


def wrong_entry(value: Any, kind: Any, name: str = "") -> str | None:
    """The name of the first entry that is not of its type, such as `scores.0.set`; None where all are."""
    origin, kinds, entries = get_origin(kind), get_args(kind), {}
    if origin is UnionType:
        return None if any(wrong_entry(value, each) is None for each in kinds) else name
    if is_typeddict(kind) or origin is dict:
        is_right = isinstance(value, dict) and getattr(kind, "__required_keys__", set()) <= value.keys()
        hints = (
            get_type_hints(kind) if is_typeddict(kind) else dict.fromkeys(value if is_right else (), kinds[1])
        )
        entries = {key: (value[key], hint) for key, hint in hints.items() if is_right and key in value}
    elif origin in (list, tuple):
        is_right = isinstance(value, list) and (origin is list or len(value) == len(kinds))
        entries = {number: (entry, kinds[0]) for number, entry in enumerate(value if is_right else ())}
    elif kind is float:
        is_right = is_number(value)
    else:
        is_right = kind is Any or type(value) is kind
    if not is_right:
        return name
    faults = (wrong_entry(*pair, f"{name}.{key}".lstrip(".")) for key, pair in entries.items())
    return next(filter(None, faults), None)


@dataclass
class Adapter:
    """An adapter in memory, not attached to a model."""

    name: str  # in messages
    config: IA3Config  # placements, layers, train_head
    vectors: "dict[TargetModule, torch.Tensor]"  # target module → l, (d,), fp32
    # The trained head's parameters by their names in the model (`lm_head.weight`), if a head was trained
    head: "dict[str, torch.Tensor]" = field(default_factory=dict)
    # As in `ia3_speech.json`; without `is_ours` if another tool wrote the adapter
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> "dict[str, torch.Tensor]":
        """All trained parameters, by their names in the model."""
        return {target.vector_path: tensor for target, tensor in self.vectors.items()} | self.head


def read_json(file: Path, kind: Any = dict[str, Any]) -> dict[str, Any]:
    """The object in a JSON file, whose entries have the types of `kind`, such as a TypedDict. Raises
    AdapterError that names the file, and the entry of a wrong type."""
    try:
        record = json.loads(file.read_text("utf-8"))
        json.dumps(record, ensure_ascii=False).encode()  # raises for half a surrogate pair
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{file}: {error} {DAMAGED}") from error
    if (name := wrong_entry(record, kind)) is not None:
        fault = f'"{name}" is of a wrong type' if name else "is not an object"
        raise AdapterError(f"{file}: {fault} {DAMAGED}")
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """The contents of `ia3_speech.json`; of an adapter that another tool wrote, the base and the method by
    PEFT's configuration. Raises AdapterError if the file is damaged, missing or of a newer schema."""
    file = folder / METADATA
    if not file.exists():
        return peft_record(folder)
    record = read_json(file, Record)
    if record.get("schema") != SCHEMA:
        raise AdapterError(
            f'{file}: "schema" is not {SCHEMA} (a newer ia3-speech may have written it: upgrade)'
        )
    return record


def peft_record(folder: Path) -> dict[str, Any]:
    """The entries of a record that PEFT's configuration holds."""
    config = read_json(folder / PEFT_CONFIG)
    base, method = config.get("base_model_name_or_path"), str(config.get("peft_type", "ia3")).lower()
    record: dict[str, Any] = {}
    if isinstance(base, str):
        record["base"] = "mini" if OTHER_MINI.fullmatch(base) else base
    return record | ({"config": {"method": method}} if method != "ia3" else {})


def read_summary(folder: Path) -> dict[str, Any]:
    """`read_record` for lists: empty if the record can't be read. Loading such an adapter is an error."""
    with suppress(AdapterError):
        return read_record(folder)
    return {}


def is_ours(record: Mapping[str, Any]) -> bool:
    """Whether ia3-speech wrote a record, and not another tool."""
    return "schema" in record


def own_record(folder: Path) -> dict[str, Any]:
    """`read_record` for changes. Raises AdapterError also if another tool wrote the adapter."""
    if not is_ours(record := read_record(folder)):
        raise AdapterError(
            f"{folder}: has no {METADATA}, so another tool wrote it (load it with load_adapter, and write it "
            f"with save_adapter)"
        )
    return record


def new_record(
    base: str, fingerprint: Mapping[str, Any], config: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """The record of a new adapter.

    Args:
        base: its name: mini, a folder's full path, a Hub id; "" if unknown.
        fingerprint: as `model.fingerprint.fingerprint`.
        config: placements, layers, train_head; of another method than IA³ its name and options.
        more: labels (speaker, accent, domain, language, …) and training (data, seed, epochs, dev WER, …).
    """
    record = {"base": base, "fingerprint": fingerprint, "config": config}
    record |= {"labels": {}, "training": {}, "scores": []} | more
    return record | {"version": ia3_speech.__version__, "created": "", "schema": SCHEMA}


def ia3_config(record: Mapping[str, Any], folder: Path) -> IA3Config:
    """The placements, layers and train_head in the record of the adapter in `folder`. Raises AdapterError if
    they are damaged."""
    try:
        config = record["config"]
        return IA3Config(**(config | {"placements": tuple(config["placements"])}))
    except (KeyError, TypeError) as error:
        raise AdapterError(f"{folder / METADATA}: {error} {DAMAGED}") from error


def write_record(folder: Path, record: dict[str, Any]) -> None:
    write_json(folder / METADATA, record)


def same_base(recorded: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one base. In different precisions, architecture and sizes decide."""
    names = ["architecture", "layers", "hidden", "ffn", "vocabulary", "classes"]
    if recorded.get("dtype") == other.get("dtype"):
        names += ["sha256", "buffers"]
    return all(recorded.get(name) == other.get(name) for name in names)


def describe_base(fingerprint: dict[str, Any]) -> str:
    """A fingerprint in one line: `Wav2Vec2ForCTC, 4 layers of 384/1536, 29 symbols, weights 3f2a…`."""
    get = fingerprint.get
    units = {"vocabulary": "symbols", "classes": "classes"}
    outputs = "".join(f"{get(name)} {unit}, " for name, unit in units.items() if name in fingerprint)
    return (
        f"{get('architecture')}, {get('layers')} layers of {get('hidden')}/{get('ffn')}, {outputs}"
        f"weights {str(get('sha256'))[:8]}"
    )
