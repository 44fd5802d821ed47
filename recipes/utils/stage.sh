#!/usr/bin/env bash
# Source this: markers of finished work. A marker holds the key of what went in (see key.py) and how it was made,
# one `name value` a line. It is written after success, inside what the work has made, so that who deletes the
# result deletes its marker.

# alone_in DIR [NAME]: wait until no other run is at work in DIR; after a kill, the jobs that are left hold it until
# they end. NAME tells the locks of nested runs apart. From here on markers record the commit.
alone_in() {
  if command -v flock >/dev/null; then
    exec 9>>"$1/${2-}.lock"
    flock -n 9 || { echo "waiting for another run that is still at work in $1"; flock 9; }
  fi
  IA3_SPEECH_COMMIT=$(git -C "$IA3_SPEECH_ROOT" rev-parse --short HEAD 2>/dev/null || true)
  IA3_SPEECH_DIRTY=$([[ -z $(git -C "$IA3_SPEECH_ROOT" status --porcelain 2>/dev/null) ]] && echo false || echo true)
  export IA3_SPEECH_COMMIT IA3_SPEECH_DIRTY
}

# say_where: recipes print paths as they see them, and their reader may stand elsewhere.
# shellcheck disable=SC2154  # exp is the caller's
say_where() {
  [[ $exp == /* || $PWD == "$IA3_SPEECH_START_DIR" ]] || echo "paths are relative to ${PWD#"$IA3_SPEECH_START_DIR"/}"
}

# place PATH: one on the command line is relative to where the user stood, or else to the recipe. What is there
# gets a slash, by which key.py knows it from text.
place() {
  if [[ $1 != /* && -e $IA3_SPEECH_START_DIR/$1 ]]; then
    realpath "$IA3_SPEECH_START_DIR/$1"
  elif [[ $1 != */* && -e $1 ]]; then
    echo "./$1"
  else
    echo "$1"
  fi
}

# place_base BASE: the shipped one, or a folder as above, or a hub id
place_base() { if [[ $1 == mini ]]; then echo mini; else place "$1"; fi; }

# place_general 'DIR DIR:40': sets $general_dirs, and $general_inputs for the key of what is made of them
place_general() {
  local dir step
  general_dirs=() general_inputs=()
  for dir in $1; do
    step=""
    if [[ $dir =~ ^(.+)(:[0-9]+)$ ]]; then dir=${BASH_REMATCH[1]} step=${BASH_REMATCH[2]}; fi
    dir=$(place "$dir")
    general_dirs+=("$dir$step")
    general_inputs+=("$dir" "$(basename "$dir")$step")
  done
}

# prepare_general: stage 1 of what --general names becomes $data/general
# shellcheck disable=SC2154  # data, size and pipes are the caller's
prepare_general() {
  [[ ${#general_dirs[@]} -gt 0 ]] || return 0
  begin 1 "prepare general speech" "$data/.done/general" "${general_inputs[@]}" "size=$size" || return 0
  python -m ia3_speech.data.corpora.out_of_domain "$(printf '%s\n' "${general_dirs[@]}")" "$data/general" --size "$size" $pipes
  finish
}

# take_adapter ADAPTER: sets $init_adapter to the name, the path or the sum, and init_files to the weights meant, since a
# name may come to stand for another adapter. Paths are relative to where the user stood, and are then made absolute, or
# else to the recipe.
take_adapter() {
  local found start=${IA3_SPEECH_START_DIR:-.}
  init_adapter=
  if [[ $(realpath "$start") != $(realpath .) ]]; then
    found=$(cd "$start" && python -m ia3_speech.adapters show --files "$1" 2>/dev/null) && init_adapter=${found%%$'\n'*}
  fi
  if [[ -z $init_adapter ]]; then
    found=$(python -m ia3_speech.adapters show --files "$1") || exit 1
    init_adapter=$1
  fi
  # shellcheck disable=SC2034  # the caller's
  mapfile -t init_files <<<"${found#*$'\n'}"
}

# check_corpus_name NAME: it becomes a folder below data/ and exp/, and a word of commands
check_corpus_name() {
  local special='[][&;|<>()$`*?!#"'"\\']"
  [[ ! $1 =~ $special ]] || fail "no folder below data/ and exp/ can be called $1 (give another --corpus-name)"
}

# check_init_name NAME TAKEN…
check_init_name() {
  [[ " ${*:2} " != *" $1 "* ]] || fail "--init-name can't be $1: something else below exp/ is called that"
}

# register ADAPTER NAME: into the store; prints where. A small run takes no full run's place, but becomes NAME_small.
# shellcheck disable=SC2154  # recipe_id and size are the caller's
register() {
  if [[ $size == full ]]; then
    python -m ia3_speech.adapters register "$1" "$2" --writer "$recipe_id"
  else
    python -m ia3_speech.adapters register "$1" "$2" --writer "$recipe_id, small" 2>/dev/null ||
      python -m ia3_speech.adapters register "$1" "$2_small" --writer "$recipe_id, small"
  fi
}

# is_done MARKER KEY: was this finished before, from the same inputs?
is_done() { [[ -f $1 ]] && grep -qxF "key $2" "$1"; }

# mark_done MARKER KEY SECONDS
mark_done() {
  mkdir -p "$(dirname "$1")"
  printf '%s %s\n' key "$2" seconds "$3" finished "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    commit "${IA3_SPEECH_COMMIT-}" dirty "${IA3_SPEECH_DIRTY-}" command "${IA3_SPEECH_COMMAND-}" >"$1.new"
  mv "$1.new" "$1"
}

# begin NUMBER WHAT MARKER INPUT…: true when stage NUMBER is wanted and not done with these inputs. The inputs are
# what key.py takes. A done stage says so in one line.
#   if begin 2 "validate" "$data/.done/validate" "$data/train"; then …; finish; fi
begin() {
  local number=$1 what=$2
  # shellcheck disable=SC2154  # the caller's options
  [[ $stage -le $number && $stop_stage -ge $number ]] || return 1
  stage_marker=$3
  shift 3
  stage_key=$(key.py "$@") || exit 1
  if is_done "$stage_marker" "$stage_key"; then
    echo "stage $number, $what: done"
    return 1
  fi
  rm -f "$stage_marker"
  echo "stage $number, $what"
  stage_started=$SECONDS
}

# Kaldi's filters beside the recipe, which scoring obeys.
hooks() { compgen -G "./local/wer_*_filter" || true; }

finish() { mark_done "$stage_marker" "$stage_key" $((SECONDS - stage_started)); }

# made_otherwise OUT KEY: does OUT hold what was made from other inputs?
made_otherwise() { [[ -f $1/.key && $(<"$1/.key") != "$2" ]]; }

# set_aside OUT KEY: what was made from other inputs moves to .backup beside it; nothing that was trained is deleted.
set_aside() {
  local backup number=1
  made_otherwise "$1" "$2" || return 0
  backup=$(dirname "$1")/.backup/$(basename "$1")
  while [[ -e $backup ]]; do number=$((number + 1)) backup=$(dirname "$1")/.backup/$(basename "$1").$number; done
  echo "$1 was made from other inputs and moves to $backup"
  mkdir -p "$(dirname "$backup")"
  mv "$1" "$backup"
}

# every NUMBER WHAT CMD LOG OUT N KEY COMMAND…: run COMMAND for JOB=1:N through CMD, each once for its OUT and KEY.
every() {
  local number=$1 what=$2 cmd=$3 log=$4 out=$5 n=$6 job_key=$7 job=1 other
  shift 7
  [[ $stage -le $number && $stop_stage -ge $number ]] || return 0
  while [[ $job -le $n ]] && is_done "${out//JOB/$job}/.done" "$job_key"; do job=$((job + 1)); done
  if [[ $job -gt $n ]]; then echo "stage $number, $what: done"; return 0; fi
  echo "stage $number, $what (log: ${log//JOB/$([[ $n == "$job" ]] && echo "$n" || echo "$job…$n")})"
  for ((other = job; other <= n; other++)); do
    made_otherwise "${out//JOB/$other}" "$job_key" || continue
    echo "    ${out//JOB/$other} was made from other inputs and moves to $(dirname "$out")/.backup"
  done
  follow "$job" "$n" "$log"
  # shellcheck disable=SC2086  # $cmd carries its options
  $cmd JOB="$job:$n" "$log" once "$out" "$job_key" "$@" || { unfollow; tail_of "$job" "$n" "$log"; exit 1; }
  unfollow
}

# follow FIRST LAST LOG: training takes minutes, and what its logs say of each epoch is shown while they grow.
follow() {
  local logs=() job
  for ((job = $1; job <= $2; job++)); do logs+=("${3//JOB/$job}"); done
  rm -f "${logs[@]}"
  tail -qF --pid=$$ "${logs[@]}" 2>/dev/null 9>&- > >(grep --line-buffered -E '^(epoch|about|note:) ' 9>&- | sed -u 's/^/    /' 9>&-) &
  follower=$!
}
unfollow() { kill "$follower" 2>/dev/null || true; }

# tail_of FIRST LAST LOG: what the log of the first job that failed says, for those who won't look.
tail_of() {
  local job log
  for ((job = $1; job <= $2; job++)); do
    log=${3//JOB/$job}
    [[ -f $log ]] && ! tail -n 1 "$log" | grep -q '^# Ended (code 0)' || continue
    grep -v '^#' "$log" | tail -n 12 >&2
    return
  done
}
