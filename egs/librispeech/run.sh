#!/usr/bin/env bash
# Speaker: an adapter for one reader of LibriSpeech, or of any audio book in its layout.
#
#   bash run.sh --download DIR --reader 1089            fetch test-clean from its publisher (346 MB), and adapt
#   bash run.sh --corpus DIR/LibriSpeech --reader 237   the corpus is at hand; README.md has its layout
#   bash run.sh --corpus DIR … --size small             a little of it, to see that everything works
#   bash run.sh --corpus DIR … --init-adapter NAME      start from an adapter; any option of recipes/adapt.sh
set -euo pipefail
export IA3_SPEECH_START_DIR=${IA3_SPEECH_START_DIR:-$PWD} # relative paths on the line are meant from here
cd "$(dirname "$0")"
. ./path.sh

reader=""   # N: whom to adapt to, where the corpus holds several readers
download="" # DIR: fetch test-clean into DIR first, perhaps from a mirror: OPENSLR=URL
keep_unknown=true
. parse_options.sh
if [[ -n $download ]]; then
  [[ $download == /* ]] || download=$IA3_SPEECH_START_DIR/$download
  python -m ia3_speech.data.corpora.download --md5 32fa31d27d2e1cad72775fee3f4849a9 \
    "${OPENSLR:-https://www.openslr.org/resources}/12/test-clean.tar.gz" "$download" LibriSpeech/test-clean
  set -- --corpus "$download/LibriSpeech/test-clean" "$@"
fi

# Data: one reader's chapters. The last third of them is test, the one before that dev; of a single chapter, the
# last third of its utterances, and the last of the others.
prepare="python -m ia3_speech.data.corpora.librispeech${reader:+ --reader $reader}"

# Method: as one person is adapted to (conf/reader.yaml): small batches, and few of them. With one speaker, the
# intervals are drawn over utterances.
method="--corpus-name reader$reader --name reader$reader --system reader --train-config conf/reader.yaml"

# shellcheck disable=SC2086
adapt.sh --prepare "$prepare" $method --score-opts "--cluster utterance" -- "$@"
