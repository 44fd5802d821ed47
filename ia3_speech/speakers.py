r"""An adapter for each speaker of a data directory, all trained in one process.

    python -m ia3_speech.speakers --init-adapter accent --data data/test --folds 4 --out exp/speakers

With `--folds N` each speaker's utterances are dealt into N parts; for each part an adapter learns from the
others and decodes that one, so that every utterance is tested once by an adapter that never heard it. Without
folds each speaker's adapter learns from all there is. Writes, below --out:

    SPEAKER/foldN/adapter/   the vectors (SPEAKER/all/adapter/ without folds)
    SPEAKER/foldN/task.json  what it learnt from, its held-back losses pass by pass, the texts it decoded
    config.yaml              the options
    train.json               how many adapters improved on the starting point, seconds; written last

and in --decode-dir text, hyp.trn and decode.json, as `decode` has them, for `score` to read. Many machines:
`--part 3/8` takes the third of eight shares of the speakers; when all have ended, a run without it gathers.

Passes and learning rate are fixed beforehand. Of what an adapter learns from, every fifth utterance is held
back and judged by CTC loss: the best pass is kept, and where none improves on the starting point that is kept
(the log says so). What is done is not done again: a killed run goes on with the speakers that are left.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from ia3_speech import atomic, decode
from ia3_speech.adapters import combine as arithmetic
from ia3_speech.adapters import io as files
from ia3_speech.adapters import registry as store
from ia3_speech.adapters.expressions import terms, weight_files
from ia3_speech.cli import UserError, command, progress_stream
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import BadAudio, load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.segmentation import maximum_input_seconds
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.model import ia3
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.parameter_count import size
from ia3_speech.training import config as training_options
from ia3_speech.training.data import Example, data_digest, read_examples
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth
from ia3_speech.training.multi_adapter import (
    MultiAdapterTrainer,
    Schedule,
    Task,
    batches_of,
    hold_out,
    of_like_length,
)

logger = logging.getLogger("ia3_speech.speakers")  # under -m too


@dataclass
class Options:
    """Options of adapting to speakers.

    Args:
        data: data directory; each of its speakers gets an adapter
        out: folder of the adapters
        base: mini, a folder, or a hub id
        init_adapter: start from this adapter (name, folder or sum), with its placements, not from the base
        decode_dir: where the texts of all folds go (default: decode, below out)
        part: 3/8 takes the third of eight shares of the speakers, and gathers nothing
        folds: parts into which a speaker's utterances are dealt; 0: learn from all, decode nothing
        k: learn from at most so many utterances (default: all that the fold leaves)
        placements: a list such as [key,value], of key, value, ffn, ffn_output, attention_output
        layers: all, or 0-based inclusive ranges: 0-11, or 0,4-7
        epochs: over a speaker's utterances
        learning_rate: peak rate of AdamW
        warmup: share of all steps in which the rate rises; afterwards it falls linearly to zero
        clip: largest gradient norm of a speaker
        batch_utterances: of one speaker in a step
        adapters_per_batch: speakers in a batch, each with vectors of its own
        speeds: speed perturbation; each pass draws one for each utterance
        spec_augment: masks as the base's configuration has them, or off
        seed: governs order, speeds, masks and dropout
        normalize: text normalisation of targets
        drop_chars: leave out characters that the base can't write, instead of stopping
        on_error: fail stops at bad audio or text that is too long; skip names it and learns nothing from it
        allow_pipes: run shell commands in wav.scp
        cache_gb: memory for what the frozen part computes
        precision: bf16 mixed precision, or no
        device: a torch device; default CUDA where there is one
        force: delete what `out` holds, and adapt again
    """

    data: Path
    out: Path
    base: str = "mini"
    init_adapter: str | None = None
    decode_dir: Path | None = None
    part: str | None = None
    folds: int = 0
    k: int | None = None
    placements: list[str] = field(default_factory=lambda: ["key", "value", "ffn"])
    layers: str = "all"
    epochs: int = 8
    learning_rate: float = 5e-3
    warmup: float = 0.1
    clip: float = 1.0
    batch_utterances: int = 4
    adapters_per_batch: int = 8
    speeds: list[float] = field(default_factory=lambda: [1.0])
    spec_augment: Literal["base", "off"] = "off"
    seed: int = 0
    normalize: Literal["ctc", "english", "none"] = "ctc"
    drop_chars: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    allow_pipes: bool = False
    cache_gb: float = 4.0
    precision: Literal["no", "bf16"] = "no"
    device: str | None = None
    force: bool = False


# May differ when a run goes on.
FREE = {"data", "out", "decode_dir", "part", "adapters_per_batch", "cache_gb", "device", "force"}


@dataclass
class Adaptation:
    """One adapter to be: whose, from what, tested on what, where it goes."""

    speaker: str
    fold: str
    task: Task
    test: list[Example]
    folder: Path

    @property
    def data(self) -> str:
        """A digest of what it learns from, is judged and tested on."""
        return data_digest(self.task.train_examples + self.task.held_out, self.test)


def speakers(options: Options) -> dict[str, Any]:
    """Adapt to every speaker of a data directory; returns what `train.json` says."""
    check(options)
    base = load_base(options.base, device=options.device)
    if options.spec_augment == "off":
        base.model.config.apply_spec_augment = False
    start(base, options)
    mine = share_of(options)
    speeds, untaught = [*{1.0, *options.speeds}], []
    examples = read_examples(options.data, base, as_training(options), speeds, mine, untaught)
    jobs = list(plan(examples + untaught, options))
    key = key_of(base, options)
    warn_of_few(jobs, options)
    left = [job for job in jobs if not is_done(job, key)]
    cache = FeatureCache(base, frozen_depth(base), options.cache_gb * 2**30, options.allow_pipes)
    begun = time.monotonic()
    logger.info("%d adapters for %d speakers, %d to do", len(jobs), len({j.speaker for j in jobs}), len(left))
    run(base, left, options, cache, key)
    return finish(base, jobs, options, time.monotonic() - begun)


def share_of(options: Options) -> Callable[[Utterance], bool]:
    """Whether an utterance's speaker belongs to this run: with --part 3/8 every eighth, from the third on."""
    if options.part is None:
        return lambda utterance: True
    number, _, count = options.part.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"part is {options.part!r}: write 3/8 for the third of eight shares of the speakers")
    data = read_data_directory(options.data, allow_pipes=options.allow_pipes)
    speakers = set(sorted({u.speaker for u in data})[int(number) - 1 :: int(count)])
    return lambda utterance: utterance.speaker in speakers


def check(options: Options) -> None:
    """Raises UserError for numbers that can't be meant."""
    least = {"epochs": 1, "batch_utterances": 1, "adapters_per_batch": 1, "folds": 0, "k": 2}
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise UserError(f"{name} is {value}, and has to be at least {smallest}")
    training_options.check(as_training(options))
    if options.folds == 1:
        raise UserError("folds is 1, which leaves nothing to learn from (take 2 or more, or 0 for no test)")
    if "conv" in options.placements:
        raise UserError("conv vectors stand below what speakers share in a batch (use ia3_speech.train)")


def start(base: Base, options: Options) -> None:
    """Attach what every speaker starts from."""
    if options.init_adapter is None:
        ia3.attach(base.model, ia3.IA3Config(tuple(options.placements), options.layers))
        return
    files.load_adapter(base.model, options.init_adapter)
    if base.model.ia3_config.train_head or "conv" in base.model.ia3_config.placements:
        raise UserError(f"{options.init_adapter}: a head or conv vectors can't differ from row to row here "
                        f"(use ia3_speech.train, speaker by speaker)")  # fmt: skip


def as_training(options: Options) -> training_options.Options:
    """What reading examples wants to know."""
    shared = {f.name for f in fields(training_options.Options)} & {f.name for f in fields(Options)}
    return training_options.Options(
        train=options.data, dev=options.data, **{name: getattr(options, name) for name in shared - {"out"}},
        out=options.out,
    )  # fmt: skip


def plan(examples: list[Example], options: Options) -> Iterator[Adaptation]:
    """Every adapter, speaker by speaker. Raises UserError for a speaker with too few utterances."""
    owned: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda e: e.utterance.id):
        owned.setdefault(example.utterance.speaker, []).append(example)
    for speaker, own in owned.items():
        for fold in range(options.folds or 1):
            test = own[fold :: options.folds] if options.folds else []
            chosen = [e for e in own if e.speeds and e not in test][: options.k]
            if len(chosen) < 2:
                raise UserError(
                    f"{options.data}: {speaker} has {len(own)} utterances, too few to learn from two "
                    f"(leave this speaker out: python -m ia3_speech.datadir subset)"
                )
            name = f"fold{fold + 1}" if options.folds else "all"
            folder = options.out / store.check_name(speaker) / name
            yield Adaptation(speaker, name, Task(f"{speaker}/{name}", *hold_out(chosen)), test, folder)


def amount(job: Adaptation) -> int:
    """Utterances that it learns from or is judged by."""
    return len(job.task.train_examples) + len(job.task.held_out)


def warn_of_few(jobs: list[Adaptation], options: Options) -> None:
    """Say where `k` is more than there is."""
    fewer = [job for job in jobs if options.k and amount(job) < options.k]
    if fewer:
        least = min(fewer, key=amount)
        logger.warning(
            "note: %d of %d adapters have fewer than %d utterances to adapt on: %d in %s",
            *(len(fewer), len(jobs), options.k, amount(least), least.task.name),
        )


def key_of(base: Base, options: Options) -> str:
    """A digest of all that decides an adapter, but for its utterances."""
    record = {f.name: str(getattr(options, f.name)) for f in fields(options) if f.name not in FREE}
    numbers = [v.l.detach().cpu().numpy().tobytes() for v in ia3.vectors(base.model).values()]
    digest = hashlib.sha256(json.dumps([record, base.fingerprint], sort_keys=True).encode())
    for part in numbers:
        digest.update(part)
    return digest.hexdigest()


def is_done(job: Adaptation, key: str) -> bool:
    record = read_task(job)
    return (record.get("key"), record.get("data")) == (key, job.data)


def read_task(job: Adaptation) -> dict[str, Any]:
    try:
        return json.loads((job.folder / "task.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def run(base: Base, jobs: list[Adaptation], options: Options, cache: FeatureCache, key: str) -> None:
    """Train, test and save what is left, `adapters_per_batch` at a time."""
    from tqdm import tqdm

    schedule = Schedule(
        options.epochs, options.learning_rate, options.warmup, options.clip, options.batch_utterances,
        options.seed, options.precision, tuple(options.speeds),
    )  # fmt: skip
    names = {job.speaker for job in jobs}
    labels = {name: arithmetic.labels_after(options.init_adapter, {"speaker": name}) for name in names}
    origin = {v: v.l.detach().clone() for v in ia3.vectors(base.model).values()}
    groups = list(groups_of(jobs, schedule, options.adapters_per_batch))
    if groups:
        project(base, groups, schedule, cache, options.part)
    bar = tqdm(total=len(jobs), unit="adapter", dynamic_ncols=True, file=progress_stream(), disable=None)
    for group in groups:
        tick = time.monotonic()
        put_back(origin)
        trained = MultiAdapterTrainer(base, [job.task for job in group], schedule, cache)
        trained.run()
        texts = decoded(trained, group)
        for number, job in enumerate(group):
            trained.take(number)
            seconds = (time.monotonic() - tick) / len(group)
            save(base, job, options, key, labels[job.speaker], texts[number], seconds)
            bar.update()
    bar.close()


def put_back(origin: dict[ia3.IA3Vector, torch.Tensor]) -> None:
    with torch.no_grad():
        for vector, numbers in origin.items():
            vector.l.copy_(numbers)


def groups_of(
    jobs: list[Adaptation], schedule: Schedule, adapters_per_batch: int
) -> Iterator[list[Adaptation]]:
    """Adapters that train side by side have equally many batches in a pass."""
    by_batches: dict[int, list[Adaptation]] = {}
    for job in jobs:
        by_batches.setdefault(batches_of(job.task, schedule), []).append(job)
    for alike in by_batches.values():
        for first in range(0, len(alike), adapters_per_batch):
            yield alike[first : first + adapters_per_batch]


def project(
    base: Base, groups: list[list[Adaptation]], schedule: Schedule, cache: FeatureCache, part: str | None
) -> None:
    """Say how long it will take, from one pass of the first group (done for this alone).

    What the front end computes is kept, so the pass that is timed is the second."""
    tasks = [Task(job.task.name, job.task.train_examples, job.task.held_out) for job in groups[0]]
    for example in {
        e.utterance.id: e for task in tasks for e in (*task.train_examples, *task.held_out)
    }.values():
        for speed in example.speeds:
            cache.get(example.utterance, speed)
    tick = time.monotonic()
    MultiAdapterTrainer(base, tasks, replace(schedule, epochs=1), cache).run()
    seconds = (time.monotonic() - tick) * schedule.epochs * sum(map(len, groups)) / len(groups[0])
    share = f" for this share of the speakers, {part}" if part else ""
    logger.info("about %.0f minutes%s", seconds / 60, share)


def decoded(trained: MultiAdapterTrainer, group: list[Adaptation]) -> list[dict[str, str]]:
    """For each adapter of the group, utterance → text of what it is tested on.

    What is longer than the base can hear is cut at pauses, as `decode` does it.
    """
    limit = maximum_input_seconds(trained.base)
    tested = [(number, example) for number, job in enumerate(group) for example in job.test]
    long = [(number, example) for number, example in tested if limit and example.seconds > limit]
    rows = [(number, example) for number, example in tested if not limit or example.seconds <= limit]
    texts: list[dict[str, str]] = [{} for _ in group]
    for number, example in long:
        trained.take(number)
        wave = load_utterance(example.utterance, allow_pipes=trained.cache.allow_pipes)
        [text] = Recognizer(trained.base, max_seconds=limit).texts([wave])
        texts[number][example.utterance.id] = text
    for batch in of_like_length(rows):
        for (number, example), text in zip(batch, trained.texts(batch), strict=True):
            texts[number][example.utterance.id] = text
    return texts


def save(
    base: Base, job: Adaptation, options: Options, key: str, labels: dict[str, str], texts: dict[str, str],
    seconds: float,
) -> None:  # fmt: skip
    """The adapter, then task.json: where that stands, the adapter is whole."""
    (job.folder / "task.json").unlink(missing_ok=True)  # of another adapter, if there was one
    losses = [round(loss, 6) if math.isfinite(loss) else None for loss in job.task.losses]
    record = {
        "key": key,
        "data": job.data,
        "speaker": job.speaker,
        "fold": job.fold,
        "learnt_from": [e.utterance.id for e in job.task.train_examples],
        "held_back": [e.utterance.id for e in job.task.held_out],
        "held_back_losses": losses,
        "best_pass": job.task.best_epoch,
        "seconds": round(seconds, 2),
    }
    if not job.task.best_epoch:
        logger.warning(
            "%s: no pass improved on %.3f, so the starting point is kept", job.task.name, job.task.losses[0]
        )
    files.save_adapter(
        base.model, job.folder / "adapter", base=base,
        labels=labels,
        training={name: record[name] for name in ("fold", "learnt_from", "held_back_losses", "best_pass")}
        | {"data": str(options.data), "init_adapter": options.init_adapter},
    )  # fmt: skip
    atomic.write_json(job.folder / "task.json", record | {"texts": texts})


def finish(base: Base, jobs: list[Adaptation], options: Options, seconds: float) -> dict[str, Any]:
    """Gather the texts as a decoding, and count."""
    records = [read_task(job) for job in jobs]
    if options.folds and not options.part:
        write_decoding(base, records, options)
    summary = {
        "adapters": len(jobs),
        "speakers": len({job.speaker for job in jobs}),
        "utterances": median(map(amount, jobs)),
        "improved": sum(record["best_pass"] > 0 for record in records),
        "start_kept": [f"{r['speaker']}/{r['fold']}" for r in records if not r["best_pass"]],
        "trainable": size(base.model).trained,
        "seed": options.seed,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "wall_seconds": round(seconds, 1),
    }
    if not options.part:
        atomic.write_text(options.out / "config.yaml", training_options.to_yaml(options))
        atomic.write_json(options.out / "train.json", summary)
    return summary


def write_decoding(base: Base, records: Sequence[dict[str, Any]], options: Options) -> None:
    """DECODE_DIR of all folds: each utterance's text by the adapter that never heard it."""
    utterances: list[Utterance] = read_data_directory(
        options.data, allow_pipes=options.allow_pipes
    ).utterances
    texts = {utterance: text for record in records for utterance, text in record["texts"].items()}
    why = "bad audio (see the log)"
    left_out = [BadAudio(u.id, u.source, why) for u in utterances if u.id not in texts]
    result = decode.Decoding({u.id: texts.get(u.id, "") for u in utterances}, left_out)
    record = {
        "schema": 1,
        "data": str(options.data),
        "base": {"name": base.name, "sha256": base.fingerprint["sha256"]},
        "adapter": {"name": f"one a speaker and fold, from {options.init_adapter or 'ones'}"},
        "search": "greedy",
        "normalize": "none",
        "utterances": len(texts),
        **decode.surroundings(base, "speakers"),
    }
    decode.write(result, utterances, options.decode_dir or options.out / "decode", record)


def inputs_of(options: Options) -> Inputs:
    """What decides the adapters; shares of the speakers, and who gathers them, are one run."""
    parts = terms(options.init_adapter) if options.init_adapter else []
    record = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in FREE}
    return Inputs(
        {"data": options.data, "base": base_files(options.base), "init_adapter": weight_files(parts)},
        record | {"init_adapter": [part.weight for part in parts]},
    )


def main(options: Options) -> None:
    made = inputs_of(options)
    if made.is_trained(options.out, options.force):
        return
    summary = speakers(options)
    if not options.part:
        made.record(options.out)
    print(
        f"{options.out}: {summary['adapters']} adapters for {summary['speakers']} speakers, "
        f"{summary['improved']} improved on their start, {summary['wall_seconds']:.0f} s"
    )


if __name__ == "__main__":
    command(main)
