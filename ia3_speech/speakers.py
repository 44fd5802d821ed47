"""An adapter for each speaker of a data directory, all trained in one process.

    ia3-speech speakers --init-adapter accent --data data/test --folds 4 --out exp/speakers

With `--folds N` each speaker's utterances are divided into N parts; for each part an adapter is trained on
the others and decodes that one, so that every utterance is tested once by an adapter that was not trained on
it. Without folds each speaker's adapter is trained on all there is. Writes, below --out:

    SPEAKER/foldN/adapter/   the vectors (SPEAKER/all/adapter/ without folds)
    SPEAKER/foldN/task.json  what it was trained on, its held-out loss after each epoch, what it decoded
    config.yaml              the options
    train.json               how many adapters improved on the start, seconds; written last

and in --decode-dir text, hyp.trn and decode.json, as `ia3-speech decode` has them, for `ia3-speech score
--training-per-speaker OUT`.
Several machines: `--part 3/8` takes the third of eight shares of the speakers; when all have ended, a run
without it gathers.

Epochs and learning rate are fixed beforehand. Every fifth utterance of what an adapter is adapted on is held
out: the epoch with the lowest CTC loss on them is selected, and where none improves on the start, the start
(the log says so). Finished adapters are not trained again: an interrupted run resumes with the speakers that
are left.
"""

from ia3_speech.adapters.expressions import parse_terms, weight_files
from ia3_speech.cli import command
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.training.config import SpeakerOptions, check_options, comparable


def inputs_of(options: SpeakerOptions) -> Inputs:
    """What decides the adapters; shares of the speakers, and the run that gathers them, are one run."""
    terms = parse_terms(options.init_adapter) if options.init_adapter else []
    return Inputs(
        {"data": options.data, "base": base_files(options.base), "init_adapter": weight_files(terms)},
        comparable(options) | {"init_weights": [term.weight for term in terms]},
    )


def main(options: SpeakerOptions) -> None:
    check_options(options)
    inputs = inputs_of(options)  # an unknown adapter is reported before torch is loaded
    if inputs.is_current(options.out, options.force, resume=True):
        return
    from ia3_speech.training.speaker_run import adapt_to_speakers

    summary = adapt_to_speakers(options)
    if not options.part:
        inputs.record(options.out)
    print(
        f"{options.out}: {summary['adapters']} adapters for {summary['speakers']} speakers, "
        f"{summary['improved']} improved on their start, {summary['wall_seconds']:.0f} s"
    )


if __name__ == "__main__":
    command(main)
