#!/usr/bin/env bash
# May adapters be left on? Four of them, and a gate that chooses by the audio, on speech of four kinds and of none of them.
#
#   bash run.sh --accent-corpus DIR --orders-corpus DIR --telephone-corpus DIR --notes-corpus DIR --general 'DIR DIR'
#   bash run.sh … --adapters 'mandarin barista banking medical'     adapters of that order, by name or folder: none is trained
#   bash run.sh … --size small                                      a little of it, to see that everything works
#
#   1-6  the recipes of the four kinds: their data, and where no adapters are given, those too
#   7    mix dev and test sets; the adapters, each with its gate, in a registry of their own
#   8    decode each set with the base, with each adapter, and with both ways of choosing
#   9    harder: general speech of --unseen corpora, and over a telephone line; a gate for each accent of the telephone's corpus
#   10   compare: results.json and RESULTS.md in exp/real
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh

accent_corpus=""    # DIR: speechocean762, as its recipe takes it
orders_corpus=""    # DIR: the coffee orders, as the recipe barista_orders takes them
telephone_corpus="" # DIR: MInDS-14, as the recipe minds14 takes it
notes_corpus=""     # DIR: clinical notes, as the recipe medical_dictation takes them
general=""          # 'DIR DIR': other speech to test on, beside the shipped clips (Kaldi directories, or LibriSpeech's layout)
general_dev=""      # DIR: other speech for dev; the shipped clips in it are left out
unseen=""           # 'DIR DIR': general speech of corpora that the gate of the base has not seen
adapters=""         # 'A B C D': adapters of accent, orders, telephone and notes, in this order (default: those that their recipes train)
train_opts=""       # OPTS: further options of train
unset corpus corpus_name prepare init_adapter init_name grid score_opts report_opts out_of_domain allow_pipes
. parse_options.sh

check_options() {
  [[ -n $accent_corpus && -n $orders_corpus && -n $telephone_corpus && -n $notes_corpus ]] ||
    fail "give --accent-corpus DIR, --orders-corpus DIR, --telephone-corpus DIR and --notes-corpus DIR: README.md says what they are"
  [[ -z $adapters || $(wc -w <<<"$adapters") -eq 4 ]] || fail "--adapters takes four, of accent, orders, telephone, notes"
  for name in $adapters; do python -m ia3_speech.adapters show "$([[ $name != */* ]] && echo "$name" || from_start "$name")" >/dev/null; done
}
corpus=real corpus_name=real out_of_domain=shipped init_adapter="" init_name="" allow_pipes=false
locate "$@"; lock "$exp"
shipped=$out_of_domain suffix=$([[ $size == full ]] || echo _small) kinds="accent orders telephone notes"
declare -A recipes=([accent]=speechocean762 [orders]=barista_orders [telephone]=minds14 [notes]=medical_dictation)
declare -A names=([accent]=speechocean762 [orders]=barista_orders [telephone]=minds14 [notes]=medical_notes)

# place KIND FOLDER: where the recipe of a kind has its data or exp.
place() { echo "${work_dir:-../${recipes[$1]}}/$2/${names[$1]}$suffix"; }

# recipe KIND: its data, and, where no adapters are given, its adapter; what it has done is not done again.
recipe() {
  local last=$([[ -n $adapters ]] && echo 1 || echo $((stop_stage < 6 ? stop_stage : 6))) corpus=$1_corpus
  [ "$stage" -le "$last" ] || return 0; echo "stages $stage to $last of the recipe ${recipes[$1]}"
  bash "../${recipes[$1]}/run.sh" --corpus "$(from_start "${!corpus}")" --corpus-name "${names[$1]}" --seeds "$seeds" --base "$base" \
    --size "$size" --small-opts "$small_opts" --train-opts "$train_opts" --precision "$precision" --work-dir "$work_dir" --nj "$nj" \
    --retrain "$retrain" --out-of-domain none --stage "$stage" --stop-stage $last
}

# adapter N KIND: the folder of the N-th of --adapters, or of what the recipe of its kind has trained.
adapter() {
  local name=$(cut -d ' ' -f "$1" <<<"$adapters") exp_of_kind=$(place "$2" exp)
  [[ -n $name ]] || name=$exp_of_kind/$(python -m ia3_speech.results select "$exp_of_kind" ia3_plus --seeds "$seeds")/adapter
  [[ $name != */* ]] || name=$(from_start "$name")
  python -m ia3_speech.adapters show "$name" --format json | python -c 'import json, sys; print(json.load(sys.stdin)["path"])'
}

# mixed SET 'KIND=DIR …' OPTION…: $data/SET of these parts.
mixed() { $once "$data/$1" local $(sed -E 's/(^| )[a-zA-Z0-9_.-]+=/ /g' <<<"$2") -- local/mix.py "$data/$1" "$2" --size "$size" "${@:3}"; }

# decode SET SYSTEM: $data/SET into exp/real/SYSTEM/decode_greedy_SET.
decode() {
  local option=$([[ $2 == base ]] || echo "--adapter $2")
  step "decode $1 with $2" decode_set "$1_$2" "$1" "$exp/$2/decode_greedy_$1" --search greedy $option
}

# accents: a gate for each accent of the telephone's corpus, in a registry of their own; the adapter itself is the telephone's.
accents() {
  local one accents parts="" exp=$exp/accents data=$data/accents IA3_SPEECH_HOME=$IA3_SPEECH_HOME/../accents/home
  one=$(place telephone data); plain_speakers "$one/train/utt2accent"; accents=$(cut -d ' ' -f 2 "$one/train/utt2accent" | sort -u)
  mkdir -p "$exp/log"
  for accent in $accents; do
    step "stage 9, the calls of $accent" mixed "train_$accent" "$accent=$one/train" --by accent
    python -m ia3_speech.adapters register "${folders[3]}" "$accent" --force >>"$exp/log/steps.log"
    step "stage 9, the gate of $accent" python -m ia3_speech.adapters gate "$accent" --data "$data/train_$accent"
    parts+=" $accent=$one/test"
  done
  step "stage 9, mix the accents" mixed test "${parts# }" --by accent
  decode test base; decode test auto
  step "stage 9, compare the accents" local/compare.py "$exp" "$data" "$(xargs <<<"$accents")"
}

if [ $stage -le 6 ]; then for kind in $kinds; do recipe $kind; done; fi
[ $stop_stage -ge 7 ] || exit 0
number=0; for kind in $kinds; do number=$((number + 1)); folders[number]=$(adapter $number $kind); done
export IA3_SPEECH_HOME=$(realpath -m "$exp")/home # the four adapters alone, under the names of their kinds
if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
  number=0; dev=() test=()
  for kind in $kinds; do
    number=$((number + 1)) one=$(place $kind data)
    dev+=("$kind=$one/dev") test+=("$kind=$one/test$([[ $kind != accent ]] || echo _adults)")
    step "stage 7, register the adapter $kind" python -m ia3_speech.adapters register "${folders[number]}" $kind --force
    [[ -f $IA3_SPEECH_HOME/adapters/$kind/gate.safetensors ]] ||
      step "stage 7, the gate of $kind" python -m ia3_speech.adapters gate $kind --data "$one/train"
  done
  [[ -z $general_dev ]] || dev+=("general=$(from_start "$general_dev")")
  test+=("shipped=$shipped"); for one in $general; do test+=("$(basename "$one")=$(from_start "$one")"); done
  step "stage 7, mix dev" mixed dev "${dev[*]}" --without "$shipped"; step "stage 7, mix test" mixed test "${test[*]}"
fi

systems="base $kinds auto auto-sum"
if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
  for set in dev test; do for system in $systems; do decode $set $system; done; done
fi

if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
  hard=(); for one in $unseen; do hard+=("$(basename "$one")=$(from_start "$one")"); done
  for one in shipped $general; do hard+=("line_$(basename "$one")=$([[ $one == shipped ]] && echo "$shipped" || from_start "$one")"); done
  step "stage 9, mix harder sets" mixed harder "${hard[*]}"
  for system in base telephone auto auto-sum; do decode harder $system; done
  accents
fi

if [ $stage -le 10 ] && [ $stop_stage -ge 10 ]; then
  step "stage 10, compare" $once "$exp/RESULTS.md" "$exp"/*/decode_greedy_*/text local "$data" -- local/compare.py "$exp" "$data" "$kinds"
  echo "The tables are in $exp/RESULTS.md."
fi
