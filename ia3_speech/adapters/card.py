"""An adapter's model card: README.md in its folder, with the front matter that the Hugging Face Hub reads.

    python -m ia3_speech.adapters card exp/NAME/adapter --name NAME --score exp/NAME/decode/score.json

In: an adapter's record (`ia3_speech.json`), how many numbers stand where, and what `ia3_speech.score` wrote.
Out: Markdown; the same input gives the same text. It may be published, so it holds no path of this machine:
of a base in a folder and of a data directory only the names, and `base_model` only where it is a hub id.
Format: https://huggingface.co/docs/hub/model-cards, rates in percent there as on the Hub's boards.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters import record as files
from ia3_speech.cli import UserError
from ia3_speech.scoring import score_file

TASK = "automatic-speech-recognition"
LIBRARY = "ia3-speech"
PAPER = "https://arxiv.org/abs/2205.05638"
ADAPTING = ("speaker", "accent", "domain")  # labels that say what an adapter is for
OURS = "<!-- Made from ia3_speech.json. Without this line, push leaves the text as it is. -->"
BIOMETRIC = (
    "This adapter was fitted to the voice of one person. Treat it as biometric data about that person: "
    "where it can serve to identify them, it is of the special categories of personal data (GDPR, Article "
    "9). Keep, share or publish it only with their explicit consent or on another ground of Article 9(2), "
    "and delete it when that ground ends."
)


def is_biometric(record: Mapping[str, Any]) -> bool:
    """Whether an adapter was fitted to one person: it has a label `speaker`."""
    labels = record.get("labels")
    return isinstance(labels, Mapping) and bool(labels.get("speaker"))


def update(folder: Path, name: str | None = None, score_files: Sequence[Path] = ()) -> Path:
    """Write the card of an adapter on disk again, with scores, and return its place.

    Scores go into the record too; a set that was scored before is replaced. The tensors are not touched, and
    a file that would be the same again isn't either.

    Args:
        name: the adapter's name; None: what it is for stands in the title.
        score_files: score.json of one or more test sets.

    Raises:
        UserError: the adapter has no record of ours, or a file is no score.json.
    """
    record, sizes = files.read_record(folder), files.sizes_of(files.read_tensors(folder))
    if new := [read_score(file) for file in score_files]:
        if twice := [name for name, count in Counter(one["set"] for one in new).items() if count > 1]:
            raise UserError(f"two of the scores are of sets called {twice[0]}, of which one would be lost "
                            f"(keep the data below folders data/NAME/)")  # fmt: skip
        known = {one["set"]: one for one in record.get("scores") or []}
        scored = list((known | {one["set"]: one for one in new}).values())
        if scored != record.get("scores"):
            atomic.write_json(folder / files.METADATA, record := record | {"scores": scored})
    place, peft = folder / files.CARD, (folder / files.PEFT_CONFIG).exists()
    made = text(record, sizes, name=name, peft=peft)
    if not place.exists() or place.read_text("utf-8") != made:
        atomic.write_text(place, made)
    return place


def read_score(file: Path) -> dict[str, Any]:
    """What a record keeps of a score.json, rates as fractions. Raises UserError where the file is none."""
    score = score_file.read_score(file)
    change = (score.get("changes") or {}).get("wer") or {}
    kept = ("wer", "wer_ci", "ci_unit", "cer", "cer_ci", "words", "utterances", "term_error_rate")
    return {
        "set": set_name(score.get("data") or file.parent.name),
        **{name: score.get(name) for name in kept},
        "base_wer": change.get("baseline"),
        "relative": change.get("relative"),
        "relative_ci": change.get("relative_ci"),
    }


def set_name(path: str) -> str:
    """`/home/ann/data/medical_notes/test` → `medical_notes/test`: what follows `data`, at most two parts of
    it; else the last part."""
    parts = [part for part in re.split(r"[/\\]", str(path)) if part]
    above = parts[:-1]
    last = len(above) - above[::-1].index("data") if "data" in above else len(above)
    last = max(last, len(parts) - 2)
    return "/".join(parts[last:]) or "unnamed"


def hub_id(base: str | None) -> str | None:
    """The base's name, if it can be one of the Hub's and is no folder of this machine."""
    if not base or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", base, re.ASCII):
        return None
    return None if Path(base).exists() else base


def base_name(base: str | None) -> str:
    """A base's name as it may be published: `mini`, a hub id, or the last part of a folder's path."""
    if not base or base == "mini" or hub_id(base):
        return base or "unnamed"
    last = re.split(r"[/\\]", base.rstrip("/\\"))[-1]
    return last if last and last != "mini" else "unnamed"  # only one base is the mini base


# ---- the text


def text(
    record: Mapping[str, Any], sizes: Mapping[str, int], *, name: str | None = None, peft: bool = True
) -> str:
    """The card.

    Args:
        record: the contents of ia3_speech.json; what is missing there is left out here.
        sizes: placement → numbers; `head` for a trained head.
        name: the adapter's name, or its id on the Hub; None: what it is for stands in the title.
        peft: PEFT can load these files.
    """
    import yaml

    front = yaml.safe_dump(front_matter(record, name, peft), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"# {plain(name or title(record))}",
        introduction(sizes),
        *([f"> **Data about a person.** {BIOMETRIC}"] if is_biometric(record) else []),
        facts(record, sizes),
        f"## Scores\n\n{scores(record)}",
        f"## Use\n\n{usage(record, name, peft)}",
        OURS,
    ]
    return f"---\n{front}---\n" + "".join(f"\n{part}\n" for part in parts)


def front_matter(record: Mapping[str, Any], name: str | None, peft: bool) -> dict[str, Any]:
    """What the Hub reads: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    labels, found = labels_of(record), hub_id(record.get("base"))
    kind = (record.get("fingerprint") or {}).get("model_type")
    adapted = [label for label in ADAPTING if labels.get(label)]
    tags = ["ia3", LIBRARY, *(["peft"] if peft else []), *([kind] if kind else [])]
    tags += [f"{label}-adaptation" for label in adapted] + ["biometric-data"] * is_biometric(record)
    front = {"base_model": found} if found else {}  # the mini base and a local folder have no page there
    front |= {"base_model_relation": "adapter", "pipeline_tag": TASK, "library_name": LIBRARY, "tags": tags}
    if language := re.match(r"[a-z]{2,3}\b", labels.get("language", "").lower()):  # ISO 639: en of en-GB
        front["language"] = [language[0]]
    scored = [score for score in record.get("scores") or [] if score["wer"] is not None]
    if results := [result(score) for score in scored]:
        front["metrics"] = ["wer", "cer"]
        front["model-index"] = [{"name": name or title(record), "results": results}]
    return front


def result(score: Mapping[str, Any]) -> dict[str, Any]:
    """One test set's entry of `model-index`: percent, with the interval beside the value and in words."""
    wer = {"type": "wer", "value": percent(score["wer"]), "name": "WER"}
    if score.get("wer_ci"):
        low, high = (percent(value) for value in score["wer_ci"])
        wer["name"] = f"WER (95 % interval {low}-{high})"
        wer["args"] = {"interval": [low, high], "level": 95, "resampled": score.get("ci_unit")}
    metrics = [wer]
    if score.get("cer") is not None:
        metrics.append({"type": "cer", "value": percent(score["cer"]), "name": "CER"})
    corpus = score["set"].split("/")[0]
    return {
        "task": {"type": TASK, "name": "Automatic Speech Recognition"},
        "dataset": {"type": corpus, "name": score["set"]},
        "metrics": metrics,
    }


def percent(rate: float | None) -> float | None:
    return None if rate is None else round(100 * rate, 2)


def title(record: Mapping[str, Any]) -> str:
    """`IA³ adapter: speaker 42, accent scots`, or of which base it is."""
    words = [f"{name} {value}" for name, value in labels_of(record).items() if name != "language"]
    return "IA³ adapter" + (f": {', '.join(words)}" if words else f" of {base_name(record.get('base'))}")


def labels_of(record: Mapping[str, Any]) -> dict[str, str]:
    labels = record.get("labels")
    return {str(k): str(v) for k, v in labels.items() if v} if isinstance(labels, Mapping) else {}


def introduction(sizes: Mapping[str, int]) -> str:
    if set(sizes) == {"head"}:
        return f"An adapter for speech recognition: a trained CTC head of {sizes['head']:,} numbers."
    head = f", and a trained CTC head of {sizes['head']:,} numbers" if "head" in sizes else ""
    vectors = sum(count for place, count in sizes.items() if place != "head")
    return (
        f"An adapter for speech recognition: {vectors:,} numbers, IA³ vectors that multiply activations of a "
        f"frozen CTC model ([Liu et al. 2022]({PAPER})){head}."
    )


def facts(record: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """The table of what is known."""
    mark, config, training = (record.get(name) or {} for name in ("fingerprint", "config", "training"))
    base, found = base_name(record.get("base")), hub_id(record.get("base"))
    base = f"[{base}](https://huggingface.co/{found})" if found else plain(base)
    if base == "mini":
        base += f" (comes with {LIBRARY})"
    rows = {
        "base": base,
        "architecture": architecture(mark) if mark else None,
        "placements": ", ".join(f"{name} ({count:,} numbers)" for name, count in sizes.items()),
        "layers": config.get("layers"),
        "for": ", ".join(f"{name} {value}" for name, value in labels_of(record).items()),
        "trained on": trained_on(training),
        "training": trained_how(training),
        "made by": f"{LIBRARY} {record['version']}" if record.get("version") else None,
    }
    cells = {name: value if name == "base" else plain(value) for name, value in rows.items() if value}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells.items())])


def architecture(mark: Mapping[str, Any]) -> str:
    """A fingerprint, as `base.describe` has it, and in which precision its digest was taken."""
    return (
        f"{mark.get('architecture')}, {mark.get('layers')} layers of {mark.get('hidden')}/{mark.get('ffn')}, "
        f"{mark.get('vocabulary')} symbols, weights {str(mark.get('sha256'))[:8]} in {mark.get('dtype')}"
    )


def trained_on(training: Mapping[str, Any]) -> str:
    """`medical_notes/train, 412 utterances, 0.9 hours of audio`."""
    words = {"utterances": "{:,} utterances", "audio_seconds": "{:.1f} hours of audio"}
    hours = (
        {"audio_seconds": training["audio_seconds"] / 3600} if is_number(training, "audio_seconds") else {}
    )
    data = [set_name(training["data"])] if training.get("data") else []
    return ", ".join(data + said(words, {**training, **hours}))


def trained_how(training: Mapping[str, Any]) -> str:
    """`8 epochs, learning rate 0.01, seed 1, WER of the dev set 31.2%`."""
    words = {
        "epochs": "{} epochs", "learning_rate": "learning rate {:g}", "seed": "seed {}",
        "dev_wer": "WER of the dev set {:.1%}",
    }  # fmt: skip
    return ", ".join(said(words, training))


def said(words: Mapping[str, str], training: Mapping[str, Any]) -> list[str]:
    """Those of the numbers that are there: a trainer may remember whatever it likes."""
    return [form.format(training[name]) for name, form in words.items() if is_number(training, name)]


def is_number(training: Mapping[str, Any], name: str) -> bool:
    return isinstance(training.get(name), int | float)


def scores(record: Mapping[str, Any]) -> str:
    """The table of test sets. Intervals are bootstraps over what the last column names."""
    rows = record.get("scores") or []
    if not rows:
        return f"None recorded (`python -m {LIBRARY.replace('-', '_')}.adapters card` adds them)."
    lines = ["| test set | WER | 95 % interval | WER of the base | change | CER | words | resampled |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---|")
    for one in rows:
        cells = [
            one["set"], rate(one["wer"]), interval(one),
            rate(one.get("base_wer")), change(one), rate(one.get("cer")), f"{one.get('words') or 0:,}",
            f"{one['ci_unit']}s" if one.get("ci_unit") else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(plain(cell) for cell in cells)} |")
    return "\n".join(lines)


def score_words(score: Mapping[str, Any]) -> str:
    """`medical_notes/test: WER 40.0% (37.1%–43.0%)`."""
    between = f" ({interval(score)})" if score.get("wer_ci") else ""
    return f"{score['set']}: WER {rate(score['wer'])}{between}"


def interval(score: Mapping[str, Any]) -> str:
    return "–".join(rate(value) for value in score.get("wer_ci") or ())


def rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def change(score: Mapping[str, Any]) -> str:
    """`-13.6 % (-18.0 to -9.1)`: relative to the base, with its paired interval."""
    if score.get("relative") is None:
        return ""
    ends = score.get("relative_ci")
    between = f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})" if ends else ""
    return f"{score['relative']:+.1%}{between}"


def usage(record: Mapping[str, Any], name: str | None, peft: bool) -> str:
    """Lines to copy."""
    base, adapter = base_name(record.get("base")), name or "ADAPTER"
    known = base == "mini" or hub_id(record.get("base"))
    option, base = ("", base) if known else (" --base BASE", "BASE")
    lines = [] if name else ["`ADAPTER` is this folder, or the name that it is registered under.\n"]
    lines += [] if known else ["`BASE` is the folder of the base.\n"]
    lines += [
        f"```bash\npython -m ia3_speech.transcribe --adapter {adapter}{option} audio.wav\n```\n",
        "```python\nfrom ia3_speech import load_adapter, load_base\n",
        f'base = load_base("{base}")\nload_adapter(base.model, "{adapter}")\n```',
    ]
    lines += ["\nPEFT loads the folder too: `PeftModel.from_pretrained(model, FOLDER)`."] if peft else []
    return "\n".join(lines)


def plain(value: Any) -> str:
    """On one line, and no Markdown of its own: a label may hold anything."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(str(value).split()))
