"""Speed of Whisper: seconds for an utterance of 3, 10 and 25 s, in transformers' pipeline and here.

    python scripts/bench_whisper.py --base openai/whisper-base --adapter clinic --recording lecture.wav

The adapter was trained in short windows, and the utterances are the beginnings of the recording. Out: a table
of transformers' pipeline, faster-whisper in float32 and int8 if `--ctranslate` names its model, ours with the
base in 30-second windows and with the adapter in short windows; and 16 rows with the adapter, in one batch.
Then the parts of the adapter's time for 10 s, with what the memory's bandwidth allows for a step of the
decoder, and the seconds for a long recording.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from benchmark import Page, machine, pipeline_of, rounds, seconds_of

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import words_of
from ia3_speech.model.base import read_pretrained
from ia3_speech.model.kinds.whisper_search import Steps
from ia3_speech.scoring.table import markdown_table
from ia3_speech.session import load

SECONDS = (3, 10, 25)
ROWS = 16  # of the batch
PARTS_SECONDS = 10  # of the utterance whose time is split
READ = 2**27  # float32 numbers that are read to measure the memory's bandwidth: 0.5 GB


def main(
    *,
    page: Page,
    base: str,
    adapter: str,
    recording: Path,
    ctranslate: str | None = None,
    repeats: int = 5,
    minutes: float = 30.0,
) -> None:
    """Measure and write the tables.

    Args:
        base: a Whisper folder or hub id
        adapter: trained in short windows
        recording: speech of at least 25 s
        ctranslate: folder of the same model for faster-whisper
        repeats: rounds
        minutes: length of the long recording, which repeats `recording`; 0: none
    """
    model, processor = read_pretrained(base)
    theirs = pipeline_of(model.eval(), processor)
    loading = {"base": base, "options": LoadOptions(vad="off")}
    plain, adapted = load(**loading).recognizer, loading | {"adapter": adapter, "guard": False}
    full, half, fast = (load(**adapted, precision=each).recognizer for each in ("no", "bf16", "int8"))
    batch = replace(fast, batch_seconds=ROWS * max(SECONDS))
    systems: dict[str, Any] = {
        "transformers' pipeline": lambda wave: theirs(wave.copy(), generate_kwargs={"language": "en"}),
        "base, 30-second windows": lambda wave: plain.texts([wave]),
        "adapter, short windows": lambda wave: full.texts([wave]),
        "the same, `precision=bf16`": lambda wave: half.texts([wave]),
        "the same, `precision=int8`": lambda wave: fast.texts([wave]),
        f"the same, int8, {ROWS} rows": lambda wave: batch.texts([wave] * ROWS),
    }
    long: dict[str, Callable[[np.ndarray], Any]] = {
        f"{name}, `precision={each}`": load(base, adapter=which, guard=False, precision=each).recognizer.texts
        for name, which in (("base", None), ("adapter", adapter))
        for each in ("no", "int8")
    }
    options = {"language": "en", "beam_size": 1, "without_timestamps": True}
    for kind in ("float32", "int8") if ctranslate else ():
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        model = WhisperModel(ctranslate, device="cpu", compute_type=kind, cpu_threads=torch.get_num_threads())
        batched = BatchedInferencePipeline(model)
        systems[f"faster-whisper, {kind}"] = lambda wave, model=model: [*model.transcribe(wave, **options)[0]]
        long[f"faster-whisper, {kind}, batches of 8"] = lambda waves, batched=batched: [
            *batched.transcribe(waves[0], batch_size=8, **options)[0]
        ]
    wave, rows = load_audio(recording), {name: [name] for name in systems}
    for seconds in SECONDS:
        part = wave[: seconds * SAMPLE_RATE]
        times = rounds({name: lambda f=f, part=part: f(part) for name, f in systems.items()}, repeats)
        for name, values in times.items():
            count = ROWS if "rows" in name else 1
            rows[name].append(f"{median(values) / count:.2f}")
    tables = [markdown_table(["system", *(f"{seconds} s" for seconds in SECONDS)], [*rows.values()])]
    part, bandwidth = wave[: PARTS_SECONDS * SAMPLE_RATE], measure_bandwidth()
    split = [parts_of(recognizer, part, repeats, bandwidth) for recognizer in (full, fast)]
    body = [[name, *(f"{1e3 * each[name]:.1f}" for each in split)] for name in split[0]]
    tables += [
        f"Milliseconds of the adapter for {PARTS_SECONDS} s (the memory gives {bandwidth / 1e9:.1f} GB/s):",
        markdown_table(["part", "float32", "int8"], body),
    ]
    if minutes:
        whole = np.resize(wave, round(60 * minutes * SAMPLE_RATE))
        body = [[name, f"{seconds_of(function, [whole]):.0f}"] for name, function in long.items()]
        tables.append(f"Seconds for a recording of {minutes:g} minutes:")
        tables.append(markdown_table(["system", "seconds"], body))
    page.write("Whisper: seconds an utterance", f"base {base}, {machine()}", *tables)


def parts_of(recognizer: Recognizer, wave: np.ndarray, repeats: int, bandwidth: float) -> dict[str, float]:
    """Name → seconds of the parts of an utterance's recognition."""
    base, search = recognizer.base, recognizer.search
    features = [base.features(wave)]
    encoded = [base.to_device(row) for row in recognizer.logits([wave], None, features)]
    found = search.many(encoded)[0]
    prompt, count = torch.tensor([search.prompt_tokens]), len(found.tokens)

    def decode(tokens: int) -> None:
        steps = Steps(base, encoded, 1, prompt.shape[1] + tokens)
        for given in (prompt, *[prompt[:, -1:]] * tokens):
            steps(given)

    functions = {
        "front end": lambda: base.features(wave),
        "encoder": lambda: recognizer.logits([wave], None, features),
        "start of the decoder (keys and values of the audio, prompt)": lambda: decode(0),
        "steps": lambda: decode(count),
        "word times": lambda: words_of(base, encoded[0], found, len(wave) / SAMPLE_RATE, 0.0),
    }
    parts = {name: median(times) for name, times in rounds(functions, repeats).items()}
    *_, start, steps, _ = functions
    parts[steps] -= parts[start]
    decoder, head = base.model.model.decoder, base.model.proj_out
    stored = "encoder_attn.k_proj", "encoder_attn.v_proj"  # computed once a recording
    layers = decoder.layers.named_parameters()
    weights = [w for name, w in layers if not name.partition(".")[2].startswith(stored)]
    numbers = sum(w.numel() for w in (head.weight, *weights))
    width = 1 if base.precision == "int8" else 4
    audio = 2 * len(decoder.layers) * encoded[0].numel() * 4  # keys and values
    parts[f"a step ({count} of them)"] = parts[steps] / count
    parts["a step as the memory allows"] = (numbers * width + audio) / bandwidth
    return parts


def measure_bandwidth() -> float:
    """Bytes per second that are read from memory: the maximum of some rounds."""
    numbers = torch.ones(READ)
    return 4 * READ / min(seconds_of(numbers.sum) for _ in range(5))


if __name__ == "__main__":
    command(main)
