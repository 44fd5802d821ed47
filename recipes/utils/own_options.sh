#!/usr/bin/env bash
# Source this in a run.sh: it takes the recipe's own options out of the line. What is left in "$@" is for adapt.sh.
#
#   own="download reader"                # sets $download and $reader, "" where they are not given
#   own_help="  --download DIR  …"       # printed before the help of adapt.sh
#   . own_options.sh

# shellcheck disable=SC2154  # the caller's
for _own_name in $own; do printf -v "$_own_name" %s ""; done
for ((_own_at = 1; _own_at < $#; _own_at++)); do # a file may set them too; adapt.sh says what is wrong with it
  [[ ${!_own_at} == --config ]] || continue
  _own_file=$((_own_at + 1)) _own_file=${!_own_file}
  [[ $_own_file == /* ]] || _own_file=$IA3_SPEECH_START_DIR/$_own_file
  for _own_name in $own; do
    [[ ! -r $_own_file ]] || printf -v "$_own_name" %s "$(. "$_own_file" >/dev/null && printf %s "${!_own_name-}")"
  done
done
_own_rest=()
while [[ $# -gt 0 ]]; do
  _own_name=${1#--}
  [[ ($1 != --help && $1 != -h) || -z ${own_help-} ]] || printf '%s\n\n' "$own_help"
  if [[ $1 == --* && " $own " == *" $_own_name "* ]]; then
    [[ $# -ge 2 ]] || { echo "$0: option $1 has no value" >&2; exit 1; }
    printf -v "$_own_name" %s "$2"
    shift 2
  else
    _own_rest+=("$1")
    shift
  fi
done
set -- ${_own_rest[@]+"${_own_rest[@]}"}
unset _own_name _own_rest _own_at _own_file

# from_start PATH: a path on the line is relative to where the user stood.
from_start() { if [[ $1 == /* ]]; then echo "$1"; else echo "$IA3_SPEECH_START_DIR/$1"; fi; }
