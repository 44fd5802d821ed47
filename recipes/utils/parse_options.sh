#!/usr/bin/env bash
# Kaldi's option parsing: source it after the defaults are set as shell variables.
#
#   stage=1         # N: start at this stage
#   use_lm=false    # true: rescore with the language model
#   . parse_options.sh || exit 1
#
# `--help` prints $help_message and such lines, as `--stage N   start at this stage [1]`.
# `--name value` sets $name where the script has given it a default; a dash in a name is an underscore. Anything
# else is refused: `--name=value`, an unknown name, a missing value, and, where the default is true or false,
# any other value. `--config FILE` is sourced first, wherever it stands, and is weaker than the line. What is left
# are the positional arguments, $1 $2 … The rules are those of Kaldi's utils/parse_options.sh; values are never evaluated, so that quotes, $ and spaces in them are safe.
#
# What stands before a `--` is a recipe's own, and weaker than --config. FILE is relative to where the user stood.
# With keep_unknown=true options that the script does not have stay in "$@", for the script that it calls.

_po_fail() { echo "$0: $*" >&2; }

# A name that the script has set. Names in capitals belong to the environment (--HOME is not an option).
_po_known() { [[ $1 =~ ^[a-z][a-zA-Z0-9_]*$ && -n ${!1+set} ]]; }

# from_start PATH: one on the command line is relative to where the user stood, or else to the recipe's folder. mini and
# ia3 are names, of what comes with the package, and shipped is the out-of-domain speech there.
from_start() {
  if [[ $1 == shipped ]]; then
    echo "$IA3_SPEECH_ROOT/ia3_speech/out_of_domain/librispeech_dev"
  elif [[ $1 == /* || $1 == mini || $1 == ia3 || -z $1 || ! -e $IA3_SPEECH_START_DIR/${1%:*} ]]; then
    echo "$1"
  else
    echo "$(realpath "$IA3_SPEECH_START_DIR/${1%:*}")${1#"${1%:*}"}"
  fi
}

# The help: $help_message, then a line for each option that the script explains.
_po_help() {
  local _po_lines="" _po_script=$0
  [[ ! -f ${IA3_SPEECH_START_DIR:-.}/$0 ]] || _po_script=${IA3_SPEECH_START_DIR:-.}/$0 # a run.sh has left that folder
  [[ ! -f $_po_script ]] || _po_lines=$(
    sed -nE 's/^([a-z_]+)=("([^"]*)"|([^ ]*)) +# ([^:]+): (.*)/\1\t\5\t\3\4\t\6/p' "$_po_script" | awk -F'\t' '{
      gsub("_", "-", $1); printf "  %-24s %s%s\n", "--" $1 " " $2, $4, $3 == "" ? "" : " [" $3 "]" }'
  )
  [[ -z ${help_message-} ]] || printf '%s\n' "$help_message"
  [[ -z $_po_lines ]] || printf '%s\n' "$_po_lines"
  [[ -z $_po_lines || ${keep_unknown-} == true ]] ||
    printf '  %-24s %s\n' "--config FILE" "shell file that sets any of these"
  [[ -n ${help_message-}$_po_lines || ${keep_unknown-} == true ]] || echo "no help found" >&2
}

_po_parse() {
  local _po_i _po_name _po_next _po_file _po_bools=()

  for _po_name in $(compgen -v); do
    [[ $_po_name =~ ^[a-z] && ( ${!_po_name-} == true || ${!_po_name-} == false ) ]] && _po_bools+=("$_po_name")
  done

  for ((_po_i = 1; _po_i <= $#; _po_i++)); do
    [[ ${!_po_i} == --config ]] || continue
    _po_next=$((_po_i + 1))
    _po_file=${!_po_next-}
    [[ $_po_file == /* ]] || _po_file=${IA3_SPEECH_START_DIR:-.}/$_po_file
    [[ -f $_po_file && -r $_po_file ]] || { _po_fail "cannot read the file of --config: '${!_po_next-}'"; return 1; }
    # shellcheck disable=SC1090
    . "$_po_file" || return 1
    for _po_name in ${_po_bools[@]+"${_po_bools[@]}"}; do
      [[ ${!_po_name} == true || ${!_po_name} == false ]] ||
        { _po_fail "${!_po_next}: $_po_name must be true or false, not '${!_po_name}'"; return 1; }
    done
  done

  while [[ $# -gt 0 ]]; do
    case $1 in
      --help | -h)
        _po_help
        [[ ${keep_unknown-} == true ]] || exit 0
        _po_kept+=("$1"); shift ;;
      --*=*)
        _po_fail "options are written '--name value', not '$1'"; return 1 ;;
      --?*)
        _po_name=${1#--}; _po_name=${_po_name//-/_}
        [[ $# -ge 2 ]] || { _po_fail "option $1 has no value"; return 1; }
        if [[ ${keep_unknown-} == true && $_po_name != keep_unknown ]] && ! _po_known "$_po_name"; then
          _po_kept+=("$1" "$2") # --config too
        elif [[ $_po_name != config ]]; then
          _po_known "$_po_name" || { _po_fail "invalid option $1 (--help lists the options)"; return 1; }
          if [[ " ${_po_bools[*]-} " == *" $_po_name "* && $2 != true && $2 != false ]]; then
            _po_fail "expected true or false: $1 $2"; return 1
          fi
          printf -v "$_po_name" %s "$2"
        fi
        shift 2 ;;
      *) break ;;
    esac
  done
  _po_rest=(${_po_kept[@]+"${_po_kept[@]}"} "$@")
}

_po_rest=() _po_kept=() _po_own=0
for ((_po_at = 1; _po_at <= $#; _po_at++)); do
  [[ ${!_po_at} != -- ]] || { _po_own=$_po_at; break; }
done
if [[ $_po_own -gt 0 ]]; then
  _po_parse "${@:1:_po_own-1}" || { unset -f _po_fail _po_known _po_parse _po_help; return 1; }
  [[ ${#_po_rest[@]} -eq 0 ]] || # what follows it would not be looked at
    { _po_fail "unexpected argument '${_po_rest[0]}' among the recipe's own options"
      unset -f _po_fail _po_known _po_parse _po_help; return 1; }
  shift "$_po_own"
fi
_po_parse "$@" || { unset -f _po_fail _po_known _po_parse _po_help; return 1; }
set -- ${_po_rest[@]+"${_po_rest[@]}"}
unset -f _po_fail _po_known _po_parse _po_help
unset _po_rest _po_kept _po_own _po_at
