"""`ia3_speech.json`, read and written: what an adapter's folder says of it. Nothing here loads torch.

    adapter_config.json, adapter_model.safetensors      PEFT's layout: `PeftModel.from_pretrained` reads it
    ia3_speech.json                                     base, placements, whose voice, scores
    README.md                                           the same for people and the Hub (see `card`)

In: an adapter's folder, ours or PEFT's. Out: its record, strict for loading (`read_metadata`), as JSON for
the model card (`read_record`), or tolerant for lists (`read_summary`).
"""

import json
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ia3_speech.adapters.adapter import SCHEMA, Metadata
from ia3_speech.atomic import write_json
from ia3_speech.model.architectures import AdapterError, IA3Config

METADATA, OWN_WEIGHTS = "ia3_speech.json", "ia3_speech.safetensors"
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CARD = "README.md"
FILES = (METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS, CARD)  # all that an adapter may consist of
TYPES = {
    **{"base": str, "fingerprint": dict, "config": dict, "labels": dict, "training": dict, "scores": list},
    "confidence": dict,  # written by `calibrate`; see confidence/storage.py
}
DAMAGED = "(damaged: copy the adapter again)"


def read_metadata(folder: Path | str) -> Metadata | None:
    """The record of an adapter, or None where another tool wrote it.

    Raises:
        AdapterError: it can't be read, is of another schema, or lacks what loading needs.
    """
    file = Path(folder) / METADATA
    if not file.exists():
        return None
    record = read_adapter_json(file)
    if record.get("schema") != SCHEMA:
        raise AdapterError(
            f'{file}: "schema" is not {SCHEMA} (a newer ia3-speech may have written it: upgrade)'
        )
    try:
        metadata = Metadata(**{f.name: record[f.name] for f in fields(Metadata) if f.name in record})
        config_of(metadata)
        metadata.fingerprint.keys()
    except (AttributeError, KeyError, TypeError) as error:
        raise AdapterError(f"{file}: {error} {DAMAGED}") from error
    return metadata


def config_of(metadata: Metadata) -> IA3Config:
    """The recorded placements, layers and train_head."""
    return IA3Config(**(metadata.config | {"placements": tuple(metadata.config["placements"])}))


def read_record(folder: Path) -> dict[str, Any]:
    """The contents of `ia3_speech.json`, without fields of a wrong type.

    Raises:
        AdapterError: there is none, or it can't be read.
    """
    file = folder / METADATA
    if not file.exists():
        raise AdapterError(
            f"{folder}: no {METADATA} in it, so another tool wrote it (load_adapter and save_adapter make it "
            f"one of ours)"
        )
    record = read_adapter_json(file)
    if not isinstance(record.get("labels", {}), dict):
        raise AdapterError(f"{file}: its labels are not an object {DAMAGED}")
    return without_wrong_types(record)


def read_summary(folder: Path) -> dict[str, Any]:
    """What an adapter says of itself: our `ia3_speech.json`, else the base in PEFT's configuration.

    Empty where neither can be read: such an adapter can be listed, and only loading it is an error.
    """
    try:
        return without_wrong_types(read_adapter_json(folder / METADATA))
    except AdapterError:
        pass
    try:
        return {"base": peft_base(folder)}
    except AdapterError:
        return {}


def recorded_base(folder: Path) -> str | None:
    """The base that an adapter was trained on, from our record or PEFT's; None where neither names one.

    Raises:
        AdapterError: the record can't be read.
    """
    if metadata := read_metadata(folder):
        return metadata.base or None
    return peft_base(folder)


def peft_base(folder: Path) -> str | None:
    """The base that PEFT's configuration names; `mini` also where it says beside it how to obtain that."""
    name = read_peft_config(folder).get("base_model_name_or_path")
    return "mini" if str(name).startswith("mini (") else name


def read_peft_config(folder: Path) -> dict[str, Any]:
    """The contents of PEFT's `adapter_config.json`. Raises AdapterError where it can't be read."""
    return read_adapter_json(folder / PEFT_CONFIG)


def same_base(recorded: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one base. In different precisions, architecture and sizes decide."""
    names = ["architecture", "layers", "hidden", "ffn", "vocabulary"]
    if recorded.get("dtype") == found.get("dtype"):
        names += ["sha256", *(["buffers"] if "buffers" in recorded and "buffers" in found else [])]
    return all(recorded.get(name) == found.get(name) for name in names)


def describe_base(fingerprint: dict[str, Any]) -> str:
    """A fingerprint in one line: `Wav2Vec2ForCTC, 4 layers of 384/1536, 29 symbols, weights 3f2a…`."""
    get = fingerprint.get
    return (
        f"{get('architecture')}, {get('layers')} layers of {get('hidden')}/"
        f"{get('ffn')}, {get('vocabulary')} symbols, weights {str(get('sha256'))[:8]}"
    )


def write_metadata(folder: Path, metadata: Metadata) -> dict[str, Any]:
    """Write `ia3_speech.json`, dated now; returns its contents."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = asdict(replace(metadata, created=now))
    write_record(folder, record)
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write `ia3_speech.json`."""
    write_json(folder / METADATA, record)


def read_adapter_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises AdapterError that names the file."""
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file}: {error} {DAMAGED}") from error
    if not isinstance(record, dict):
        raise AdapterError(f"{file}: is not an object {DAMAGED}")
    return record


def without_wrong_types(record: dict[str, Any]) -> dict[str, Any]:
    """A record, which may come from anywhere, without the fields and scores that are not what they should
    be."""
    valid = {name: value for name, value in record.items() if isinstance(value, TYPES.get(name, object))}
    if "scores" in valid:
        valid["scores"] = [
            score for score in valid["scores"] if isinstance(score, dict) and {"set", "wer"} <= score.keys()
        ]
    return valid
