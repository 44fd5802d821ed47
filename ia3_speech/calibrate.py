"""Fit the temperature of word confidences on a dev set, and say what the confidences are worth.

    ia3-speech calibrate data/dev --adapter clinic --out clinic_confidence.yaml
    ia3-speech transcribe --config clinic_confidence.yaml --adapter clinic --format json a.wav
    ia3-speech calibrate data/test --adapter clinic --temperature 1.5

In: a data directory with audio and text, a base and perhaps an adapter. Out: the temperature with the
smallest cross-entropy of "this word is right", as a YAML file that `transcribe` takes as --config; and a
table of confidences against the share of words that are right (a reliability diagram in numbers). With
--temperature it is measured, not fitted: for a test set. The texts do not depend on the temperature.
"""

from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.decoding.search import SearchOptions


def main(
    data: Path,
    *,
    search_options: SearchOptions,
    base: str | None = None,
    adapter: str | None = None,
    temperature: float | None = None,
    out: Path | None = None,
    device: str | None = None,
    allow_pipes: bool = False,
) -> None:
    """Fit the temperature of word confidences by the cross-entropy of a dev set.

    Args:
        data: data directory with audio and text
        base: mini, a folder or a hub id (default: the adapter's recorded base, else mini)
        adapter: a registered name, an adapter's folder, or a sum of such (default: the base alone)
        temperature: measure this one, and fit nothing
        out: YAML file for --config of transcribe (default: print only)
        device: cpu, cuda, … (default: cuda where there is one)
        allow_pipes: run the shell commands that wav.scp holds
    """
    search_options.check()
    if temperature is not None and (out or not 0 < temperature < float("inf")):
        raise UserError("--temperature is a positive number, and is measured: nothing is fitted for --out")
    from ia3_speech.decoding.calibration import TEMPERATURES, calibrate, format_calibration
    from ia3_speech.decoding.recognizer import load_recognizer

    recognizer = load_recognizer(base, adapter, device=device, search=search_options)
    tried = [temperature] if temperature else sorted({1.0, *TEMPERATURES})
    results = calibrate(recognizer, data, tried, allow_pipes)
    if not temperature:
        (before,) = (one for one in results if one.temperature == 1.0)
        print(
            f"uncalibrated: cross-entropy {before.cross_entropy:.2f} bits a word, "
            f"calibration error {before.calibration_error:.1%}"
        )
    print(format_calibration(results[0]))
    if out:
        import yaml

        write_text(out, yaml.safe_dump({"confidence_temperature": results[0].temperature}))
        print(f"{out}: take it as --config of ia3-speech transcribe")


if __name__ == "__main__":
    command(main)
