"""Calibrate word confidences on a dev set, and show how reliable they are.

    ia3-speech calibrate data/dev --adapter clinic --store
    ia3-speech transcribe --adapter clinic --format json a.wav

Out: the slope and bias of the words' log-odds (Platt 1999) that minimise the cross-entropy of "this word is
right", and a table of confidence against the share of right words. --store stores them with the adapter or
base, and `decode` and `transcribe` use them for the same language model, weights and hot words; --out writes
a YAML file that both take as --config. Transcripts do not depend on them.
"""

from pathlib import Path

from ia3_speech.adapters.spec import parse_adapter
from ia3_speech.common.atomic import write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural
from ia3_speech.decoding.options import ModelOptions
from ia3_speech.decoding.search import SearchOptions


def main(
    data: Path,
    *,
    model_options: ModelOptions,
    search_options: SearchOptions,
    store: bool = False,
    minimum_words: int = 1,
    out: Path | None = None,
    allow_pipes: bool = False,
) -> None:
    """Calibrate word confidences by the cross-entropy of a dev set.

    Args:
        data: data directory with audio and text
        store: store slope and bias with the adapter, or with the base if there is no adapter
        minimum_words: fit nothing if fewer words than this are recognised
        out: YAML file for --config of transcribe and decode
        allow_pipes: run the shell commands that wav.scp holds
    """
    from ia3_speech.decoding.calibrations import storage_file, store_scaling
    from ia3_speech.decoding.reliability import calibrate, format_calibration
    from ia3_speech.decoding.word_times import Scaling
    from ia3_speech.session import load

    spec = parse_adapter(model_options.adapter)
    if spec.choice:
        raise UserError(f"{spec} is a choice among adapters (calibrate each of them)")
    options = model_options.for_loading(vad="off", scaling=Scaling())
    recognizer = load(**options | {"adapter": spec}, search=search_options).recognizer
    if store:
        storage_file(recognizer.base, spec)  # raises before the work is done
    calibrations = calibrate(recognizer, data, allow_pipes)
    words = calibrations[0].words if calibrations else 0
    if calibrations is None or words < minimum_words:
        if minimum_words == 1:
            raise UserError(f"{data}: no word was recognised")
        print(f"{data}: {plural(words, 'word')} recognised, and a calibration needs {minimum_words:,}")
        return
    before, after = calibrations
    entropy, error = f"{before.cross_entropy:.2f} bits a word", f"{before.calibration_error:.1%}"
    print(f"uncalibrated: cross-entropy {entropy}, calibration error {error}")
    print(format_calibration(after))
    if store:
        record = recognizer.search_record
        place = store_scaling(recognizer.base, spec, record, after, data)
        print(f"{place}: contains them for {record['search']} search")
    if out:
        import yaml

        fitted = {"confidence_slope": after.scaling.slope, "confidence_bias": after.scaling.bias}
        write_text(out, yaml.safe_dump(fitted, sort_keys=False))
        print(f"{out}: take it as --config of ia3-speech transcribe")
