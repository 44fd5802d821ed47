#!/usr/bin/env bash
# Source this in run.sh: two accents × medical dictation by espeak-ng, from the sentences to the adapters.

# shellcheck disable=SC2154,SC2034  # run.sh and place.sh set the options; combine.sh uses what is set here
test_sets="test_caribbean test_scottish"
trained="domain accent_caribbean accent_scottish both_caribbean both_scottish"
alone="accent domain both"
config=conf/ia3.yaml
dictation=../medical_dictation/local

# adapter_of SYSTEM SET: the accent's own, or the one domain; JOB stands for the seed.
adapter_of() {
  if [[ $1 == domain ]]; then echo "$exp/domain_seedJOB/adapter"; else echo "$exp/$1_${2#test_}_seedJOB/adapter"; fi
}
accent_of() { echo "${1#test_}"; }

# ---- 1: the sets
if begin 1 "prepare $part" "$data/.done/prepare" "size=$size" "$sentences" ./local/prepare_espeak.py \
  ./local/everyday.grammar "$dictation/"; then
  PYTHONPATH=$dictation:$PYTHONPATH local/prepare_espeak.py "$data" --size "$size" \
    ${sentences:+--sentences "$sentences"}
  finish
fi

# ---- 2: all the audio, and what each test has in common with what is learnt
directories=()
for system in $trained; do directories+=("$data/$system/train" "$data/$system/dev"); done
for set in $test_sets; do directories+=("$data/$set"); done
if begin 2 "validate $part" "$data/.done/validate" "${directories[@]}"; then
  for directory in "${directories[@]}"; do python -m ia3_speech.datadir validate --check-audio "$directory"; done
  for set in $test_sets; do # both_NAME holds what the others hold
    python -m ia3_speech.datadir overlap "$data/both_${set#test_}/train" "$data/both_${set#test_}/dev" "$data/$set"
  done
  finish
fi

# ---- 3: can the base write the texts? Then the terms, before anything is decoded
learn_opts="$([[ $size == full ]] || echo "$small_opts") $train_opts"
if begin 3 "coverage" "$exp/.done/coverage" "${directories[@]}" "base=$base" "$config" "$learn_opts"; then
  for set in $test_sets; do # both_NAME holds what the others hold
    both=$data/both_${set#test_}
    # shellcheck disable=SC2086
    python -m ia3_speech.train --check --config "$config" --base "$base" --train "$both/train" --dev "$both/dev" $learn_opts \
      --out "$exp"
  done
  finish
fi
for set in $test_sets; do
  if begin 3 "terms of $set" "$exp/.done/terms_$set" "$dictation/" "$data/domain/train" "$data/$set"; then
    "$dictation/terms.py" "$data/$set" "$exp/terms_$set" --train "$data/domain/train"
    finish
  fi
done

# ---- 5: one adapter a set and a seed, by the stage of adapt.sh that trains
adapters_left() {
  local system seed left=0
  for system in $trained; do
    for ((seed = 1; seed <= seeds; seed++)); do
      [[ -f $exp/${system}_seed$seed/train.json ]] || left=$((left + 1))
    done
  done
  echo "$left"
}
if [[ $stage -le 5 && $stop_stage -ge 5 ]]; then
  for system in $trained; do
    left=$(adapters_left)
    [[ $left -eq 0 ]] || results.py project "$exp" "$left"
    # conf/ is ours, wherever the user stands
    IA3_SPEECH_START_DIR=$PWD adapt.sh --stage 5 --stop-stage 5 --corpus "$data" --data-dir "$data/$system" \
      --exp-dir "$exp" --system "$system" --train-config "$config" --base "$base" --seeds "$seeds" --size "$size" \
      --small-opts "$small_opts" --train-opts "$train_opts"
  done
fi
