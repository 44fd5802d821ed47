"""The tables of without_transcripts: the gain of each system, compared with training on transcripts."""

from pathlib import Path
from typing import Any

import numpy as np
from stages import SHIPPED

from ia3_speech.adapters.record import read_json
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.errors import UserError
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.significance import relative_change, sums_by_cluster
from ia3_speech.scoring.table import Rate, markdown_table

SYSTEMS = ("base", "with_transcripts", "self_train", "unfiltered", "suta", "dsuta", "layer_norms")
HEAD = ("WER %", "change %", "share of the gain with transcripts %", "speakers better %", "worse %",
        "other speech WER %", "s a second")  # fmt: skip


def compare(exp: Path, search: str, test: DataDirectory) -> list[dict[str, Any]]:
    """A row for each system that was decoded by this search, the base first. The change is relative to the
    base, with a paired 95 % interval over speakers."""
    errors, rows, certain = {}, [], None
    for system in SYSTEMS:
        folder = exp / system / f"decode_{search}"
        if not (folder / "decode.json").is_file():
            continue
        counts = errors_of(test, folder)
        errors[system] = np.array([count.total for count in counts])
        total = sum(counts, ErrorCounts())
        row: dict[str, Any] = {"system": system, "wer": total.wer, "words": total.words}
        if system != "base":
            sides = {"before": errors["base"], "after": errors[system]}
            sums = sums_by_cluster(sides, [utterance.speaker for utterance in test])
            change = sums["after"] - sums["before"]
            row["change"], row["change_ci"] = relative_change(sums["before"], sums["after"])
            row |= {"better": float((change < 0).mean()), "worse": float((change > 0).mean())}
            row["speakers"] = len(change)
        if system == "with_transcripts" and row["change_ci"][1] < 0:
            certain = row["change"]
        elif certain is not None:
            row["share"] = row["change"] / certain + 0.0  # no −0
        if (other := exp / system / f"decode_{search}_other").is_dir():
            row["other"] = sum(errors_of(read_data_directory(SHIPPED), other), ErrorCounts()).wer
        # The processor's time: of training, else of decoding
        files = [*(exp / system).glob("**/all/cpu.json")] or [folder / "decode.json"]
        used = [read_json(file) for file in files]
        seconds, audio = (sum(r[name] for r in used) for name in ("cpu_seconds", "audio_seconds"))
        row["seconds"] = seconds / audio
        rows.append(row)
    if not rows:
        raise UserError(f"{exp}: nothing has been decoded (run stages 3 and 4)")
    return rows


def errors_of(test: DataDirectory, decoded: Path) -> list[ErrorCounts]:
    """The word errors of each utterance."""
    texts = read_kaldi_text(decoded / "text")
    return [text_errors(utterance.text, texts[utterance.id]) for utterance in test]


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        [row["system"], Rate(row["wer"]), Rate(row.get("change"), row.get("change_ci"), signed=True),
         *(Rate(row.get(name), digits=0) for name in ("share", "better", "worse")), Rate(row.get("other")),
         f"{row['seconds']:.2f}"]
        for row in rows
    ]  # fmt: skip
    return markdown_table([title, *HEAD], lines)


def summary_line(data: Path, test: DataDirectory, words: int) -> str:
    """A sentence on a condition: how much speech trains, selects the epoch, and tests."""
    parts = []
    for name, title in (("recordings", "Learnt"), ("dev", "dev")):
        if folders := sorted(data.glob(f"**/{name}")):
            utterances = [u for folder in folders for u in read_data_directory(folder, text=False)]
            parts.append(f"{title}: {summarize(utterances)}")
    return f"{'; '.join(parts)}. Test: {summarize(test.utterances)}, {words} words.\n"
