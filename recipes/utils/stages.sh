#!/usr/bin/env bash
# Source this: the common options of adapt.sh, study.sh and speakers.sh, and functions for their stages.
# Nothing runs here.
_option_files+=("${BASH_SOURCE[0]}")

# shellcheck disable=SC2154,SC2034  # adapt.sh and speakers.sh have the other options, and use what is set here
# The options, as --help prints them; a recipe's own values, which it sets after this, are the defaults there.
corpus=""               # DIR: where the corpus is, in a layout that the recipe's README describes
corpus_name=""          # NAME: folder below data/ and exp/ (default: the corpus's); --size small appends _small
prepare=""              # CMD: command that prepares the data, called as CMD CORPUS DATA_DIR --size SIZE
base=mini               # BASE: mini, a folder, a hub id
init_adapter=""         # PATH: start from this adapter (a name, a path with a slash, or a sum); it is tested too
init_name=""            # NAME: name of that adapter in tables and below exp/ (default: its registered name, else start)
seeds=1                 # N: number of adapters to train of each kind, with seeds 1 to N
grid=""                 # 'OPTION=A,B …': train each combination of such values, as in 'learning-rate=1e-3,1e-2 placements=key+value,key+ffn'
nj=1                    # N: number of jobs that share the decoding of a set; in recipes for speakers also the adaptation
small_opts="--epochs 2" # OPTS: training options that --size small adds
precision=auto          # no|bf16|int8|auto: precision of the computations in decoding; auto: no or bf16, the faster on this machine; int8: Whisper only
score_opts=""           # OPTS: further options of score
report_opts=""          # OPTS: further options of report, such as --embed-audio
out_of_domain=shipped   # 'DIR DIR': other speech to test on: Kaldi directories (DIR:40: each 40th utterance) or LibriSpeech's layout; or none
register_anyway=false   # true: register the adapter even if it is not known to be better than the base
retrain=false           # true: train again what was trained before the data changed (false: ask if on a terminal, else stop)
size=full               # full|small: small takes little data and two epochs, to see that everything works
allow_pipes=false       # true: run the shell commands that wav.scp holds
stage=1                 # N: start at this stage
stop_stage=100          # N: stop after this stage
work_dir=""             # DIR: where data/ and exp/ go (default: the recipe's folder)

fail() { echo "error: $*" >&2; exit 1; }

# from_start PATH: prints a path of the command line, which is relative to where the user stood, or else to the recipe's folder.
# mini, ia3, ia3_plus and few are names of the package, and shipped is its out-of-domain speech.
from_start() {
  if [[ $1 == shipped ]]; then
    echo "$IA3_SPEECH_ROOT/ia3_speech/out_of_domain/librispeech_dev"
  elif [[ $1 == /* || $1 =~ ^(mini|ia3|ia3_plus|few|whisper|)$ || ! -e $IA3_SPEECH_START_DIR/${1%:*} ]]; then
    echo "$1"
  else
    echo "$(realpath "$IA3_SPEECH_START_DIR/${1%:*}")${1#"${1%:*}"}"
  fi
}

# number NAME VALUE LEAST: fails unless VALUE is a whole number of at least LEAST.
number() { [[ $2 =~ ^[0-9]+$ && 10#$2 -ge 10#$3 ]] || fail "--$1 must be a number from $3 on, not '$2'"; }

# plain HINT WORD …: fails where a shell would not read a word as one word. In the line of a job, run quotes nothing but words
# with blanks, as Kaldi's run.pl and queue.pl do, so that `\|` pipes, and replaces JOB by a number.
SHELL_SIGNS=$'][&;|<>()$`*?!#"\'\\\\{} \t\n'
plain() {
  local word signs="[$SHELL_SIGNS]|JOB" sign
  for word in "${@:2}"; do
    [[ ! $word =~ $signs ]] || { sign=${BASH_REMATCH[0]}; fail "the path $word contains ${sign/ /a space} ($1)"; }
  done
}

# plain_speakers FILE…: fails if a table such as utt2spk has a speaker whose name is not a plain word for a shell and a file
# system, since the name becomes a folder in the lines of jobs.
plain_speakers() {
  local fault
  [[ -e $1 ]] || return 0
  fault=$(awk '$2 ~ /[][&;|<>()$`*?!#"\047\\\/{}]|^[-.]|JOB/ { print FILENAME ":" FNR ": " $2; exit }' "$@")
  [[ -z $fault ]] || fail "$fault can't name a folder (letters, digits, - and _ are safe: rename it in the corpus's tables)"
}

# configuration FILE: fails if a YAML file does not exist; a bare name is a configuration of the package.
configuration() { [[ ($1 != *.yaml && $1 != */*) || -f $1 ]] || fail "there is no configuration $1"; }

# fetch ARCHIVE FOLDER OPTION…: with --download DIR, fetch an archive of OpenSLR, which unpacks to FOLDER, the corpus.
fetch() {
  [[ -n $download ]] || return 0
  [[ $download == /* ]] || download=$IA3_SPEECH_START_DIR/$download
  download.py "${@:3}" "${OPENSLR:-https://www.openslr.org/resources}/$1" "$download" "$2"
  corpus=$download/$2
}

# locate "$@": check the options, and say where data and results lie.
locate() {
  [[ $# -eq 0 ]] || fail "unexpected argument '$1' (--help lists the options)"
  [[ -n $corpus ]] || fail "$([[ -f local/published.txt ]] && cat local/published.txt || echo "no corpus: give --corpus DIR")"
  [[ $size == full || $size == small ]] || fail "--size must be full or small, not '$size'"
  number seeds "$seeds" 1; number nj "$nj" 1; number stage "$stage" 0; number stop-stage "$stop_stage" "$stage"
  [[ $corpus_name != */* && $corpus_name != .* ]] || fail "--corpus-name is the name of a folder below data/ and exp/, not '$corpus_name'"
  local path
  corpus=$(from_start "$corpus") base=$(from_start "$base")
  [[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
  if [[ -z $corpus_name ]]; then
    path=$(basename "$(realpath -m "$corpus")") corpus_name=${path//[$SHELL_SIGNS]/_} corpus_name=${corpus_name//JOB/job}
    [[ $corpus_name == "$path" ]] || echo "$path is called $corpus_name below data/ and exp/"
  fi
  [[ $size == full ]] || corpus_name+=_small
  data=${work_dir:+$work_dir/}data/$corpus_name exp=${work_dir:+$work_dir/}exp/$corpus_name
  plain "give another --corpus-name or --work-dir" "$data" "$exp"
  [[ $(realpath -m "$data") != "$(realpath -m "$corpus")" ]] || fail "$data is the corpus itself (give another --corpus-name or --work-dir)"
  plain "rename it, or give a link to it" "$base" "$init_adapter" "$init_name"
  [[ $out_of_domain != none ]] || out_of_domain=""
  out_of_domain=$(for path in $out_of_domain; do from_start "$path"; done)
  init_adapter=$(for path in ${init_adapter//+/ }; do # a name, a path with a slash, or a sum of them
    [[ $path != */* ]] && echo "$path" || from_start "$path"
  done | paste -sd +)
  pipes=$([[ $allow_pipes == false ]] || echo --allow-pipes)
  once=once.py # OUT INPUT … -- COMMAND: run it unless OUT was made from these inputs
  [[ -n $init_name || ! $init_adapter =~ ^[A-Za-z0-9_-]+$ ]] || init_name=$init_adapter
  init_name=${init_name:-start}
  # A Whisper base has a training configuration of its own, and no n-gram model.
  if [[ $base != mini && ${train_config-} == ia3_plus ]] && is_whisper; then train_config=whisper lm=none; fi
  check_options
  for path in ${init_adapter//+/ }; do python -m ia3_speech adapters show "${path%:*}" >/dev/null; done
  ! declare -F check_study >/dev/null || check_study
  [[ -n $work_dir || $PWD == "$IA3_SPEECH_START_DIR" ]] || echo "data/ and exp/ are in ${PWD#"$IA3_SPEECH_START_DIR"/}"
  finished=()
}

# is_whisper: whether the base is one.
is_whisper() {
  python -c 'import sys; from transformers import AutoConfig as A; sys.exit(A.from_pretrained(sys.argv[1]).model_type != "whisper")' \
    "$base" 2>/dev/null
}

# check_options: the options of adapt.sh, before anything is made; other recipes for locate have a check of their own.
check_options() {
  local file
  train_config=$(from_start "$train_config") system=${system:-$(basename "$train_config" .yaml)}
  configuration "$train_config"; plain "rename it, or start elsewhere" "$train_config" "$system"
  [[ " $test_sets " != *" out_of_domain "* ]] || fail "--test-sets: no set can be called out_of_domain, --out-of-domain is"
  lm_sets=${lm_sets:-$test_sets${out_of_domain:+ out_of_domain}}
  if [[ $lm != own && $lm != none ]]; then
    lm=$(for file in $lm; do from_start "$file"; done | xargs)
    for file in $lm; do
      plain "rename it, or start elsewhere" "$file"
      [[ -f $file ]] || fail "--lm $file: no such file (own, none, or ARPA files and texts)"
    done
  fi
  check_name name "$name"
  hotwords=$(from_start "$hotwords") terms=$(from_start "$terms")
  [[ -z $terms || -f $terms ]] || command -v ${terms%% *} >/dev/null || fail "--terms $terms: no such file or command"
  [[ $hotwords == own || $hotwords == none || -f $hotwords ]] ||
    fail "--hotwords $hotwords: no such file (own, none, or a file with a term a line)"
  [[ $lm != none || $hotwords == own || $hotwords == none ]] || fail "--hotwords FILE needs a language model, and --lm is none"
  if [[ $replay != shipped && $replay != none ]]; then
    replay=$(from_start "$replay")
    plain "rename it, or start elsewhere" "$replay"
    [[ -f $replay/wav.scp ]] || fail "--replay $replay: no data directory with a wav.scp (shipped, none, or a DIR)"
  fi
  free_init_name base log curve "$system" "${system}_average"
}

# check_name OPTION NAME: fails where no adapter can have this name.
check_name() {
  local fault
  [[ -z $2 ]] || fault=$(python -c 'import sys; from ia3_speech.adapters.registry import name_fault; sys.exit(name_fault(sys.argv[1]))' \
    "$2" 2>&1) || fail "--$1 $2: no adapter can be called so: $fault"
}

# list_terms SET OUT: the command that writes the terms of a set: a list is copied.
list_terms() {
  if [[ -f $terms && ! -x $terms ]]; then echo cp "$terms" "$2"; else echo $terms "$data/$1" "$2" $([[ $1 == train ]] || echo --train "$data/train"); fi
}

# free_init_name NAME …: refuses these as --init-name.
free_init_name() {
  [[ -z $init_adapter || " $* " != *" $init_name "* ]] ||
    fail "--init-name can't be $init_name: something else below exp/ is called that"
}

# expand_grid NAME STAGE: $systems are the combinations of --grid, called NAME_learning-rate1e-3 and so on, ${grid_opts[SYSTEM]} the
# options of each; without --grid, NAME alone. The recipe stops after STAGE, which compares them, unless --stop-stage is given.
expand_grid() {
  local axis value so_far expanded option value_pattern='[A-Za-z0-9._+-]+'
  declare -gA grid_opts=([$1]="")
  systems=$1
  for axis in $grid; do
    [[ $axis =~ ^[a-z][a-z-]*=$value_pattern(,$value_pattern)*$ ]] ||
      fail "--grid takes OPTION=VALUE,VALUE, as 'learning-rate=1e-3,1e-2 placements=key+value,key+ffn' (key+ffn: key and ffn), not '$axis'"
    expanded="" option=${axis%%=*}
    for so_far in $systems; do
      for value in $(tr , ' ' <<<"${axis#*=}"); do
        expanded+=" ${so_far}_$option$([[ $value == [0-9]* ]] || echo -)${value//+/-}"
        grid_opts[${expanded##* }]="${grid_opts[$so_far]} --$option ${value//+/ }"
      done
    done
    systems=$expanded
  done
  [[ -z $grid || $stop_stage -lt 100 ]] || stop_stage=$2
}

# lock DIR: wait until no other run is at work there. The jobs of a run that was killed hold the lock until they end.
lock() {
  mkdir -p "$1/log"
  command -v flock >/dev/null || return 0
  exec 9>>"$1/.lock"
  flock -n 9 || { echo "waiting for another run that is still at work in $1"; flock 9; }
}

# step MESSAGE COMMAND…: run a command; a line shows what it does and how long it took. Its output is in
# exp/<corpus>/log/steps.log; it is shown where the command fails, and where the recipe only looks at the data.
step() {
  local message=$1 start=$SECONDS output=$exp/log/.step took
  shift
  printf '%s … ' "$message"
  trap 'echo; cat "$exp/log/.step" >&2' EXIT
  : >"$exp/log/.progress"
  IA3_SPEECH_PROGRESS=$(realpath "$exp/log/.progress") "$@" | tee "$output" | progress "$message"
  trap - EXIT
  took="$((SECONDS - start)) s"
  [[ ! -s $output ]] || grep -qv ': up to date$' "$output" || took="up to date"
  printf '%s\n' "$took"
  grep -E 'was made from other inputs|^ *note:' "$output" || true
  { echo "# $message"; cat "$output"; } >>"$exp/log/steps.log"
  [[ $stop_stage -gt 3 ]] || sed 's/^/    /' "$output"
}

# progress MESSAGE: while a step runs, the seconds so far and what is in log/.progress: each second on a terminal, behind
# MESSAGE, else each 30 seconds in a line. Of its input the lines of epochs and folds. At the end MESSAGE again.
progress() {
  local part line="" status code start=$SECONDS next=$((SECONDS + 30)) again=$'\n' here=$'\r\033[K'
  if [[ -t 1 ]]; then again=$here next=$SECONDS; fi
  while code=0; IFS= read -r -t 1 part || code=$?; [[ $code == 0 || $code -gt 128 ]]; do # above 128: a second has passed
    line+=$part # which may be in the middle of a line
    if [[ $code == 0 ]]; then
      if [[ $line =~ ^\ *(epoch|fold)\  ]]; then printf '%s%s\n' "$again" "$line"; [[ -t 1 ]] || again=""; fi
      line=""
    fi
    [[ $SECONDS -ge $next ]] || continue
    status=$(cat "$exp/log/.progress") status="$((SECONDS - start)) s${status:+, $status}"
    if [[ -t 1 ]]; then
      next=$((SECONDS + 1)); printf '%s\033[?7l%s … %s\033[?7h' "$here" "$1" "$status" # what is too long for the line is cut
    else
      next=$((SECONDS + 30)); printf '%s    %s\n' "$again" "$status"; again=""
    fi
  done
  [[ -n $again && ! -t 1 ]] || printf '%s%s … ' "$again" "$1"
}

# prepare_corpus: the corpus becomes Kaldi directories below $data, out-of-domain speech $data/out_of_domain.
prepare_corpus() {
  $once "$data" "$corpus" local -- $prepare "$corpus" "$data" --size "$size" $pipes
  [[ -z $out_of_domain ]] || $once "$data/out_of_domain" $(sed 's/:[0-9]*$//' <<<"$out_of_domain") -- \
    out_of_domain.py "$out_of_domain" "$data/out_of_domain" --size "$size" $pipes
}

# is_few: whether there is no dev, so that folds of train choose and judge.
is_few() { [[ -d $data/train && ! -d $data/dev ]]; }

# notice_changed_data: sets $outdated to the systems that were trained on other data. They are trained again with --retrain, or if
# the user agrees.
notice_changed_data() {
  outdated=""
  [ $stop_stage -ge 5 ] && [[ -d $data ]] || return 0
  outdated=$(conclude.py stale "$exp" "$data")
  [[ -n $outdated ]] || return 0
  local answer="" changed="the data have changed since these were trained: $(xargs <<<"$outdated")"
  [ $stage -le 5 ] || fail "$changed (start at stage 5, or earlier)"
  [[ $retrain == false ]] || return 0
  [[ ! -t 0 || ! -t 1 ]] || read -rp "$changed. Train them anew? [y/N] " answer
  [[ $answer == [yY]* ]] || fail "$changed (--retrain true trains them anew, another --corpus-name leaves them as they are)"
}

# validate SET …: check these directories below $data and all their audio; list what test sets have in common with train and dev.
validate() {
  local set
  for set; do
    $once "$data/valid/$set" "$data/$set" -- python -m ia3_speech datadir validate --check-audio $pipes "$data/$set" 2>&1
    [[ ! -d $data/train || $set == train || $set == dev ]] ||
      cmp -s "$data/train/text" "$data/$set/text" || # folds
      $once "$data/valid/overlap_$set" "$data/train" $(is_few || echo "$data/dev") "$data/$set" -- \
        overlap.py "$data/train" $(is_few || echo "$data/dev") "$data/$set"
  done
}

# decode_and_score STAGE SYSTEM SEARCH SET: decode $data/SET with a system, score it against the base, both in
# exp/<corpus>/SYSTEM/decode_SEARCH_SET. SYSTEM is base, the name of --init-adapter, a folder that was trained, or a scaled
# adapter (ia3_plus_seed1/scale_0.5). SEARCH is greedy, lm or hotwords (lm with hot words too), which is compared with the
# base by the same search; the base with a language model with the base without, hot words with the same system without.
decode_and_score() {
  local system=$2 search=$3 set=$4 adapter="" decode score=$score_opts folder log with="" baseline="" training=""
  [[ ! -d $data/train ]] || training="--training $data/train" # where speakers are adapted to, there is none
  case $system in
    base) ;;
    "$init_name") adapter="--adapter $init_adapter" ;;
    */scale_*) adapter="--adapter $exp/${system%/scale_*}/adapter:${system##*/scale_}" ;;
    *) adapter="--adapter $exp/$system/adapter" ;;
  esac
  if cmp -s "$data/train/text" "$data/$set/text"; then # each utterance by the fold's adapter that has not heard it
    [[ $adapter != "--adapter $exp/"* ]] || adapter="--adapter-per-speaker $exp/$system" training="--training-per-speaker $exp/$system"
    [[ -n $adapter ]] || training=""
  fi
  case $search in
    greedy) decode="--search greedy" baseline=$([[ $system == base ]] || echo base/decode_greedy) ;;
    lm)
      decode="--config $exp/$system/lm_search.yaml" with=" and the language model"
      baseline=base/decode_$([[ $system == base ]] && echo greedy || echo lm) ;;
    hotwords)
      decode="--config $exp/$system/lm_search.yaml --hotwords $exp/$system/hotwords.txt"
      with=", the language model and hot words" baseline=$system/decode_lm ;;
  esac
  [[ -z $baseline || $set == dev ]] || score+=" --baseline $exp/${baseline}_$set"
  if [[ $set == out_of_domain ]]; then
    score+=" --cluster speaker" # it has speakers, whatever the corpus has, and no terms
  elif [[ $set != dev ]]; then
    score+=" $training"${terms:+" --terms $exp/terms_$set"}
  fi
  folder=$exp/$system/decode_${search}_$set log=${search}_${set}_${system//\//_}
  score+=" $(name_system "$system")"
  job() {
    decode_set "${log#greedy_}" "$set" "$folder" $decode $adapter
    $score_cmd "$exp/log/score_${log#greedy_}.log" python -m ia3_speech score "$data/$set" "$folder" $score
  }
  step "stage $1, decode and score $set with $system$with" job
}

# name_seeds SYSTEM …: note that these systems are trained with seeds, in folders SYSTEM_seedN of exp/<corpus>.
declare -A system_of seed_of
name_seeds() {
  local system seed
  for system; do
    for seed in $(seq "$seeds"); do system_of[${system}_seed$seed]=${system#curve/} seed_of[${system}_seed$seed]=$seed; done
  done
}

# name_system FOLDER: the options of score that name the system in a folder of exp/<corpus>.
name_system() {
  local folder=$1
  [[ -n ${system_of[$folder]-} ]] || folder=${folder%%/*} # a part of it: a speaker's adapter, or a scaled adapter
  echo "--corpus $corpus_name --system ${system_of[$folder]-$folder} ${seed_of[$folder]+--system-seed ${seed_of[$folder]}}"
}

# decode_set LOG SET FOLDER OPTION…: decode $data/SET into FOLDER, in --nj parts, which are then put together there; without a
# guard, unless the options say --guard on.
decode_set() {
  local decode="python -m ia3_speech decode --base $base --guard off ${*:4} $pipes --precision $precision $data/$2 $3"
  [[ $nj == 1 ]] || $decode_cmd JOB=1:"$nj" "$exp/log/decode_$1.JOB.log" $decode --part "JOB/$nj"
  $decode_cmd "$exp/log/decode_$1.log" $decode
}

# calibrate_adapter STAGE SEARCH OPTION…: make the confidences of the selected adapter probabilities, measured on dev.
calibrate_adapter() {
  local adapter=$exp/$selected/adapter out=$exp/$selected/calibrated
  ! is_few && [[ $(cut -d ' ' -f 2- "$data/dev/text" | wc -w) -ge 100 ]] || return 0 # recognised words are needed
  [[ $2 == greedy ]] || out+=_$2
  step "stage $1, calibrate the confidences of $selected on dev, $2" \
    $decode_cmd "$exp/log/${out##*/}_$selected.log" \
    $once "$out" "$data/dev" "$adapter"/*.safetensors $([[ $2 == greedy ]] || echo "$exp/$selected/lm_search.yaml") \
    $([[ $2 != hotwords ]] || echo "$exp/$selected/hotwords.txt") -- \
    python -m ia3_speech calibrate "$data/dev" --base "$base" --precision "$precision" --store --minimum-words 100 $pipes \
    --adapter "$adapter" "${@:3}"
}

# register ADAPTER NAME SCORE …: register an adapter with its best search on dev, if it helps by the first of these scores; its
# card has all scores. An earlier adapter of this corpus and name becomes NAME@1. A small run registers NAME_small.
register() {
  local anyway name=$2
  [[ $size == full ]] || name+=_small
  anyway=$([[ ${register_anyway-} != true ]] || echo --anyway)
  conclude.py register "$1" "$name" $anyway --score "${@:3}"
}

# summary: print gains and costs of the finished recipes, where the tables are, a sample, and the next command.
summary() {
  [[ ${#finished[@]} -gt 0 ]] || return 0
  local home=""
  [[ -z ${IA3_SPEECH_HOME-} ]] || home="IA3_SPEECH_HOME=$(printf %q "$IA3_SPEECH_HOME") "
  echo
  conclude.py summary "${finished[@]}" --sample "${sample:-audio.wav}" \
    --transcribe "$home$IA3_SPEECH_PYTHON -m ia3_speech.transcribe"
}
