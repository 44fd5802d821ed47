#!/usr/bin/env bash
# Adapt a base to many speakers, an adapter for each from a few utterances, and measure what it gains: the stages of a
# recipe for speakers, as adapt.sh has those for a corpus. egs/speaker_adaptation/run.sh calls it.
#
#   1  prepare   the corpus becomes one Kaldi directory, data/<corpus>/test
#   2  validate  the directory and all its audio
#   3  check     can the base write these texts, and is the audio long enough for them?
#   4  baseline  decode and score with the base alone, and with the adapter to start from, if there is one
#   5  adapt     from the base and from that adapter, with each --k: of every speaker each utterance is tested once, by
#                an adapter that never heard it
#   6  decode    out-of-domain speech, an utterance with each speaker's adapter in turn
#   7  score     against the base: WER and CER, with paired intervals from a bootstrap over speakers; sentences that the
#                same speaker's adapter was trained on are a warning, and the others are scored separately too
#   8  report    results.json, RESULTS.md, scatter_*.svg, curve.json and report_*.html in exp/<corpus>
#   9  register  for each speaker the adapter of the first fold, as --prefix and the speaker's id
#
# ia3_speech/experiments/plan_speakers.py writes exp/<corpus>/plan/*.tsv from the options. Finished work is not
# repeated, a killed run is resumed and changes are noticed, as in adapt.sh.

set -euo pipefail
. ./cmd.sh; . ./path.sh

# The options, as --help prints them.
corpus=""               # DIR: where the corpus is, in one of the layouts that the recipe's README describes
corpus_name=""          # NAME: folder below data/ and exp/ (default: the corpus's); --size small appends _small
prepare="local/prepare.py" # CMD: called as CMD CORPUS DATA_DIR --size SIZE; writes DATA_DIR/test
base=mini               # BASE: mini, a folder, a hub id
init_adapter=""         # NAME: start from this adapter too (a name, a path, a sum)
init_name=""            # NAME: what it is called in tables and below exp/ (default: a registered name, else start)
k=15                    # 'A B': utterances to adapt on; several make a learning curve
folds=4                 # N: parts into which a speaker's utterances are dealt; each is tested once
seeds=1                 # N: adaptations of each kind, with seeds 1 to N
nj=1                    # N: jobs, each with a share of the speakers
adapt_config=conf/speakers.yaml # FILE: YAML of ia3-speech speakers
init_config=""          # FILE: the same for the start from --init-adapter (default: --adapt-config)
adapt_opts=""           # OPTS: further options of it, such as '--epochs 5'; give the --variant a name too
text_opts=""            # OPTS: '--drop-chars', '--on-error skip': texts that the base can't write or has no time for
variant=""              # NAME: appended to the systems' names
out_of_domain=shipped   # 'DIR DIR': other speech to test on: Kaldi directories (DIR:40: each 40th), LibriSpeech; or none
small_opts="--epochs 2" # OPTS: options of adaptation that --size small adds
precision=auto          # no|bf16|auto: the precision that decoding computes in; auto: bf16 where the processor has it
decode_opts=""          # OPTS: further options of decode
score_opts=""           # OPTS: further options of score
report_opts=""          # OPTS: further options of report, such as --embed-audio
prefix=speaker          # NAME: the adapter of speaker 0024 is registered as NAME0024
size=full               # full|small: small takes three speakers and two epochs, to see that everything works
allow_pipes=false       # true: run the shell commands that wav.scp holds
stage=1                 # N: start at this stage
stop_stage=100          # N: stop after this stage
work_dir=""             # DIR: where data/ and exp/ go (default: the recipe's folder)

. parse_options.sh
. shared_stages.sh

adapt_config=$(from_start "$adapt_config") init_config=$(from_start "${init_config:-$adapt_config}")
[[ $size == full ]] || adapt_opts="$small_opts $adapt_opts"
sets="test${out_of_domain:+ out_of_domain}"

# The options are checked here.
python -m ia3_speech.experiments.plan_speakers --exp="$exp" --data="$data" --base="$base" --corpus="$corpus" \
  --size="$size" --init-adapter="$init_adapter" --init-name="$init_name" --adapt-config="$adapt_config" \
  --init-config="$init_config" --k="$k" --folds="$folds" --seeds="$seeds" --nj="$nj" --variant="$variant" \
  --out-of-domain="$out_of_domain"
. lock.sh "$exp"

if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then
  echo "stage 1, prepare $corpus_name"
  prepare_corpus
fi

if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then
  echo "stage 2, validate $corpus_name"
  validate_sets $sets
  [[ -z $out_of_domain ]] || python -m ia3_speech.datadir overlap "$data/test" "$data/test" "$data/out_of_domain" | uniq
fi

if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
  echo "stage 3, check the texts"
  $once "$exp/checked" "$data/test" "$base" -- python -m ia3_speech.train --check --base "$base" \
    --train "$data/test" --dev "$data/test" --out "$exp" $pipes $text_opts
fi

if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
  decode_score 4 greedy <"$exp/plan/baseline.tsv"
fi

if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
  while IFS=$'\t' read -r one jobs options; do
    python -m ia3_speech.experiments remaining "$exp"
    for ((seed = 1; seed <= jobs; seed++)); do
      out=$exp/${one/JOB/$seed} log=$exp/log/adapt_${one/JOB/$seed}
      echo "stage 5, adapt ${one/JOB/$seed} (log: $log.1.log)"
      adapt="python -m ia3_speech.speakers --base $base --data $data/test --folds $folds $options --seed $seed
        --out $out --decode-dir $out/decode_greedy_test $pipes $text_opts $adapt_opts"
      $train_cmd JOB=1:"$nj" "$log.JOB.log" $adapt $([[ $nj == 1 ]] || echo "--part JOB/$nj")
      [[ $nj == 1 ]] || $decode_cmd "$log.gather.log" $adapt
    done
  done <"$exp/plan/train.tsv"
fi

if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
  while IFS=$'\t' read -r one jobs set decode_as score_as; do
    echo "stage 6, decode $set with ${one/_seedJOB/}"
    $decode_cmd JOB=1:"$jobs" "$exp/log/decode_${set}_$one.log" \
      python -m ia3_speech.decode $decode_as $pipes --precision $precision $decode_opts "$data/$set" "$exp/$one/decode_greedy_$set"
  done < <(grep "in-turn" "$exp/plan/systems.tsv")
fi

if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
  while IFS=$'\t' read -r one jobs set decode_as score_as; do
    echo "stage 7, score $set with ${one/_seedJOB/}"
    $decode_cmd JOB=1:"$jobs" "$exp/log/score_${set}_$one.log" \
      python -m ia3_speech.score "$data/$set" "$exp/$one/decode_greedy_$set" $score_opts $score_as
  done <"$exp/plan/systems.tsv"
fi

if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
  echo "stage 8, report in $exp/RESULTS.md and $exp/report_*.html"
  python -m ia3_speech.experiments collect "$exp"
  python -m ia3_speech.report.scatter "$exp"
  while IFS=$'\t' read -r one curve; do
    folder=$(python -m ia3_speech.experiments select "$exp" --system "$one")
    python -m ia3_speech.report "$data/test" "$exp/$folder/decode_greedy_test" $curve $report_opts \
      --out "$exp/report_$one.html"
  done <"$exp/plan/reports.tsv"
fi

if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
  names=() selected=$exp/$(python -m ia3_speech.experiments select "$exp")
  for adapter in "$selected"/*/fold1/adapter; do
    speaker=$(basename "${adapter%/fold1/adapter}")
    registered=$(register.sh "$adapter" "$prefix${speaker#"$prefix"}" "$size" "" --score "$selected/decode_greedy_test/score.json")
    names+=("${registered%%:*}")
  done
  echo "stage 9, ${names[0]} … ${names[-1]}, ${#names[@]} adapters:${registered#*:}"
  printf '\n  %s\n' "$IA3_SPEECH_PYTHON -m ia3_speech.transcribe --adapter ${names[0]} FILE"
fi
