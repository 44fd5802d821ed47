#!/usr/bin/env bash
# Source this: it finds the Python that has ia3_speech and puts the recipes' tools on PATH. Each egs/*/path.sh
# is one line that sources it (Kaldi's queue.pl starts its jobs with `. ./path.sh`). It may be sourced twice.
#
# Python is that of the active environment where it has ia3_speech and torch, else the clone's own through
# `uv run`, which sets the environment up first.

IA3_SPEECH_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export IA3_SPEECH_ROOT
export LC_ALL=C # Kaldi's order of sorting
export PYTHONUNBUFFERED=1 # logs are read while they grow
unset PYTHONDONTWRITEBYTECODE # Python starts many times here, and compiling transformers takes seconds each time
# Where the user stood and what they typed: relative paths and the record of results need it.
# (Not from a shell that somebody types into: what it runs later starts elsewhere, and is another command.)
[[ $- == *i* ]] || export IA3_SPEECH_START_DIR=${IA3_SPEECH_START_DIR:-$PWD}
[[ ${IA3_SPEECH_HOME:-/} == [/~]* ]] || export IA3_SPEECH_HOME=${IA3_SPEECH_START_DIR:-$PWD}/$IA3_SPEECH_HOME
if [[ $- != *i* && -z ${IA3_SPEECH_COMMAND-} ]]; then
  IA3_SPEECH_COMMAND="bash ${PWD#"$IA3_SPEECH_ROOT"/}/$(basename "$0")"
  for _ia3_word in "$@"; do
    case $_ia3_word in
      *[\'$'\n']*) _ia3_word=$(printf %q "$_ia3_word") ;;
      "" | *[!A-Za-z0-9_./:=,+-]*) _ia3_word="'$_ia3_word'" ;;
    esac
    IA3_SPEECH_COMMAND+=" $_ia3_word"
  done
  export IA3_SPEECH_COMMAND
fi

if ! python -c 'import sys; from importlib.util import find_spec as f; sys.exit(not (f("ia3_speech") and f("torch")))' \
  2>/dev/null; then
  if ! command -v uv >/dev/null; then
    echo "path.sh: this python has no ia3_speech, and there is no uv to make an environment: activate an" \
      "environment with 'pip install -e $IA3_SPEECH_ROOT', or install uv" >&2
    return 1
  fi
  _ia3_python=$(uv run --project "$IA3_SPEECH_ROOT" python -c 'import sys; print(sys.executable)') ||
    { echo "path.sh: 'uv run' failed in $IA3_SPEECH_ROOT" >&2; return 1; }
  PATH=$(dirname "$_ia3_python"):$PATH
fi
# How the user calls Python afterwards.
[[ -z ${_ia3_python-}${UV_RUN_RECURSION_DEPTH-} ]] || IA3_SPEECH_PYTHON=${IA3_SPEECH_PYTHON:-uv run python}
export IA3_SPEECH_PYTHON=${IA3_SPEECH_PYTHON:-python}

case :$PATH: in
  *":$IA3_SPEECH_ROOT/recipes/utils:"*) ;;
  *) PATH=$IA3_SPEECH_ROOT/recipes:$IA3_SPEECH_ROOT/recipes/utils:$PATH ;;
esac
export PATH
