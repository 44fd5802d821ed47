#!/usr/bin/env bash
# Source this: markers of finished work. A marker holds the key of what went in (see key.py) and how it was made,
# one `name value` a line. It is written after success, inside what the work has made, so that who deletes the
# result deletes its marker.

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

finish() { mark_done "$stage_marker" "$stage_key" $((SECONDS - stage_started)); }
