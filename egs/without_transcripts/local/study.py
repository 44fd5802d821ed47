#!/usr/bin/env python3
"""Compare self-training and test-time adaptation with training on transcripts.

    1 prepare   2 plan: how many hours it takes   3 train   4 decode   5 compare: exp/<corpus>/RESULTS.md

README.md describes the systems. Each training leaves cpu.json, and each decoding decode.json, with
cpu_seconds and audio_seconds: processor time does not depend on other work on the machine.
"""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prepare import prepare
from stages import SHIPPED, CorpusOptions, Study, python

from ia3_speech import load, load_base
from ia3_speech.adapters.record import read_json
from ia3_speech.common.atomic import write_json
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs, read_inputs
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory, summarize
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding import decode_directory, suta
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.model.base import Base
from ia3_speech.model.hypotheses import GreedySearch
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import relative_change, sums_by_cluster
from ia3_speech.scoring.table import Rate, markdown_table

HERE = Path(__file__).resolve().parents[1]
CONDITIONS = ("accent", "telephone", "speakers")
TRAINED = {
    "with_transcripts": ["train", "--config", HERE / "conf/with_transcripts.yaml"],
    "self_train": ["self_train"],
    "unfiltered": ["self_train", "--min-confidence", 0],
}
TEST_TIME = ("suta", "layer_norms")
SEARCHES = {"greedy": "greedy", "lm": "beam"}
LOAD: dict[str, Any] = {"device": "cpu", "precision": "auto", "options": LoadOptions(vad="off")}
STEP = 3  # forward passes that a step of training takes as long as
EPOCHS_OF_SPEAKERS = 4


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Options of the study."""

    minutes: float = 0
    """minutes of speech from each train set, evenly spaced; 0: all"""
    tests: int = 0
    """utterances from each test set, evenly spaced; 0: all"""
    speakers: int = 0
    """number of speakers in the condition speakers; 0: all 85"""


def main(options: Options) -> None:
    """Measure adaptation without transcripts."""
    study = Study(__file__, "real", options)
    if options.seeds != 1 or options.base != "mini":
        raise UserError("`seeds`, `base`: this measures one seed, on mini")
    epochs = 2 if study.small else 6
    if study.runs(1):
        sources = [options.corpus / "speechocean762", options.corpus / "minds14", Path(__file__).parent]
        names = ("minutes", "tests", "speakers", "size")
        parts = {name: getattr(options, name) for name in names} | {"corpus": str(options.corpus)}
        study.once("stage 1, prepare", study.data, sources, prepare, **parts)
    if study.runs(2):
        plan(study.data, epochs)
    for condition in CONDITIONS:
        for system in TRAINED if study.runs(3) else ():
            train(study, condition, system, epochs)
    for condition in CONDITIONS:
        for system in SYSTEMS if study.runs(4) else ():
            print(f"decode {condition} with {system}", flush=True)
            decode(study.data / condition, study.exp / condition, system)
    if study.runs(5):
        texts, rows = [], []
        for condition in CONDITIONS:
            test = read_data_directory(study.data / condition / "test")
            for search in SEARCHES:
                title = "greedy" if search == "greedy" else "beam search, language model"
                of_search = compare(study.exp / condition, search, test)
                rows += [{"condition": condition, "search": search} | row for row in of_search]
                texts.append(table(f"{condition}, {title}", of_search))
            texts.append(summary_line(study.data / condition, test, of_search[0]["words"]))
        study.write_results(texts, {"systems": rows})


def train(study: Study, condition: str, system: str, epochs: int) -> None:
    """Train a system of TRAINED on all recordings of a condition into EXP/SYSTEM/all, or on each speaker's
    into EXP/SYSTEM/SPEAKER/all; on texts without dev, few of them, with the package's configuration."""
    data, exp = study.data / condition, study.exp / condition / system
    whole = (data / "recordings").is_dir()
    for folder in [data] if whole else sorted(path.parent for path in data.glob("*/recordings")):
        out = exp / ("" if whole else folder.name) / "all"
        command, *words = TRAINED[system]
        if command == "self_train":
            source = folder / "recordings"
            words += ["--data", source]
        else:
            source = folder / "train"
            few = ["--config", "few", "--init-adapter", "none", *words]
            words = [*words, "--dev", folder / "dev"] if whole else few
            words += ["--train", source]
        words += ["--epochs", epochs if whole else EPOCHS_OF_SPEAKERS, "--device", "cpu", "--out", out]
        before, finished = cpu_seconds(), read_inputs(out).get("finished")
        print(f"train {system} on {folder.relative_to(study.data)}", flush=True)
        study.job("train", f"train_{condition}_{system}_{folder.name}.log", python(command, *words))
        if read_inputs(out).get("finished") != finished:
            audio = sum(utterance.duration or 0.0 for utterance in read_data_directory(source, text=False))
            seconds = round(cpu_seconds() - before, 1)
            write_json(out / "cpu.json", {"cpu_seconds": seconds, "audio_seconds": round(audio, 1)})


def cpu_seconds() -> float:
    """Processor time of the ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---- decode


def decode(data: Path, exp: Path, system: str) -> None:
    """Decode DATA/test into EXP/SYSTEM/decode_SEARCH by both searches. The base, and adapters that were
    trained on all recordings, also decode the package's other speech, into decode_SEARCH_other."""
    sets = {"": data / "test"} | ({"_other": SHIPPED} if (data / "recordings").is_dir() else {})
    adapters = sorted((exp / system).glob("**/all/adapter"))
    if system in TRAINED and not adapters:
        return
    numbers = [suta.STEPS, suta.LEARNING_RATE] if system in TEST_TIME else None
    for suffix, folder in sets.items():
        inputs = Inputs({"data": folder, "adapters": adapters}, {"suta": numbers})
        outs = [exp / system / f"decode_{search}{suffix}" for search in SEARCHES]
        current = [inputs.is_current(out) for out in outs]
        if (system in TEST_TIME and suffix) or all(current):
            continue
        test = read_data_directory(folder, text=False)
        decoded = at_test_time(system, test) if system in TEST_TIME else with_adapters(system, exp, test)
        for out, (result, recognizer, seconds) in zip(outs, decoded, strict=True):
            record = decode_directory.decoding_record(recognizer, result, folder)
            record |= {"system": system, "cpu_seconds": round(seconds, 2)}
            decode_directory.write_decode_directory(result, test.utterances, out, record)
            inputs.record(out)


Decoded = tuple[decode_directory.Decoding, Recognizer, float]  # by one search, and the processor's seconds


def with_adapters(system: str, exp: Path, test: DataDirectory) -> Iterator[Decoded]:
    """Decode a test set with the base, with an adapter, or with those of its speakers, search by search."""
    whole, adapters = exp / system / "all/adapter", None
    options = LOAD | ({"adapter": whole} if whole.is_dir() else {})
    if system in TRAINED and not whole.is_dir():
        adapters = decode_directory.speaker_adapters(exp / system, test.utterances)
    for search in SEARCHES.values():
        recognizer = load("mini", search=SearchOptions(search=search), **options).recognizer
        started = time.process_time()
        result = decode_directory.decode_utterances(recognizer, test.utterances, adapters=adapters)
        yield result, recognizer, time.process_time() - started


def at_test_time(system: str, test: DataDirectory) -> Iterator[Decoded]:
    """Decode a test set, once for both searches; vectors or layer norms adapt to each utterance."""
    method = None if system == "layer_norms" else system
    recognizer = load("mini", search=SearchOptions(search="beam"), test_time=method, **LOAD).recognizer
    norms = LayerNorms(recognizer.base) if system == "layer_norms" else None
    searches = {"greedy": GreedySearch(recognizer.base.vocabulary), "lm": recognizer.search}
    results, started = [decode_directory.Decoding({}) for _ in searches], time.process_time()
    for utterance in test.utterances:
        wave = load_utterance(utterance)
        candidates = [norms.logits(wave)] if norms else recognizer.test_time.candidates(wave, ())
        for result, search in zip(results, searches.values(), strict=True):
            result.audio_seconds += len(wave) / 16_000
            result.texts[utterance.id] = search(candidates[suta.choose_step(search, candidates)]).text
    for result in results:
        yield result, recognizer, time.process_time() - started


class LayerNorms:
    """SUTA as published: the encoder's layer norms adapt to each utterance, and are reset."""

    def __init__(self, base: Base):
        self.base = base
        self.parameters = [
            parameter.requires_grad_()
            for name, module in base.model.named_modules()
            if isinstance(module, torch.nn.LayerNorm) and ".encoder." in name
            for parameter in module.parameters(recurse=False)
        ]
        self.start = [parameter.detach().clone() for parameter in self.parameters]

    def logits(self, wave: np.ndarray) -> torch.Tensor:
        """(frames, vocabulary) of a waveform, (samples,), after ten steps."""
        optimizer = torch.optim.AdamW(self.parameters, lr=2e-5, weight_decay=0.0)
        piece = suta.AudioPiece(self.base, wave)
        for _ in range(10):
            loss = suta.suta_loss(piece.logits({}), self.base.vocabulary.blank)
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = piece.logits({})
            for parameter, before in zip(self.parameters, self.start, strict=True):
                parameter.copy_(before)
        return logits


# ---- plan


def plan(data: Path, epochs: int) -> None:
    """Print how many hours each condition takes on this machine, at most, from the time of a forward pass."""
    base, total = load_base("mini", device="cpu"), 0.0
    first = read_data_directory(data / CONDITIONS[0] / "test").utterances[:4]
    waves = [load_utterance(utterance) for utterance in first]
    base.logits(waves[:1])
    started = time.process_time()
    base.logits(waves)
    speed = (time.process_time() - started) * 16_000 / sum(map(len, waves))  # seconds a second of audio
    for condition in CONDITIONS:
        folders = sorted((data / condition).glob("**/recordings"))
        audio, dev, test = (
            sum(u.duration or 0.0 for path in paths for u in read_data_directory(path, text=False)) / 60
            for paths in (folders, (data / condition).glob("dev"), (data / condition).glob("test"))
        )
        few = condition == "speakers"
        # Of a round, if all words were certain
        of_round = max(audio, 1.5 * len(folders)) * (EPOCHS_OF_SPEAKERS if few else epochs) * STEP
        passes = {
            "with_transcripts": 5 * 4 * STEP * audio if few else of_round + (epochs + 1) * dev,
            "self_train, unfiltered": 2 * (of_round + (4 if few else 2.5) * audio),
            "base, with_transcripts, self_train, unfiltered": 2 * 4 * test,
            "suta, layer_norms": (2 * (STEP * suta.STEPS + 3) + 10 * STEP + 2) * test,
        }
        for systems, minutes in passes.items():
            print(f"{condition}: {systems}: {minutes:.0f} minutes of audio, {minutes * speed / 60:.2f} h")
            total += minutes * speed / 60
    print(f"in all {total:.1f} h, where the machine does nothing else ({speed:.2f} s for a pass of a second)")


# ---- tables


SYSTEMS = ("base", "with_transcripts", "self_train", "unfiltered", "suta", "layer_norms")
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


if __name__ == "__main__":
    command(main)
