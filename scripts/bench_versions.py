"""Whether this version is as fast as an earlier one: transcription of a single file, and steps of training.

    python scripts/bench_versions.py ../shared/data/read_english/dev --out scripts/bench_versions.md

In: a data directory and a commit, which is checked out into a temporary git worktree. Out: a Markdown table.
Both versions load the same base and take turns, clip by clip and step by step, each in a process of its own,
the order changing each time, so that other load on the machine affects both. A ratio is this version's time
divided by the earlier one's, the mean over repeats; its interval is a bootstrap over repeats. CPU time leaves
out what other processes took; wall time does not.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "0d4d483"  # an earlier version must have today's API
REPLICATIONS = 2_000
HEADER = """\
| work | repeats | CPU time, new / old | wall time, new / old | seconds of CPU, old | same results |
|---|---:|---:|---:|---:|---|"""
Times = dict[str, dict[str, list[float]]]  # wall or cpu → old or new → the seconds of each repeat


# --- one version, in a process of its own: commands as JSON lines in, times as JSON lines out ---------------


def work(base: str, data: str) -> None:
    """Answer commands on stdin: {"clip": path}, or {"step": true}."""
    transcribe, step = make_transcriber(base), make_trainer(base, Path(data))
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        result = transcribe(order["clip"]) if "clip" in order else step()
        times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(times | {"result": result}), flush=True)


def make_transcriber(base: str) -> Callable[[str], str]:
    """A function from a path to its text, by greedy search."""
    from ia3_speech import SearchOptions, load

    transcriber = load(base, device="cpu", search=SearchOptions("greedy"))
    return lambda path: transcriber.transcribe(path).text


def make_trainer(base: str, data: Path) -> Callable[[], float]:
    """A function that does one step of training and returns its loss; all features are in the cache."""
    from ia3_speech import attach, load_base
    from ia3_speech.training.config import TrainingOptions
    from ia3_speech.training.data import read_examples
    from ia3_speech.training.trainer import Trainer

    out = data.parent / f"exp_{os.getpid()}"
    options = TrainingOptions(
        train=data, dev=data, out=out, base=base, speeds=[1.0], epochs=100, device="cpu"
    )
    loaded = load_base(base, device="cpu")
    attach(loaded.model)
    examples = read_examples(data, loaded, options, options.speeds)
    trainer = Trainer(loaded, examples, examples, options)
    batches = list(trainer.order)

    def step() -> float:
        epoch, number = divmod(trainer.state.step, len(batches))
        loss, _ = trainer.train_step(batches[number], epoch)
        trainer.state.step += 1
        return loss

    for _ in batches:  # fills the cache of features
        step()
    return step


# --- both versions in turn ----------------------------------------------------------------------------------


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """A git worktree of that commit, removed afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "-q", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


@contextmanager
def worker(root: Path, base: Path, data: Path) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """A function that sends one command to the version at `root` and returns its answer."""
    words = [sys.executable, __file__, "--worker", str(base), str(data)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment(root), cwd=root, **pipes) as process:
        for line in process.stdout:  # what the version itself prints comes before
            if line == "ready\n":
                break

        def ask(order: dict[str, Any]) -> dict[str, Any]:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run_command(root: Path, base: Path, clip: str) -> dict[str, Any]:
    """`python -m ia3_speech.transcribe CLIP` by greedy search, from the start of Python to its end."""
    words = [sys.executable, "-m", "ia3_speech.transcribe", "--base", str(base), "--search", "greedy", clip]
    started, before = time.perf_counter(), os.times()
    subprocess.run(words, env=environment(root), cwd=root, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": time.perf_counter() - started, "cpu": cpu}


def in_turn(repeats: int, orders: list[Any], ask: dict[str, Callable[[Any], dict]]) -> tuple[Times, bool]:
    """The times of `orders`, each asked of both versions in every repeat, and whether results were equal."""
    times, equal = {clock: {"old": [], "new": []} for clock in ("wall", "cpu")}, True
    for repeat in range(repeats + 1):  # the first warms up
        answers: dict[str, list] = {"old": [], "new": []}
        for number, order in enumerate(orders):
            for version in ("old", "new") if (repeat + number) % 2 else ("new", "old"):
                answers[version].append(ask[version](order))
            equal &= answers["old"][-1].get("result") == answers["new"][-1].get("result")
        for clock, seconds in times.items() if repeat else ():
            for version, every in answers.items():
                seconds[version].append(sum(answer[clock] for answer in every))
    return times, equal


def ratio(seconds: dict[str, list[float]]) -> str:
    """`1.004 [0.991, 1.018]`: new divided by old, the mean over repeats, with a 95 % interval."""
    ratios = np.log(np.divide(seconds["new"], seconds["old"]))
    draws = np.random.default_rng(0).integers(len(ratios), size=(REPLICATIONS, len(ratios)))
    low, high = np.exp(np.percentile(ratios[draws].mean(1), [2.5, 97.5]))
    return f"{np.exp(ratios.mean()):.3f} [{low:.3f}, {high:.3f}]"


def row(name: str, times: Times, equal: bool) -> str:
    """A line of the table: one kind of work."""
    old = times["cpu"]["old"]
    cells = [name, str(len(old)), ratio(times["cpu"]), ratio(times["wall"]), f"{np.median(old):.2f}"]
    return f"| {' | '.join(cells)} | {'yes' if equal else 'no'} |"


def main(
    data: Path,
    *,
    revision: str = BASELINE,
    base: Path = ROOT / "ia3_speech/mini",
    repeats: int = 20,
    steps: int = 20,
    commands: int = 5,
    out: Path | None = None,
) -> None:
    """Compare this version with an earlier one.

    Args:
        data: data directory with audio and text; a few utterances of each speaker are used
        revision: the earlier version, a commit
        base: folder of the base that both load
        repeats: how often the clips, one of each speaker, are transcribed
        steps: of training
        commands: how often the command `transcribe` is started
        out: where the Markdown goes; it is printed in any case
    """
    from bench_page import made_by, publish

    from ia3_speech.data.kaldi import read_data_directory, write_data_directory

    with tempfile.TemporaryDirectory() as folder, checked_out(revision, Path(folder) / "old") as old:
        small = Path(folder) / "data"
        by_speaker = read_data_directory(data, spk_sort=False).speakers.values()
        write_data_directory(small, [u for own in by_speaker for u in own[:3]])
        clips = [utterances[0].source for utterances in by_speaker]
        roots = {"old": old, "new": ROOT}
        with worker(old, base, small) as ask_old, worker(ROOT, base, small) as ask_new:
            ask = {"old": ask_old, "new": ask_new}
            transcription = in_turn(repeats, [{"clip": clip} for clip in clips], ask)
            training = in_turn(steps, [{"step": True}], ask)
        start = {name: lambda clip, root=root: run_command(root, base, clip) for name, root in roots.items()}
        command = in_turn(commands, clips[:1], start)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    lines = [
        f"# This version against {revision}\n",
        f"{made_by()}; {os.cpu_count()} cores ({platform.machine()}), one thread, load average {load}.\n",
        HEADER,
        row(f"transcription of {len(clips)} files, one by one", *transcription),
        row("a step of training", *training),
        row("the command, one file", *command),
    ]
    publish("\n".join([*lines, ""]), out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        sys.path.insert(0, str(ROOT))
        from ia3_speech.cli import command

        command(main)
