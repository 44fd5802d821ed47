"""How long the trainings of a plan that are left will take, by those that are done."""

import re
import statistics
from pathlib import Path

from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.experiments.by_speaker import parts
from ia3_speech.experiments.plan import Evaluation, read_plan
from ia3_speech.experiments.systems import load_json, load_system


def remaining(exp: Path, trainings: int | None = None) -> None:
    """Print how long the trainings that are left will take, by those that EXP holds.

    Args:
        exp: folder of the experiment
        trainings: so many as those that are done (default: what the plan has and EXP lacks)
    """
    paths = sorted(path for path in exp.glob("*_seed*/train.json") if "seconds" in load_json(path))
    if trainings is not None:
        left = [exp / "new"] * trainings
        seconds = [load_json(path)["seconds"] for path in paths]
        expected = trainings * statistics.fmean(seconds) if seconds else 0.0
    else:
        _, planned, tests = read_plan(exp)
        folders = [(one, exp / one.system.replace("JOB", str(seed)))
                   for one in planned for seed in range(1, one.seeds + 1)]  # fmt: skip
        rows = [(one, folder) for one, folder in folders if not (folder / "train.json").is_file()]
        left = [folder for _, folder in rows]
        sets = {one.system: [test for test in tests if test.system == one.system] for one, _ in rows}
        expected = sum(time_of(paths, one.options) + decoding(exp, sets[one.system]) for one, _ in rows)
    if left and paths:
        each = f"{expected / len(left):.0f} s each so far"
        print(f"{len(left)} trainings left, {each}: {expected / 3600:.1f} hours")
    elif len(left) > 1:
        print(f"{len(left)} trainings left; the first one will tell how long one takes")


def time_of(done: list[Path], options: str) -> float:
    """Seconds that a training takes, by those that are done.

    With `--epoch-minutes` an epoch takes less than all of train; each epoch decodes dev, without a backward
    pass: a third of the work. One with `--k` takes its share of what more utterances took.
    """
    minutes, k = (re.search(rf"{flag} (\S+)", options) for flag in ("--epoch-minutes", "--k"))
    times = []
    for path in done:
        system = load_system(path.parent)
        share = 1.0
        if minutes:
            dev = read_data_directory(Path(system.options()["dev"]), wav=False, allow_pipes=True)
            decoded = sum(one.duration or 0.0 for one in dev) / 3
            share = min(1.0, (60 * float(minutes[1]) + decoded) / (system.train["audio_seconds"] + decoded))
        elif k:
            share = int(k[1]) / parts(system)[1]
        times.append(system.train["seconds"] * share)
    return statistics.fmean(times) if times else 0.0


def decoding(exp: Path, tests: list[Evaluation]) -> float:
    """Seconds that decoding the sets takes, by the base."""
    places = [exp / f"base/decode_greedy_{one.set}/decode.json" for one in tests]
    return sum(load_json(place)["seconds"] for place in places if place.is_file())
