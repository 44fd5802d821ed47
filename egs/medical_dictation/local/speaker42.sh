#!/usr/bin/env bash
# The last stage: adapt to one physician, speaker42, from 15 of their sentences, starting from the adapter just
# trained; then transcribe one more sentence of theirs with the base, that adapter, and their own.
#
# Called by recipes/adapt.sh, which exports data, exp, base, name (of the adapter it registered) and adapter (its
# folder). The stages are adapt.sh's own, once more, on data/<corpus>/speaker42.
set -euo pipefail
. ./path.sh
# shellcheck source=../../../recipes/utils/stage.sh
. stage.sh

# shellcheck disable=SC2154  # what adapt.sh exports
user_dir=$IA3_SPEECH_START_DIR
export IA3_SPEECH_START_DIR=$PWD
adapt.sh --name speaker42 --system speaker42 --base "$base" \
  --corpus "$data/speaker42" --prepare true --data-dir "$data/speaker42" --exp-dir "$exp/speaker42" \
  --init-adapter "$adapter" --init-name "$name" --train-config conf/speaker42.yaml

# The first of the test sentences, whatever comes of it.
sample=$exp/speaker42/sample.wav
# shellcheck disable=SC2034  # begin looks at them
stage=10 stop_stage=10
if begin 10 "one sample of speaker42" "$exp/speaker42/.done/sample" "$data/speaker42/test" local/sample.py; then
  python local/sample.py "$data/speaker42/test" "$sample"
  finish
fi
if begin 10 "transcribe it" "$exp/speaker42/.done/transcripts" "$sample" "base=$base" "$adapter/" \
  "$exp/speaker42/speaker42_seed1/adapter/"; then
  by_base=$(python -m ia3_speech.transcribe --base "$base" "$sample")
  by_start=$(python -m ia3_speech.transcribe --base "$base" --adapter "$name" "$sample")
  by_own=$(python -m ia3_speech.transcribe --base "$base" --adapter speaker42 "$sample")
  printf '%-10s %s\n' said "$(cat "${sample%.wav}.txt")" base "$by_base" "$name" "$by_start" speaker42 "$by_own" \
    >"$exp/speaker42/transcripts.new"
  mv "$exp/speaker42/transcripts.new" "$exp/speaker42/transcripts"
  finish
fi

echo
cat "$exp/speaker42/transcripts"
echo
echo "The adapters are registered. Transcribe anything with them:"
echo
echo "  ${IA3_SPEECH_HOME:+IA3_SPEECH_HOME=$IA3_SPEECH_HOME }$IA3_SPEECH_PYTHON -m ia3_speech.transcribe" \
  "--adapter speaker42 $(realpath --relative-to="$user_dir" "$sample")"
