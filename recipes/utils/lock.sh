#!/usr/bin/env bash
# Source this, `. lock.sh EXP [NAME]`: wait until no other run is at work in EXP. The jobs of a run that was killed hold
# the lock until they end. NAME tells the locks of nested runs apart.

mkdir -p "$1/log"
if command -v flock >/dev/null; then
  exec 9>>"$1/${2-}.lock"
  flock -n 9 || { echo "waiting for another run that is still at work in $1"; flock 9; }
fi
[[ $1 == /* || $PWD == "$IA3_SPEECH_START_DIR" ]] || echo "data/ and exp/ are in ${PWD#"$IA3_SPEECH_START_DIR"/}"
