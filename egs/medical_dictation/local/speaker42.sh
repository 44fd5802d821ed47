#!/usr/bin/env bash
# Source this in run.sh, after the adapter `medical` is made: adapt to one physician, speaker42, from 15 of their sentences,
# starting from that adapter; then transcribe one more sentence of theirs with the base, that adapter, and their own. The
# stages are those of adapt.sh, on data/<corpus>/speaker42.

# shellcheck disable=SC2154,SC2034  # what adapt.sh has set, and what it uses
# Out-of-domain speech is what the base and medical were decoded on, if they were: that is not done again.
mkdir -p "$exp/speaker42/base" "$exp/speaker42/$name"
if [[ -n $out_of_domain && -d $exp/$selected/decode_greedy_out_of_domain ]]; then
  ln -sfn "$(realpath "$data/out_of_domain")" "$data/speaker42/out_of_domain"
  cp -ru "$exp/base/decode_greedy_out_of_domain" "$exp/speaker42/base/"
  cp -ru "$exp/$selected/decode_greedy_out_of_domain" "$exp/speaker42/$name/"
fi

init_adapter=$exp/$selected/adapter init_name=$name medical=$name
data=$data/speaker42 exp=$exp/speaker42
name=speaker42 system=speaker42 train_config=conf/speaker42.yaml seeds=1 terms="" lm=none stage=2
adapt
finish

sample=$(realpath -m "$exp")/sample.wav
step "stage 10, transcribe $exp/sample.wav" $once "$exp/transcripts" "$data/test" local "$init_adapter" "$exp/$selected/adapter" -- \
  local/sample.py "$data/test" "$exp" --base "$base" --adapters "$medical=$init_adapter $name=$exp/$selected/adapter" $pipes
sample=${sample#"$IA3_SPEECH_START_DIR"/}
