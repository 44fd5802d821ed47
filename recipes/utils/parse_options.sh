#!/usr/bin/env bash
# Kaldi's option parsing: source it after the defaults are set as shell variables.
#
#   stage=1         # N: start at this stage
#   . parse_options.sh || exit 1
#
# `--name value` sets $name where a script has given it a default; a dash in a name is an underscore. Anything else is
# refused: an unknown name, a missing value, and, where the default is true or false, any other value. `--config FILE`
# (relative to where the user stood) is sourced first and is weaker than the line. `--help` prints $help_message and a line
# for each option that is explained as above, in the script that was started or in one that noted itself in _option_files.
# What is left are the positional arguments, $1 $2 … Values are never evaluated, so that quotes, $ and spaces are safe.

_po_fail() { echo "$0: $*" >&2; return 1; }

# A name that the script has set. Names in capitals belong to the environment (--HOME is not an option).
_po_known() { [[ $1 =~ ^[a-z][a-zA-Z0-9_]*$ && -n ${!1+set} ]]; }

_po_help() {
  local _po_file=$0 _po_name _po_kind _po_text
  [[ -z ${help_message-} ]] || printf '%s\n' "$help_message"
  [[ ! -f ${IA3_SPEECH_START_DIR:-.}/$0 ]] || _po_file=${IA3_SPEECH_START_DIR:-.}/$0 # a run.sh has left that folder
  for _po_file in "$_po_file" ${_option_files[@]+"${_option_files[@]}"}; do
    [[ -f $_po_file ]] || continue
    while IFS=$'\t' read -r _po_name _po_kind _po_text; do
      ! _po_known "$_po_name" ||
        printf '  %-24s %s%s\n' "--${_po_name//_/-} $_po_kind" "$_po_text" "${!_po_name:+ [${!_po_name}]}"
    done < <(sed -nE 's/^([a-z_]+)=("[^"]*"|[^ ]*) +# ([^:]+): (.*)/\1\t\3\t\4/p' "$_po_file")
  done
  printf '  %-24s %s\n' "--config FILE" "shell file that sets any of these"
}

_po_parse() {
  local _po_i _po_name _po_next _po_file _po_bools=" "
  for _po_name in $(compgen -v); do
    [[ ! $_po_name =~ ^[a-z] || ! ${!_po_name-} =~ ^(true|false)$ ]] || _po_bools+="$_po_name "
  done

  for ((_po_i = 1; _po_i <= $#; _po_i++)); do
    [[ ${!_po_i} == --config ]] || continue
    _po_next=$((_po_i + 1))
    _po_file=${!_po_next-}
    [[ $_po_file == /* ]] || _po_file=${IA3_SPEECH_START_DIR:-.}/$_po_file
    [[ -f $_po_file && -r $_po_file ]] || { _po_fail "cannot read the file of --config: '${!_po_next-}'"; return; }
    # shellcheck disable=SC1090
    . "$_po_file" || return 1
    for _po_name in $_po_bools; do
      [[ ${!_po_name} =~ ^(true|false)$ ]] ||
        { _po_fail "${!_po_next}: $_po_name must be true or false, not '${!_po_name}'"; return; }
    done
  done

  while [[ $# -gt 0 ]]; do
    _po_name=${1#--}; _po_name=${_po_name//-/_}
    case $1 in
      --help | -h) _po_help; exit 0 ;;
      --*=*) _po_fail "options are written '--name value', not '$1'"; return ;;
      --?*) [[ $# -ge 2 ]] || { _po_fail "option $1 has no value"; return; } ;;
      *) break ;;
    esac
    if [[ $1 != --config ]]; then
      _po_known "$_po_name" || { _po_fail "invalid option $1 (--help lists the options)"; return; }
      [[ $_po_bools != *" $_po_name "* || $2 =~ ^(true|false)$ ]] || { _po_fail "expected true or false: $1 $2"; return; }
      printf -v "$_po_name" %s "$2"
    fi
    shift 2
  done
  _po_rest=("$@")
}

_po_rest=()
_po_parse "$@" || { unset -f _po_fail _po_known _po_parse _po_help; return 1; }
set -- ${_po_rest[@]+"${_po_rest[@]}"}
unset -f _po_fail _po_known _po_parse _po_help; unset _po_rest
