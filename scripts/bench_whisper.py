"""Speed of Whisper: seconds for an utterance of 3, 10 and 25 s, in transformers' pipeline and here.

    python scripts/bench_whisper.py --base openai/whisper-base --adapter clinic --recording lecture.wav

The adapter was trained in short windows, and the utterances are the beginnings of the recording. Out: a table
of transformers' pipeline, faster-whisper in float32 and int8 if `--ctranslate` names its model, ours with the
base in 30-second windows and with the adapter in short windows; and 16 rows with the adapter, in one batch.
"""

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import Page, machine, pipeline_of, rounds

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.model.base import read_pretrained
from ia3_speech.scoring.table import markdown_table
from ia3_speech.session import load

SECONDS = (3, 10, 25)
ROWS = 16  # of the batch


def main(
    *, page: Page, base: str, adapter: str, recording: Path, ctranslate: str | None = None, repeats: int = 5
) -> None:
    """Measure and write the table.

    Args:
        base: a Whisper folder or hub id
        adapter: trained in short windows
        recording: speech of at least 25 s
        ctranslate: folder of the same model for faster-whisper
        repeats: rounds
    """
    model, processor = read_pretrained(base)
    theirs = pipeline_of(model.eval(), processor)
    loading = {"base": base, "options": LoadOptions(vad="off")}
    plain, adapted = load(**loading).recognizer, loading | {"adapter": adapter, "guard": False}
    full, fast = (load(**adapted, precision=precision).recognizer for precision in ("no", "auto"))
    batch = replace(fast, batch_seconds=ROWS * max(SECONDS))
    systems: dict[str, Any] = {
        "transformers' pipeline": lambda wave: theirs(wave.copy(), generate_kwargs={"language": "en"}),
        "base, 30-second windows": lambda wave: plain.texts([wave]),
        "adapter, short windows": lambda wave: full.texts([wave]),
        "adapter, short windows, `precision=auto`": lambda wave: fast.texts([wave]),
        f"the same, {ROWS} rows": lambda wave: batch.texts([wave] * ROWS),
    }
    options = {"language": "en", "beam_size": 1, "without_timestamps": True}
    for kind in ("float32", "int8") if ctranslate else ():
        from faster_whisper import WhisperModel

        model = WhisperModel(ctranslate, device="cpu", compute_type=kind)
        systems[f"faster-whisper, {kind}"] = lambda wave, model=model: [*model.transcribe(wave, **options)[0]]
    wave, rows = load_audio(recording), {name: [name] for name in systems}
    for seconds in SECONDS:
        part = wave[: seconds * SAMPLE_RATE]
        times = rounds({name: lambda f=f, part=part: f(part) for name, f in systems.items()}, repeats)
        for name, values in times.items():
            count = ROWS if name.endswith("rows") else 1
            rows[name].append(f"{median(values) / count:.2f}")
    head = ["system", *(f"{seconds} s" for seconds in SECONDS)]
    setup = f"base {base}, {machine()}"
    page.write("Whisper: seconds an utterance", setup, markdown_table(head, [*rows.values()]))


if __name__ == "__main__":
    command(main)
