#!/usr/bin/env python3
"""Gain against forgetting, for methods of adaptation on one trainer.

    1  the recipes' data of four kinds of speech: so many minutes of train, and dev, test and other speech
    2  decode test and other speech with the base
    3  train each system on each kind, without replay and with it
    4  decode test and other speech with each; IA³ also at a lower scale, and with the guard
    5  results.json, RESULTS.md and the figure

The gain is the share of word errors on the test set of a kind that a system avoids; its cost, or forgetting,
is how many more errors it makes on other speech. Dev selects the epoch; rates are fixed in conf/.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import chain, product
from pathlib import Path
from statistics import mean
from typing import Any

from stages import KINDS, SHIPPED, KindsOptions, Study, Word, located, python

from ia3_speech.adapters.record import read_json
from ia3_speech.cli import command
from ia3_speech.data.corpora.out_of_domain import read_corpus, with_corpus_label
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi import subset_data_directory, write_data_directory
from ia3_speech.errors import UserError
from ia3_speech.report.charts import Chart, Point, Series, rate_axis
from ia3_speech.report.figures import Figure, write_figures
from ia3_speech.scoring.error_rates import ErrorRates
from ia3_speech.scoring.record import read_result
from ia3_speech.scoring.table import Rate, Table, markdown_table

HERE = Path(__file__).resolve().parents[1]
SYSTEMS = ("ia3_plus", "gated", "lora_r4", "lora_r16", "road", "shira", "full")
GATED = f"{HERE}/local/gated.py:gated"
SETS = ("test", "other", "dev")  # dev is for IA³ alone, whose weight of replay it chooses
WEIGHTS = (0.0, 0.6)  # of replay
WEIGHTS_OF_IA3 = (0.0, 0.3, 0.6, 1.5)
BATCH_SECONDS = 20  # so that some minutes of train are sixty steps
SCALE = 0.5  # of IA³'s vectors: l becomes 1 + SCALE (l − 1)


@dataclass(frozen=True, kw_only=True)
class Options(KindsOptions):
    """Options of the study."""

    systems: str = " ".join(SYSTEMS)
    """systems to train"""
    minutes: float = 4
    """minutes of each train set"""
    epochs: int = 5
    """epochs of each training"""
    utterances: int = 60
    """utterances of each test set, and of other speech; of dev half as many"""
    weights: list[float] = field(default_factory=list)
    """weights of replay; default: 0 and 0.6, and for IA³ also 0.3 and 1.5"""


def main(options: Options) -> None:
    """Measure what each method gains on four kinds of speech, and costs on other speech."""
    if unknown := sorted({*options.systems.split()} - {*SYSTEMS}):
        raise UserError(f"`systems`: no system {unknown[0]} (there are {' '.join(SYSTEMS)})")
    if not (kinds := [*options.corpora]):
        raise UserError(f"no corpus is given ({', '.join(f'`{kind}_corpus`' for kind in KINDS)})")
    study = Study(__file__, "four_kinds", options)
    if study.runs(1):
        prepare(study, kinds)
    if study.runs(2):
        for kind, name in product(kinds, SETS):
            decode_and_score(study, kind, "base", name)
    for seed, kind, (system, weight) in product(range(1, options.seeds + 1), kinds, runs(options)):
        if study.runs(3):
            train(study, kind, system, weight, seed)
        for name, _, words in variants(study, kind, system, weight, seed) if study.runs(4) else ():
            for set_name in SETS if system == "ia3_plus" else SETS[:2]:
                decode_and_score(study, kind, name, set_name, *words)
    if study.runs(5):
        write(study, kinds)


def runs(options: Options) -> list[tuple[str, float]]:
    """The systems, each with its weights of replay."""
    return [
        (system, weight)
        for system in options.systems.split()
        for weight in options.weights or (WEIGHTS_OF_IA3 if system == "ia3_plus" else WEIGHTS)
    ]


def name_of(system: str, weight: float, seed: int = 1) -> str:
    return f"{system}_replay{weight:g}" + (f"_seed{seed}" if seed > 1 else "")


def variants(
    study: Study, kind: str, system: str, weight: float, seed: int = 1
) -> list[tuple[str, str, list[Word]]]:
    """What a training is decoded as: (name, its place in the figure, options of decode)."""
    name = name_of(system, weight, seed)
    adapter = study.exp / kind / name / "adapter"
    user = ["--method", GATED] if system == "gated" else []
    plain = (name, system, ["--adapter", adapter, *user])
    if system != "ia3_plus":
        return [plain]
    guarded = (f"{name}_guard", f"{system}, guard", ["--adapter", adapter, "--guard", "on"])
    scaled = (f"{name}_scale{SCALE:g}", f"{system}, scale {SCALE:g}", ["--adapter", f"{adapter}:{SCALE:g}"])
    return [plain, guarded] + [scaled] * (weight == 0)


# ---- stages


def prepare(study: Study, kinds: list[str]) -> None:
    """DATA/KIND/{train,dev,test} of each kind, and DATA/other."""
    options: Options = study.options
    count = 6 if study.small else options.utterances
    for kind in kinds:
        recipe, corpus_name, test = KINDS[kind]
        study.recipe(recipe, options.corpora[kind], 1, corpus_name=corpus_name, out_of_domain="none")
        source, _ = study.of_recipe(recipe, corpus_name)
        for name, from_set, most in (("dev", "dev", count // 2), ("test", test, count)):
            out, data = study.data / kind / name, source / from_set
            study.once(
                f"{kind}: {most} utterances of {name}", out, [data], partial(sample, [data]), most=most
            )
        out, minutes = study.data / kind / "train", 0.3 if study.small else options.minutes
        make = partial(take_minutes, source / "train")
        study.once(f"{kind}: {minutes:g} minutes of train", out, [source / "train"], make, minutes=minutes)
    general = [SHIPPED, *(Path(word).absolute() for word in options.general.split())]
    study.once("other speech", study.data / "other", general, partial(sample, general), most=count)


def sample(sources: list[Path], out: Path, most: int) -> None:
    """Write `most` utterances, as many of each source, evenly spaced."""
    chosen = []
    for source in sources:
        part = [with_corpus_label(utterance, source.name) for utterance in read_corpus(source, False)]
        chosen += evenly_spaced(part, -(-most // len(sources)))
    write_data_directory(out, sorted(chosen, key=lambda utterance: utterance.id))


def take_minutes(source: Path, out: Path, minutes: float) -> None:
    subset_data_directory(source, out, minutes=minutes)


def train(study: Study, kind: str, system: str, weight: float, seed: int) -> None:
    """Train a system on a kind of speech into EXP/KIND/SYSTEM_replayW."""
    config, epochs = HERE / f"conf/{system}.yaml", 1 if study.small else study.options.epochs
    words = python("train", "--base", located(study.options.base), "--seed", seed, "--patience", 99)
    words += ["--config", config if config.is_file() else system]
    words += ["--batch-seconds", BATCH_SECONDS, "--epochs", epochs]
    words += ["--method", GATED] if system == "gated" else []
    words += ["--replay", "shipped", "--replay-weight", weight] if weight else []
    data, name = study.data / kind, name_of(system, weight, seed)
    words += ["--train", data / "train", "--dev", data / "dev", "--out", study.exp / kind / name]
    print(f"train {kind}/{name}", flush=True)
    study.job("train", f"train_{kind}_{name}.log", words)


def decode_and_score(study: Study, kind: str, name: str, set_name: str, *decode: Word) -> None:
    """Decode a set with a system's options into EXP/KIND/NAME/SET, and score it against the base."""
    data = study.data / set_name if set_name == "other" else study.data / kind / set_name
    out, base = study.exp / kind / name / set_name, study.exp / kind / "base" / set_name
    study.decode_and_score(name, None, data, "--corpus", kind, decode=decode, out=out, base=base)


# ---- results


def write(study: Study, kinds: list[str]) -> None:
    """A table of the means over the kinds, of the systems that were measured on all of them; a table of each
    kind; and the figure of the means."""
    rows: dict[str, list[Any]] = {"base": ["base", None, None]}
    of_seeds: dict[str, list[str]] = {}  # what the trainings of a row's system are called
    for system, weight in runs(study.options):
        trained = [study.exp / kind / name_of(system, weight) / "train.json" for kind in kinds]
        if parameters := [read_json(file)["trainable"] for file in trained if file.is_file()]:
            seeds = [
                variants(study, kinds[0], system, weight, 1 + seed) for seed in range(study.options.seeds)
            ]
            for same in zip(*seeds, strict=True):
                (name, place, _), *_ = same
                rows[name] = [place, f"{weight:g}", f"{parameters[0]:,}"]
                of_seeds[name] = [name for name, *_ in same]
    keys = product(kinds, [*rows, *chain(*of_seeds.values())], SETS)
    files = {key: study.exp.joinpath(*key, "score.json") for key in keys}
    scores = {key: read_result(file).all for key, file in files.items() if file.is_file()}
    texts, first = [], ["replay", "parameters"]
    for kind in kinds:
        lines = [
            [*row, *(cell for set_name in SETS for cell in cells(scores.get((kind, name, set_name))))]
            for name, row in rows.items()
            if (kind, name, "test") in scores
        ]
        heads = [word for name in SETS for word in (f"{name} WER %", "change %")]
        texts.append(markdown_table([kind, *first, *heads], lines))
    means = {
        name: [mean_change(scores, kinds, name, s) for s in SETS]
        for name in rows
        if name != "base" and all((kind, name, "test") in scores for kind in kinds)
    }
    lines = [
        [*rows[name], *(None if c is None else Rate(c, signed=True) for c in changes)]
        for name, changes in means.items()
    ]
    head = [f"mean of {', '.join(kinds)}", *first, *(f"change on {name} %" for name in SETS)]
    table = Table("frontier", "Gain and forgetting", head, lines)
    if study.options.seeds > 1:
        lines = [
            [
                *rows[name][:2],
                *(of_trainings([mean_change(scores, kinds, n, s) for n in names]) for s in SETS[:2]),
            ]
            for name, names in of_seeds.items()
            if all((kind, n, "other") in scores for kind, n in product(kinds, names))
        ]
        head = [f"mean of seeds 1 to {study.options.seeds} (lowest to highest)", "replay"]
        texts.insert(0, markdown_table([*head, *(f"change on {name} %" for name in SETS[:2])], lines))
    figure = chart({name: (*rows[name][:2], *means[name][:2]) for name in means}, kinds)
    write_figures(study.exp / "figures", [Figure("frontier", figure.svg_file, table)])
    records = [
        {"kind": kind, "system": name, "set": set_name, "wer": score.wer, "errors": score.errors}
        for (kind, name, set_name), score in scores.items()
    ]
    study.write_results([table.markdown, *texts], {"rows": records})


def cells(score: ErrorRates | None) -> list[Rate | None]:
    """WER and its change from the base, each with its interval."""
    return [score.rate(), score.change()] if score else [None, None]


def mean_change(scores: dict, kinds: list[str], name: str, set_name: str) -> float | None:
    """The mean change of a system's WER from the base's over the kinds."""
    keys = [(kind, name, set_name) for kind in kinds]
    return mean(scores[key].change().value for key in keys) if keys[0] in scores else None


def of_trainings(changes: list[float]) -> str:
    low, middle, high = (Rate(change, signed=True) for change in (min(changes), mean(changes), max(changes)))
    return f"{middle} ({low} to {high})"


def chart(systems: dict[str, tuple[str, str, float, float]], kinds: list[str]) -> Chart:
    """Gain on test against forgetting on other speech of (place, weight of replay, change on test, change on
    other speech); a line joins the weights."""
    lines: dict[str, list[Point]] = {}
    for place, weight, test, other in systems.values():
        first = place not in lines
        text = place if first else "" if place.endswith("guard") else weight  # they coincide
        lines.setdefault(place, []).append(Point(other, -test, f"{place}, replay {weight}", text=text))
    x = rate_axis("more word errors on other speech, %", [row[3] for row in systems.values()], floor=0.0)
    y = rate_axis("fewer word errors on test, %", [-row[2] for row in systems.values()])
    series = [
        Series(points, "system" if place.startswith("ia3") else "third") for place, points in lines.items()
    ]
    over = f"Means over {len(kinds)} kinds of speech" if len(kinds) > 1 else f"On {kinds[0]}"
    caption = f"{over}; the numbers are weights of replay. Upper left is best"
    return Chart("Gain against forgetting", caption, x, y, series)


if __name__ == "__main__":
    command(main)
