"""Transcribe a microphone, or audio that is being piped in, while it is spoken.

    ia3-speech live --mic                                       until Ctrl-C
    arecord -q -f S16_LE -r 16000 | ia3-speech live             WAV, of any length
    rec -q -t raw -r 16000 -b 16 -c 1 - | ia3-speech live --raw 16000
    ia3-speech live --mic --dictation --adapter speaker42       as it is written

The same as `ia3-speech transcribe --mic`, `--live` and `--raw`. live.py describes what is printed when.
"""

from ia3_speech.cli import command
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
from ia3_speech.decoding.options import DictationOptions, LiveOptions, ModelOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.transcription import parse_adapter
from ia3_speech.live.live import transcribe_live
from ia3_speech.loading import load, make_post_process
from ia3_speech.search import SearchOptions


def main(
    *,
    live_options: LiveOptions,
    model_options: ModelOptions,
    search_options: SearchOptions,
    dictation_options: DictationOptions,
    format: str = "text",
    max_seconds: float | None = None,
) -> int:
    """Transcribe the microphone, or WAV that is piped into stdin.

    Args:
        format: text: a line for each final text (dictation: with --dictation); json: an object
        max_seconds: of speech without a pause, after which it is cut (default: the base's maximum input
            duration, 15.36 s for mini, else 15)
    """
    live_options.check()
    search_options.check()
    parse_adapter(model_options.adapter, split=False)
    post_process = make_post_process(dictation_options, format)

    def load_recognizer() -> Recognizer:
        recognizer = load(search=search_options, max_seconds=max_seconds, **vars(model_options)).recognizer
        if max_seconds is None:
            recognizer.max_seconds = recognizer.base.maximum_seconds or MAXIMUM_SECONDS
        return recognizer

    return transcribe_live(live_options, load_recognizer, format=format, post_process=post_process)


if __name__ == "__main__":
    command(main)
