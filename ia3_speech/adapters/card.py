"""An adapter's model card: README.md in its folder, with the front matter that the Hugging Face Hub reads.

    ia3-speech adapters card exp/NAME/adapter --name NAME --score exp/NAME/decode/score.json

In: an adapter's record (`ia3_speech.json`), its parameters by placement, and score.json files. Out: Markdown.
It may be published, so it holds no path of this machine: only the names of a base's folder and of a data
directory, and `base_model` only if it is a hub id.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters.record import CARD, PEFT_CONFIG, describe_base, is_number, own_record, write_record
from ia3_speech.adapters.weights import count_by_placement, read_weights
from ia3_speech.common.atomic import write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural
from ia3_speech.scoring.table import Rate, markdown_table, markdown_text

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TASK = "automatic-speech-recognition"
CLASSIFIERS = ("ForSequenceClassification", "ForAudioFrameClassification", "ForXVector")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
LIBRARY = "ia3-speech"
PAPER = "https://arxiv.org/abs/2205.05638"
ADAPTED_TO = ("speaker", "accent", "domain")  # labels that say what an adapter is for
TRAINING = {  # option of the training → its text in the card
    "epochs": "epochs: {}", "learning_rate": "learning rate {:g}", "seed": "seed {}",
}  # fmt: skip
GENERATED = "<!-- Made from ia3_speech.json. Without this line, push leaves the text as it is. -->"
BIOMETRIC = (
    "This adapter was fitted to the voice of one person. Treat it as biometric data about that person: "
    "where it can serve to identify them, it is of the special categories of personal data (GDPR, Article "
    "9). Keep, share or publish it only with their explicit consent or on another ground of Article 9(2), "
    "and delete it when that ground ends."
)
GATE_REVEALS = (
    "`gate.safetensors`, by which `--adapter auto` chooses this adapter, holds mean and covariance of what "
    "the base's front end makes of {}, over time: how lines, rooms and voices sound on average. No word or "
    "utterance can be told from it; a voice can, where all are of one person, and if a recording is alike."
)


def adapter_labels(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(label) for name, label in (record.get("labels") or {}).items() if label}


def task_of(record: Mapping[str, Any]) -> str:
    """The Hub's name for the task of an adapter's base."""
    architecture = str((record.get("fingerprint") or {}).get("architecture"))
    if architecture.endswith(CLASSIFIERS):
        return "audio-classification"
    return "feature-extraction" if architecture.endswith("Model") else TASK


def is_biometric(record: Mapping[str, Any]) -> bool:
    """Whether an adapter was fitted to a person: it has a label `speaker`."""
    return "speaker" in adapter_labels(record)


def update_card(
    folder: Path, name: str | None = None, score_files: Sequence[Path] = (), *, overwrite: bool = False
) -> Path:
    """Write the card of an adapter on disk again, with scores, and return its path. Scores go into the record
    too, in place of earlier scores of the same set.

    Args:
        name: the adapter's name; None: the title is made of its labels.
        score_files: score.json of one or more test sets.
        overwrite: replace also a card that a person has written.

    Raises:
        UserError: the adapter has no record of ours, or a file is no score.json.
    """
    record, card = own_record(folder), folder / CARD
    new = [score_summary(file) for file in score_files]
    sets = Counter((score["set"], score.get("search")) for score in new)
    if twice := [name for (name, _), count in sets.items() if count > 1]:
        hint = "move the data into folders data/NAME/"
        raise UserError(f"two of the scores are of sets named {twice[0]}, and one would be lost ({hint})")
    earlier = [score for score in record.get("scores") or [] if score["set"] not in dict(sets.keys())]
    if new and earlier + new != record.get("scores"):
        record |= {"scores": earlier + new}
        write_record(folder, record)
    if overwrite or not card.is_file() or GENERATED in card.read_text("utf-8", "replace"):
        write_text(card, card_of(folder, record, name))
    return card


def card_of(folder: Path, record: Mapping[str, Any], name: str | None) -> str:
    """`model_card` of an adapter's files with this record."""
    counts = count_by_placement(read_weights(folder), other_method(record))
    return model_card(record, counts, name=name, peft=(folder / PEFT_CONFIG).exists())


def score_summary(file: Path) -> dict[str, Any]:
    """The part of a score.json that a record keeps, rates as fractions. Raises UserError for another file.

    Beside the rates: the search and the baseline, unless they are greedy search and the base; warnings of
    data that the test set shares with training, and the WER of the other sentences; the number of speakers,
    if each was decoded with their adapter.
    """
    from ia3_speech.scoring.record import GREEDY, read_result

    result = read_result(file)
    score, change = result.record, (result.record.get("changes") or {}).get("wer") or {}
    overlap, unseen = result.overlap, score.get("unseen_sentences")
    names = ("wer", "wer_ci", "ci_unit", "cer", "cer_ci", "words", "utterances", "term_error_rate")
    corpus = score.get("corpus")
    name = f"{corpus}/{result.set}" if corpus else set_name(score.get("data") or result.set)
    summary = {"set": name, "corpus": corpus} | {name: score.get(name) for name in names}
    summary["base_wer"] = change.get("baseline")
    if result.search != GREEDY:
        summary |= {"search": result.search_name, "compared_with": result.baseline_label}
    summary |= {name: change.get(name) for name in ("relative", "relative_ci")}
    if result.warnings:
        summary["warnings"] = result.warnings
    if overlap.get("by_speaker"):
        summary["pooled_speakers"] = overlap["speakers"]
    if unseen:
        base_wer = ((unseen.get("changes") or {}).get("wer") or {}).get("baseline")
        rates = {name: unseen[name] for name in ("utterances", "wer")}
        summary["unseen_sentences"] = rates | {"base_wer": base_wer}
    return summary


def set_name(path: str) -> str:
    """`/home/ann/data/medical_notes/test` → `medical_notes/test`: at most two parts after `data`; without
    `data` the last part."""
    parts = [part for part in re.split(r"[/\\]", str(path)) if part]
    above = parts[:-1]
    last = len(above) - above[::-1].index("data") if "data" in above else len(above)
    last = max(last, len(parts) - 2)
    return "/".join(parts[last:]) or "unnamed"


def hub_id(base: str | None) -> str | None:
    """The base's name, if it can be an id on the Hub and is not a folder of this machine."""
    return base if base and HUB_ID.fullmatch(base) and not Path(base).exists() else None


def base_name(base: str | None) -> str:
    """A base's name as it may be published: `mini`, a hub id, or the last part of a folder's path."""
    if not base or base == "mini" or hub_id(base):
        return base or "unnamed"
    last = re.split(r"[/\\]", base.rstrip("/\\"))[-1]
    return last if last and last != "mini" else "unnamed"  # `mini` means the shipped base


def model_card(
    record: Mapping[str, Any], counts: Mapping[str, int], *, name: str | None = None, peft: bool = True
) -> str:
    """The card as Markdown.

    Args:
        record: the contents of ia3_speech.json; missing entries are left out of the card.
        counts: placement → parameters; `head` for a trained head.
        name: the adapter's name, or its id on the Hub; None: the title is made of its labels.
        peft: PEFT can load these files.
    """
    gate = record.get("gate")
    parts = [
        f"# {markdown_text(name or card_title(record))}",
        introduction(counts, record),
        f"> **Data about a person.** {BIOMETRIC}" if is_biometric(record) else "",
        fact_table(record, counts),
        f"## Scores\n\n{score_table(record)}{score_notes(record)}",
        f"## Use\n\n{usage_section(record, name, peft)}",
        GATE_REVEALS.format(plural(gate.get("utterances", 0), "utterance")) if gate else "",
        GENERATED,
    ]
    front = card_data(record, name, peft).to_yaml()
    return f"---\n{front}\n---\n" + "".join(f"\n{part}\n" for part in parts if part)


def card_data(record: Mapping[str, Any], name: str | None, peft: bool) -> "ModelCardData":
    """The front matter that the Hub reads: huggingface.co/docs/hub/model-cards."""
    from huggingface_hub import ModelCardData

    labels, base_id = adapter_labels(record), hub_id(record.get("base"))
    model_type = (record.get("fingerprint") or {}).get("model_type")
    tags = [other_method(record) or "ia3", LIBRARY, "peft" if peft else "", model_type or ""]
    tags += [f"{label}-adaptation" for label in ADAPTED_TO if labels.get(label)]
    tags += ["biometric-data"] if is_biometric(record) else []
    language = re.match(r"[a-z]{2,3}\b", labels.get("language", "").lower())  # ISO 639: en of en-GB
    scores = [score for score in record.get("scores") or [] if score.get("wer") is not None]
    results = [result for score in scores if not score.get("search") for result in hub_results(score)]
    return ModelCardData(
        base_model=base_id,  # the mini base and a local folder have no page on the Hub
        base_model_relation="adapter",
        pipeline_tag=task_of(record),
        library_name=LIBRARY,
        tags=[tag for tag in tags if tag],
        language=[language[0]] if language else None,
        metrics=["wer", "cer"] if results else None,
        model_name=name or card_title(record),
        eval_results=results or None,
    )


def hub_results(score: Mapping[str, Any]) -> "Iterator[EvalResult]":
    """The entries of a test set in `model-index`, in percent; the WER with its interval."""
    from huggingface_hub import EvalResult

    task = {"task_type": TASK, "task_name": "Automatic Speech Recognition"}
    task |= {"dataset_type": score["set"].split("/")[0], "dataset_name": score["set"]}
    for metric in ("wer", "cer"):
        label, args = f"{metric.upper()}, greedy search", None
        if metric == "wer" and score.get("wer_ci"):
            low, high = (round(100 * rate, 2) for rate in score["wer_ci"])
            label += f" (95 % interval {low}-{high})"
            args = {"interval": [low, high], "level": 95, "resampled": score.get("ci_unit")}
        if score.get(metric) is not None:
            measured = {"metric_type": metric, "metric_value": round(100 * score[metric], 2)}
            yield EvalResult(**task, **measured, metric_name=label, metric_args=args)


def card_title(record: Mapping[str, Any]) -> str:
    """`IA³ adapter: speaker 42, accent scots`; without labels the base follows."""
    labels = [f"{name} {value}" for name, value in adapter_labels(record).items() if name != "language"]
    kind = f"{other_method(record) or 'IA³'} adapter"
    return kind + (f": {', '.join(labels)}" if labels else f" of {base_name(record.get('base'))}")


def other_method(record: Mapping[str, Any]) -> str | None:
    """lora, …; None for IA³."""
    return (record.get("config") or {}).get("method")


def introduction(counts: Mapping[str, int], record: Mapping[str, Any]) -> str:
    if method := other_method(record):
        return f"An adapter for speech recognition by {method}: {plural(counts[method], 'parameter')}."
    task, parts = task_of(record), []
    model, head = ("speech recogniser", "head") if task == TASK else ("encoder", "head")
    if vectors := sum(count for placement, count in counts.items() if placement != "head"):
        effect = f"IA³ vectors that multiply activations of a frozen {model} ([Liu et al. 2022]({PAPER}))"
        parts.append(f"{plural(vectors, 'parameter')}, {effect}")
    if "head" in counts:
        parts.append(f"a trained {head} of {plural(counts['head'], 'parameter')}")
    return f"An adapter for {task.removeprefix('automatic-').replace('-', ' ')}: {', and '.join(parts)}."


def fact_table(record: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """The table of facts: `| base | mini (comes with ia3-speech) |` and so on."""
    fingerprint, config, training = (record.get(name) or {} for name in ("fingerprint", "config", "training"))
    base, base_id = base_name(record.get("base")), hub_id(record.get("base"))
    base = f"[{base}](https://huggingface.co/{base_id})" if base_id else markdown_text(base)
    if base == "mini":
        base += f" (comes with {LIBRARY})"
    held_out = "folds" if "folds" in training else "dev set"
    # A trainer may record anything: only numbers are shown
    values = {name: value for name, value in training.items() if is_number(value)}
    forms = TRAINING | {"dev_wer": f"WER of the {held_out} {{:.1%}}"}
    data = set_name(training["data"]) if training.get("data") else training.get("dataset", "")
    amount = [f"{values['utterances']:,} utterances"] if "utterances" in values else []
    if seconds := values.get("audio_seconds"):
        hours = f"{seconds / 3600:.1f} hours" if seconds >= 600 else f"{seconds / 60:.1f} minutes"
        amount.append(f"{hours} of audio")
    amount += [plural(values["speakers"], "speaker")] if "speakers" in values else []
    amount += [f"SHA-256 {training['data_sha256'][:12]}"] if "data_sha256" in training else []
    rows = {
        "base": base,
        "architecture": fingerprint and f"{describe_base(fingerprint)} in {fingerprint.get('dtype')}",
        "placements": ", ".join(f"{name} ({plural(count, 'parameter')})" for name, count in counts.items()),
        "layers": config.get("layers"),
        "for": ", ".join(f"{name} {value}" for name, value in adapter_labels(record).items()),
        "trained on": ", ".join(filter(None, (data, *amount))),
        "training": ", ".join(forms[name].format(values[name]) for name in forms if name in values),
        "made by": f"{LIBRARY} {record['version']}" if record.get("version") else None,
    }
    rows = {n: value if n == "base" else markdown_text(value) for n, value in rows.items() if value}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def score_table(record: Mapping[str, Any]) -> str:
    """The table of test sets. Intervals are bootstraps over the units in the last column."""
    head = ["test set", "WER %", "compared with", "before %", "change %", "CER %", "words", "resampled"]
    rows = [
        [
            score_name(score),
            Rate(score["wer"], score.get("wer_ci")),
            score.get("compared_with") or "base",
            Rate(score.get("base_wer")),
            Rate(score.get("relative"), score.get("relative_ci"), signed=True),
            Rate(score.get("cer")),
            score.get("words") or 0,
            f"{score['ci_unit']}s" if score.get("ci_unit") else None,
        ]
        for score in record.get("scores") or []
    ]
    return markdown_table(head, rows).rstrip() or "None recorded (`ia3-speech adapters card` adds them)."


def score_notes(record: Mapping[str, Any]) -> str:
    """Warnings that training had no effect, or shares data with a test set, and what qualifies a score."""
    from ia3_speech.scoring.sentences import NOT_IMPROVED

    warnings, notes = [], []
    if (record.get("training") or {}).get("selected_epoch") == 0:
        warnings.append(NOT_IMPROVED)
    for score in record.get("scores") or []:
        warnings += [f"{score['set']}: {text}" for text in score.get("warnings") or ()]
        notes += score_qualifications(score)
    lines = [f"**Warning.** {markdown_text(text)}" for text in warnings] + [*map(markdown_text, notes)]
    return "".join(f"\n\n> {line}." for line in dict.fromkeys(lines))


def score_qualifications(score: Mapping[str, Any]) -> Iterator[str]:
    """Sentences, without full stops, on what a score is of."""
    name = score_name(score)
    if score.get("search"):
        yield f"{name}: a language model or hot words of the adapter's own are not published with it"
    if speakers := score.get("pooled_speakers"):
        yield (
            f"{score['set']}: pooled over the adapters of {plural(speakers, 'speaker')}; each utterance is "
            f"decoded by an adapter of its speaker that was not trained on it"
        )
    if unseen := score.get("unseen_sentences"):
        compared = score.get("compared_with") or "the base alone"
        base = f", {Rate(unseen['base_wer'])} % with {compared}" if unseen.get("base_wer") else ""
        count = plural(unseen["utterances"], "utterance")
        yield f"{name}: WER {Rate(unseen['wer'])} % on the {count} whose sentence is not in training{base}"


def score_name(score: Mapping[str, Any]) -> str:
    """`medical_notes/test, with LM`."""
    return score["set"] + (f", with {score['search']}" if score.get("search") else "")


def score_line(score: Mapping[str, Any]) -> str:
    """`medical_notes/test: WER 40.0 [37.1, 43.0] %`."""
    return f"{score_name(score)}: WER {Rate(score['wer'], score.get('wer_ci'))} %"


def usage_section(record: Mapping[str, Any], name: str | None, peft: bool) -> str:
    """Commands and code to copy."""
    base, adapter = base_name(record.get("base")), name or "ADAPTER"
    quoted = json.dumps(adapter, ensure_ascii=False)
    known = base == "mini" or hub_id(record.get("base"))
    option, base = ("", base) if known else (" --base BASE", "BASE")
    lines = [] if name else ["`ADAPTER` is this folder, or the name that it is registered under.\n"]
    lines += [] if known else ["`BASE` is the folder of the base.\n"]
    if task_of(record) == TASK:
        lines += [f"```bash\nia3-speech transcribe --adapter {shlex.quote(adapter)}{option} audio.wav\n```\n"]
        if other_method(record):
            return "\n".join(lines)
        lines += [
            "```python\nfrom ia3_speech import load_adapter, load_base\n",
            f'base = load_base("{base}")\nload_adapter(base.model, {quoted})\n```',
        ]
    else:
        kind, classes = (record["fingerprint"].get(name) for name in ("architecture", "classes"))
        classes = f", num_labels={classes}" if classes else ""
        lines += [
            f"```python\nfrom transformers import {kind}\n\nfrom ia3_speech import load_adapter\n",
            f'model = {kind}.from_pretrained("{base}"{classes})\nload_adapter(model, {quoted})\n```',
        ]
    lines += ["\nPEFT loads the folder too: `PeftModel.from_pretrained(model, FOLDER)`."] if peft else []
    if peft and base == "mini":
        lines += [
            "`AutoPeftModel` can't find the base, which comes with ia3-speech and is not on the Hub: take "
            '`load_base("mini").model`, or write base and adapter as one checkpoint for `AutoModelForCTC`:\n',
            f"```bash\nia3-speech adapters export {shlex.quote(adapter)} --out FOLDER\n```",
        ]
    return "\n".join(lines)
