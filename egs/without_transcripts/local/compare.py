#!/usr/bin/env python3
"""What adaptation without transcripts gains, beside the same with transcripts: RESULTS.md of the experiment.

    local/compare.py DATA EXP 'accent telephone speakers'

In: DATA/CONDITION/test; of each system in EXP/CONDITION decode_SEARCH/{text,decode.json}, and cpu.json where
it was trained, as local/measure.py leaves them. Out: EXP/RESULTS.md, also printed, and EXP/results.json.
"""

from pathlib import Path
from typing import Any

import numpy as np

import ia3_speech
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.errors import UserError
from ia3_speech.inputs import provenance
from ia3_speech.results.systems import load_json
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.significance import relative_change, sums_by_cluster
from ia3_speech.scoring.table import Rate, markdown_table

SYSTEMS = ("base", "with_transcripts", "self_train", "unfiltered", "suta", "dsuta", "layer_norms")
OTHER = Path(ia3_speech.__file__).parent / "out_of_domain/librispeech_dev"  # comes with the package
SEARCHES = {"greedy": "greedy", "lm": "beam search, language model"}


def main(data: Path, exp: Path, conditions: str) -> None:
    """Write EXP/RESULTS.md and EXP/results.json.

    Args:
        data: of the conditions
        exp: of the conditions
        conditions: their names
    """
    parts, rows = [], []
    for condition in conditions.split():
        test = read_data_directory(data / condition / "test")
        for search, title in SEARCHES.items():
            of_search = compare(exp / condition, search, test)
            rows += [{"condition": condition, "search": search} | row for row in of_search]
            parts.append(table(f"{condition}, {title}", of_search))
        learnt = [
            summarize([u for folder in found for u in read_data_directory(folder, text=False)])
            for name in ("recordings", "dev")
            if (found := sorted((data / condition).glob(f"**/{name}")))
        ]
        parts.append(f"Learnt: {learnt[0]}{f'; dev: {learnt[1]}' if learnt[1:] else ''}. Test: "
                     f"{summarize(test.utterances)}, {of_search[0]['words']} words.\n")  # fmt: skip
    made = provenance()
    parts.append(f"`{made['command']}` (commit {made['commit']}{' with changes' * made['dirty']})\n")
    write_json(exp / "results.json", {"schema": 1, "systems": rows} | made)
    write_text(exp / "RESULTS.md", "\n".join(parts))
    print("\n".join(parts), end="")


def compare(exp: Path, search: str, test: Any) -> list[dict[str, Any]]:
    """A row a system that was decoded by this search, the base first."""
    speakers = [utterance.speaker for utterance in test]
    errors, rows = {}, []
    for system in SYSTEMS:
        folder = exp / system / f"decode_{search}"
        if not (folder / "decode.json").is_file():
            continue
        counts = errors_of(test, folder)
        errors[system] = np.array([count.total for count in counts])
        total = sum(counts, ErrorCounts())
        row = {"system": system, "wer": total.wer, "words": total.words}
        if system != "base":
            row |= against(errors["base"], errors[system], speakers)
        gained = [one for one in rows if one["system"] == "with_transcripts" and one["change_ci"][1] < 0]
        if gained:  # for certain
            row["share"] = row["change"] / gained[0]["change"] + 0.0  # no −0
        if (other := exp / system / f"decode_{search}_other").is_dir():
            row["other"] = sum(errors_of(read_data_directory(OTHER), other), ErrorCounts()).wer
        rows.append(row | {"seconds": seconds(exp / system, folder)})
    if not rows:
        raise UserError(f"{exp}: nothing has been decoded (run stages 3 and 4)")
    return rows


def errors_of(test: Any, decoded: Path) -> list[ErrorCounts]:
    """Of each utterance."""
    texts = read_kaldi_text(decoded / "text")
    return [text_errors(utterance.text, texts[utterance.id]) for utterance in test]


def against(base: np.ndarray, errors: np.ndarray, speakers: list[str]) -> dict[str, Any]:
    """The relative change, its paired 95 % interval over speakers, and their shares of better and worse."""
    sums = sums_by_cluster({"base": base, "errors": errors}, speakers)
    relative, bounds = relative_change(sums["base"], sums["errors"])
    change = sums["errors"] - sums["base"]
    return {
        "change": relative,
        "change_ci": bounds,
        "better": float((change < 0).mean()),
        "worse": float((change > 0).mean()),
        "speakers": len(change),
    }


def seconds(system: Path, decoded: Path) -> float:
    """Of the processor: of training, a second of audio that was learnt from; where nothing was trained, of
    decoding, a second of audio."""
    records = [load_json(file) for file in system.glob("**/all/cpu.json")]
    records = records or [load_json(decoded / "decode.json")]
    return sum(one["cpu_seconds"] for one in records) / sum(one["audio_seconds"] for one in records)


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    header = [title, "WER %", "change %", "share of the gain with transcripts %", "speakers better %",
              "worse %", "other speech WER %", "s a second"]  # fmt: skip
    lines = [
        [
            row["system"],
            Rate(row["wer"]),
            Rate(row.get("change"), row.get("change_ci"), signed=True),
            *(Rate(row.get(name), digits=0) for name in ("share", "better", "worse")),
            Rate(row.get("other")),
            f"{row['seconds']:.2f}",
        ]
        for row in rows
    ]
    return markdown_table(header, lines)


if __name__ == "__main__":
    command(main)
