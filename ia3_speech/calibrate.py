"""Fit the temperature of word confidences on a dev set, and say what the confidences are worth.

    ia3-speech calibrate data/dev --adapter clinic --store
    ia3-speech transcribe --adapter clinic --format json a.wav
    ia3-speech calibrate data/test --adapter clinic --temperature 1.5

In: a data directory with audio and text, a base and perhaps an adapter. Out: the temperature with the
smallest cross-entropy of "this word is right", and a table of confidences against the share of words that are
right (a reliability diagram in numbers). --store keeps the temperature with the adapter or base, where
`decode` and `transcribe` find it when they search alike; --out writes a YAML file that both take as --config.
With --temperature it is measured, not fitted: for a test set. The texts do not depend on the temperature.
"""

from pathlib import Path
from typing import Literal

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.formatting import plural


def main(
    data: Path,
    *,
    search_options: SearchOptions,
    base: str | None = None,
    adapter: str | None = None,
    temperature: float | None = None,
    store: bool = False,
    minimum_words: int = 1,
    out: Path | None = None,
    device: str | None = None,
    precision: Literal["no", "bf16", "auto"] = "no",
    allow_pipes: bool = False,
) -> None:
    """Fit the temperature of word confidences by the cross-entropy of a dev set.

    Args:
        data: data directory with audio and text
        base: mini, a folder or a hub id (default: the adapter's recorded base, else mini)
        adapter: a registered name, an adapter's folder, or a sum of such (default: the base alone)
        temperature: measure this one, and fit nothing
        store: keep the temperature with the adapter, or with the base where there is no adapter
        minimum_words: fit nothing where fewer words are recognised
        out: YAML file for --config of transcribe and decode
        device: cpu, cuda, … (default: cuda where there is one)
        precision: bf16: the encoder's layers compute in bfloat16; auto: where the processor or GPU has
            instructions for it; no: all in float32
        allow_pipes: run the shell commands that wav.scp holds
    """
    search_options.check()
    if temperature is not None and (out or store or not 0 < temperature < float("inf")):
        raise UserError(
            "--temperature is a positive number, and is measured: nothing is fitted for --out or --store"
        )
    from ia3_speech.decoding.calibration import TEMPERATURES, calibrate, format_calibration
    from ia3_speech.decoding.recognizer import load_recognizer
    from ia3_speech.decoding.stored_temperature import storage_file, store_temperature

    recognizer = load_recognizer(
        base, adapter, device=device, precision=precision, search=search_options, temperature=1.0
    )
    if store:
        storage_file(recognizer.base, recognizer.adapter)  # raises before the work is done
    tried = [temperature] if temperature else sorted({1.0, *TEMPERATURES})
    results = calibrate(recognizer, data, tried, allow_pipes)
    words = results[0].words if results else 0
    if words < minimum_words:
        if minimum_words == 1:
            raise UserError(f"{data}: no word was recognised")
        print(
            f"{data}: {plural(words, 'word')} recognised, and {minimum_words:,} are needed for a temperature"
        )
        return
    if not temperature:
        (before,) = (one for one in results if one.temperature == 1.0)
        print(
            f"uncalibrated: cross-entropy {before.cross_entropy:.2f} bits a word, "
            f"calibration error {before.calibration_error:.1%}"
        )
    print(format_calibration(results[0]))
    if store:
        method = recognizer.search_record["search"]
        place = store_temperature(recognizer.base, recognizer.adapter, method, results[0], data)
        print(f"{place}: holds it for {method} search")
    if out:
        import yaml

        write_text(out, yaml.safe_dump({"confidence_temperature": results[0].temperature}))
        print(f"{out}: take it as --config of ia3-speech transcribe")


if __name__ == "__main__":
    command(main)
