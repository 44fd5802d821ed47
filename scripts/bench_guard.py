"""Cost of the guard: seconds a second of audio with an adapter alone, with a guard, and by the gate alone.

    python scripts/bench_guard.py --adapter orders --data data/orders/test --general data/librispeech/dev

Half of the utterances are the adapter's speech, half are other speech. With `--guard on` the base and the
adapter recognise each utterance, in one batch, except where the gate is sure; `auto:NAME` asks the gate
alone. Out: a table of processor time, and how many utterances the guard recognised with both.
"""

from pathlib import Path
from statistics import median
from time import process_time

from benchmark import Page, machine, rounds

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.scoring.table import markdown_table
from ia3_speech.session import load


def main(
    *,
    page: Page,
    adapter: str,
    data: Path,
    general: Path,
    base: str = "mini",
    count: int = 20,
    repeats: int = 5,
) -> None:
    """Measure and write the table.

    Args:
        adapter: a registered adapter with a gate
        data: its speech, for example its test set
        general: other speech
        base: as for transcribe
        count: utterances of each
        repeats: rounds
    """
    halves = []
    for folder in (data, general):
        utterances = evenly_spaced([*read_data_directory(folder, spk_sort=False)], count)
        halves.append([wave for _, wave in load_utterances(utterances, progress=None)])
    options = {"base": base, "options": LoadOptions(vad="off")}
    systems = {
        "the base": load(**options),
        "`--guard off`": load(adapter=adapter, guard=False, **options),
        "`--guard on`": load(adapter=adapter, guard=True, **options),
        f"`--adapter auto:{adapter}`, the gate alone": load(
            adapter=f"auto:{adapter}", guard=False, **options
        ),
    }
    recognizers = {name: transcriber.recognizer for name, transcriber in systems.items()}
    sets = {"its speech": halves[0], "other speech": halves[1], "both": halves[0] + halves[1]}
    rows = {name: [name] for name in recognizers}
    for waves in sets.values():
        seconds = sum(map(len, waves)) / SAMPLE_RATE
        times = rounds(
            {name: lambda r=r, w=waves: r.texts(w) for name, r in recognizers.items()},
            repeats,
            clock=process_time,
        )
        alone = median(times["`--guard off`"])
        for name, values in times.items():
            rows[name].append(f"{median(values) / seconds:.3f} ({median(values) / alone:.2f} ×)")
    both = [share_with_both(recognizers["`--guard on`"], waves) for waves in halves]
    head = ["system", *(f"{name}: processor seconds a second" for name in sets)]
    setup = f"base {base}, {2 * count} utterances, {machine()}. The ratios are to `--guard off`"
    note = f"Recognised with base and adapter: {both[0]:.0%} of its speech, {both[1]:.0%} of other speech."
    page.write("Cost of the guard", setup, markdown_table(head, [*rows.values()]), note)


def share_with_both(recognizer, waves) -> float:
    """How many waveforms the guard recognises twice."""
    features = [recognizer.base.features(wave) for wave in waves]
    return sum(len(each.recognizers) > 1 for each in recognizer.router(features)) / len(waves)


if __name__ == "__main__":
    command(main)
