#!/usr/bin/env bash
# Speakers: an adapter for each of many people, from fifteen utterances or fewer, registered as speaker0024 and so on.
#
#   bash run.sh                                    a dozen voices of espeak-ng, made here; nothing is downloaded
#   bash run.sh --corpus DIR                       any Kaldi data directory, or speechocean762 as it was published
#   bash run.sh --corpus DIR --init-adapter NAME   start from this adapter too, such as that of their accent
#   bash run.sh --corpus DIR --k "5 10 15"         the learning curve; any option of recipes/speakers.sh, see --help
#   bash run.sh … --size small                     three speakers, to see that everything works
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . speakers.sh
export PYTHONPATH=$PWD/../medical_dictation/local${PYTHONPATH:+:$PYTHONPATH} # whose grammar writes what the voices say

speakers="" # test|train: adapt to speechocean762's test speakers, or, to choose options, to held-out train speakers

# Data: one Kaldi directory. Of every speaker each utterance is tested once, by an adapter trained on others.
corpus=espeak prepare=""

# Method: IA³ vectors alone (ia3_speech/conf/few.yaml); how many epochs, and how far from the start, folds of a person's
# own utterances choose, and where nothing is better than the start, it is kept.
prefix=speaker

. parse_options.sh
if [[ $speakers == train ]]; then corpus_name=${corpus_name:-speechocean762_train}; fi
locate "$@"
prepare=${prepare:-"local/prepare.py${speakers:+ --speakers $speakers}"}
adapt_speakers; summary
