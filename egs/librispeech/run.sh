#!/usr/bin/env bash
# Speaker: an adapter for one reader of LibriSpeech, or of any audio book in its layout.
#
#   bash run.sh --download DIR --reader 1089            fetch test-clean from its publisher (346 MB), and adapt
#   bash run.sh --corpus DIR/LibriSpeech --reader 237   the corpus is at hand; README.md has its layout
#   bash run.sh --corpus DIR … --size small             a little of it, to see that everything works
#   bash run.sh --corpus DIR … --init-adapter NAME      start from an adapter; any option of recipes/adapt.sh
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . adapt.sh; . study.sh

reader=""   # N: reader to adapt to, if the corpus holds several
download="" # DIR: first download test-clean into DIR (from a mirror, if the environment variable OPENSLR holds its URL)

# Data: one reader's chapters. The last third of them is test, the one before that dev; of a single chapter, the
# last third of its utterances, and the last of the others.
# Method: as one person is adapted to (conf/reader.yaml): small batches, and few of them. With one speaker, the
# intervals are drawn over utterances.
system=reader train_config=conf/reader.yaml score_opts="--cluster utterance" name="" prepare=""

. parse_options.sh
fetch 12/test-clean.tar.gz LibriSpeech/test-clean --md5 32fa31d27d2e1cad72775fee3f4849a9
prepare=${prepare:-"local/prepare.py${reader:+ --reader $reader}"}
corpus_name=${corpus_name:-reader$reader} name=${name:-reader$reader}
locate "$@"
adapt; study; finish; summary
