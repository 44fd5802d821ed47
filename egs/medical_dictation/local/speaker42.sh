#!/usr/bin/env bash
# The last stage: adapt to one physician, speaker42, from 15 of their sentences, starting from the adapter just
# trained; then transcribe one more sentence of theirs with the base, that adapter, and their own.
#
# Only for the corpus that local/prepare.py makes. Called by recipes/adapt.sh, which exports data, exp, base, size,
# small_opts, allow_pipes, name (of the adapter that it registered) and adapter (its folder). The stages are those of
# adapt.sh, on data/<corpus>/speaker42.
set -euo pipefail
. ./path.sh

# Out-of-domain speech is what the base and medical were decoded on, if they were: that is not done again.
# shellcheck disable=SC2154  # what adapt.sh exports
out_of_domain=$([[ -d $data/out_of_domain ]] && realpath "$data/out_of_domain" || echo none)
if [[ $out_of_domain != none ]]; then
  ln -sfn "$out_of_domain" "$data/speaker42/out_of_domain"
  for one in "$exp/base:base" "$(dirname "$adapter"):$name"; do
    [[ -d ${one%:*}/decode_greedy_out_of_domain ]] || continue
    mkdir -p "$exp/speaker42/${one#*:}"
    cp -ru "${one%:*}/decode_greedy_out_of_domain" "$exp/speaker42/${one#*:}/"
  done
fi
data=$data/speaker42 exp=$exp/speaker42 user_dir=$IA3_SPEECH_START_DIR
export IA3_SPEECH_START_DIR=$PWD
adapt.sh --name speaker42 --system speaker42 --base "$base" --size "$size" --small-opts "$small_opts" \
  --corpus "$data" --stage 2 --data-dir "$data" --exp-dir "$exp" --allow-pipes "$allow_pipes" \
  --init-adapter "$adapter" --init-name "$name" --train-config conf/speaker42.yaml \
  --out-of-domain "$out_of_domain" --lm none # the adapter that it starts from was decoded with one

own=$(<"$exp/name") # what it is registered as

# The first of the test sentences, whatever comes of it.
echo "stage 10, transcribe $exp/sample.wav"
python -m ia3_speech.inputs "$exp/transcripts" "$data/test" local "$adapter" "$exp/speaker42_seed1/adapter" -- \
  local/sample.py "$data/test" "$exp" --base "$base" --adapters "$name $own" --allow-pipes "$allow_pipes"

sample=$(realpath "$exp")/sample.wav
echo
cat "$exp/transcripts"
echo
echo "The adapters $name and $own are registered. Transcribe anything with them:"
echo
printf '  %s%s -m ia3_speech.transcribe --adapter %s %q\n' \
  "${IA3_SPEECH_HOME:+$(printf 'IA3_SPEECH_HOME=%q ' "$IA3_SPEECH_HOME")}" "$IA3_SPEECH_PYTHON" "$own" "${sample#"$user_dir"/}"
