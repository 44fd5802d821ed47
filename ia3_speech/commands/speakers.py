"""Train an adapter for each speaker of a data directory, all in one process.

    ia3-speech speakers --init-adapter accent --data data/test --folds 4 --out exp/speakers

With `--folds N` each speaker's utterances are divided into N parts; for each part an adapter is trained on
the other parts and decodes this part, so that every utterance is tested once by an adapter that was not
trained on it. Without folds each speaker's adapter is trained on all utterances. Writes, below --out:

    SPEAKER/foldN/adapter/   the vectors (SPEAKER/all/adapter/ without folds)
    SPEAKER/foldN/task.json  training utterances, setting; errors and hypotheses of the held-out ones
    config.yaml              the options
    train.json               how many adapters improved on the start, and seconds; written last

and in --decode-dir text, hyp.trn and decode.json, as `ia3-speech decode` has them, for `ia3-speech score
--training-per-speaker OUT`.
Several machines: `--part 3/8` takes the third of eight shares of the speakers; when all have ended, a run
without --part collects the results.

Cross-validation on its training utterances chooses the number of epochs and the distance from the start for
each adapter, and whether it starts from `--init-adapter` or from the base (training/cross_validation.py). An
interrupted run resumes with the remaining speakers.
"""

from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import percent, plural
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.training.config import SpeakerOptions, check_options, training_inputs


def main(options: SpeakerOptions) -> None:
    check_options(options)
    if options.part and options.force:
        raise UserError(f"--force would delete the results of other parts: delete {options.out} yourself")
    # An unknown adapter is reported before torch is loaded.
    inputs = training_inputs(options, {"data": options.data})
    # Faults are named before anything is deleted.
    read_data_directory(options.data, spk_sort=False, allow_pipes=options.allow_pipes)
    if options.force and options.out.exists():
        from ia3_speech.model.base import load_base

        load_base(options.base, device="cpu")
    if inputs.is_current(options.out, options.force, resume=True):
        return
    from ia3_speech.training.speakers import adapt_to_speakers

    summary = adapt_to_speakers(options)
    if not options.part:
        inputs.record(options.out)
    adapters, speakers = plural(summary["adapters"], "adapter"), plural(summary["speakers"], "speaker")
    print(
        f"{options.out}: {adapters} for {speakers}, "
        f"{summary['improved']} improved on their start, {summary['wall_seconds']:.0f} s"
    )
    if (before := summary["base_errors"]) > (errors := summary["start_errors"]):
        starts = ", ".join(f"{count} from {start}" for start, count in summary["starts"].items())
        gain = percent((before - errors) / before, 0)
        print(f"starts: {starts}; {gain} % fewer errors than the base before any training")
