#!/usr/bin/env bash
# Source this in run.sh: two accents × medical dictation by espeak-ng, from the sentences to the adapters.

# shellcheck disable=SC2154,SC2034  # run.sh and place.sh set the options; combine.sh uses what is set here
test_sets="test_caribbean test_scottish"
other_sets=${out_of_domain:+"out_of_domain_caribbean out_of_domain_scottish"} # the same speech, with each accent's adapters
trained="domain accent_caribbean accent_scottish both_caribbean both_scottish"
alone="accent domain both"
config=conf/ia3.yaml
dictation=../medical_dictation/local

# adapter_of SYSTEM SET: the accent's own, or the one domain; JOB stands for the seed.
adapter_of() {
  if [[ $1 == domain ]]; then echo "$exp/domain_seedJOB/adapter"; else echo "$exp/$1_${2##*_}_seedJOB/adapter"; fi
}
accent_of() { echo "${1##*_}"; }
# training_of SET: what an adapter of it was trained on; both_NAME holds what the others hold.
training_of() { echo "$data/both_${1##*_}/train"; }

if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then
  echo "stage 1, prepare $part"
  PYTHONPATH=$dictation${PYTHONPATH:+:$PYTHONPATH} python -m ia3_speech.inputs "$data" $sentences "$dictation" \
    local/prepare_espeak.py local/everyday.grammar -- \
    local/prepare_espeak.py "$data" --size "$size" ${sentences:+--sentences "$sentences"}
  for set in $other_sets; do
    python -m ia3_speech.inputs "$data/$set" $(sed 's/:[0-9]*$//' <<<"$out_of_domain") -- \
      python -m ia3_speech.data.corpora.out_of_domain "$out_of_domain" "$data/$set" --size "$size"
  done
fi

if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then
  echo "stage 2, validate $part"
  for set in $(printf '%s/train ' $trained) $(printf '%s/dev ' $trained) $test_sets $other_sets; do
    python -m ia3_speech.inputs "$data/valid/$set" "$data/$set" -- \
      python -m ia3_speech.datadir validate --check-audio "$data/$set"
  done
  for set in $test_sets $other_sets; do
    python -m ia3_speech.datadir overlap "$(training_of "$set")" "$data/both_${set##*_}/dev" "$data/$set"
  done
fi

if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
  echo "stage 3, check that $base can write the texts"
  for set in $test_sets; do
    both=$data/both_${set#test_}
    python -m ia3_speech.inputs "$exp/checked_$set" "$both/train" "$both/dev" "$config" -- \
      python -m ia3_speech.train --check --config "$config" --base "$base" --train "$both/train" --dev "$both/dev" \
      $train_opts --out "$exp"
    python -m ia3_speech.inputs "$exp/terms_$set" "$dictation" "$data/domain/train" "$data/$set" -- \
      "$dictation/terms.py" "$data/$set" "$exp/terms_$set" --train "$data/domain/train"
  done
fi

if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
  for system in $trained; do
    echo "stage 5, train $system, seeds: $seeds (log: $exp/log/train_${system}_seed*.log)"
    $train_cmd JOB=1:"$seeds" "$exp/log/train_${system}_seedJOB.log" \
      python -m ia3_speech.train --config "$config" --base "$base" --train "$data/$system/train" \
      --dev "$data/$system/dev" $train_opts --out "$exp/${system}_seedJOB" --seed JOB
  done
fi
