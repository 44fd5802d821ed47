#!/usr/bin/env bash
# register.sh ADAPTER NAME full|small [FILE [OPTION…]]: register a recipe's adapter with these options of `adapters
# register`, print `NAME: registered in FOLDER`, and write the name into FILE unless that is empty. The recipe replaces what it registered before; a small run takes no full run's name, but NAME_small.
set -euo pipefail

adapter=$1 name=$2 size=$3 file=${4-}
register() { python -m ia3_speech.adapters register "$adapter" "$1" --writer "${PWD#"$IA3_SPEECH_ROOT"/}$2" "${@:3}"; }
if [[ $size == full ]]; then
  registered=$(register "$name" "" "${@:5}")
else
  registered=$(register "$name" ", small" "${@:5}" 2>/dev/null || register "${name}_small" ", small" "${@:5}")
fi
echo "$registered"
[[ -z $file ]] || grep -qsxF "${registered%%:*}" "$file" || echo "${registered%%:*}" >"$file"
