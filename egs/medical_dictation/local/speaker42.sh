#!/usr/bin/env bash
# Source this in run.sh, after the adapter `medical` is made: adapt to one physician, speaker42, from 15 of their sentences,
# starting from that adapter; then show what the base, that adapter and their own make of one more sentence. The stages are
# those of adapt.sh, on data/<corpus>/speaker42.

# shellcheck disable=SC2154,SC2034  # what adapt.sh has set, and what it uses
# Out-of-domain speech is what the base and medical were decoded on, if they were: that is not done again.
if [[ -d $exp/$selected/decode_greedy_out_of_domain ]]; then
  mkdir -p "$exp/speaker42/base" "$exp/speaker42/$name"
  ln -sfn "$(realpath "$data/out_of_domain")" "$data/speaker42/out_of_domain"
  cp -ru "$exp/base/decode_greedy_out_of_domain" "$exp/speaker42/base/"
  cp -ru "$exp/$selected/decode_greedy_out_of_domain" "$exp/speaker42/$name/"
fi

init_adapter=$exp/$selected/adapter init_name=$name
data=$data/speaker42 exp=$exp/speaker42
name=speaker42 system=speaker42 train_config=few seeds=1 grid="" terms="" lm=none stage=2
average=false trade_off="" variants="" curve=""
adapt
finish

# The first of the test sentences, whatever comes of it.
sample=$(head -n 1 "$data/test/wav.scp" | cut -d ' ' -f 2-)
sample=${sample#"$IA3_SPEECH_START_DIR"/}
shown() { printf '%-10s %s\n' "$1" "$(sed -n '1s/^[^ ]* //p' "$2/text")"; }
{
  shown said "$data/test"
  for folder in base "$init_name" "$selected"; do shown "${folder%_seed1}" "$exp/$folder/decode_greedy_test"; done
} >"$exp/transcripts"
