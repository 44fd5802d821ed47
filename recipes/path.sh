#!/usr/bin/env bash
# Source this: it finds the Python that has ia3_speech (scripts/environment.sh) and puts the recipes' tools on PATH. Kaldi's
# queue.pl starts its jobs with `. ./path.sh`. It may be sourced twice.

unset CDPATH # cd would look there first
IA3_SPEECH_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export IA3_SPEECH_ROOT
export LC_ALL=C # Kaldi's order of sorting
export PYTHONUNBUFFERED=1 # logs are read while they grow
unset PYTHONDONTWRITEBYTECODE # Python starts many times here, and compiling transformers takes seconds each time
# Where the user stood and what they typed: relative paths and the record of results need it.
# (Not from a shell that somebody types into: what it runs later starts elsewhere, and is another command.)
[[ $- == *i* ]] || export IA3_SPEECH_START_DIR=${IA3_SPEECH_START_DIR:-$PWD}
[[ ${IA3_SPEECH_HOME:-/} == [/~]* ]] || export IA3_SPEECH_HOME=${IA3_SPEECH_START_DIR:-$PWD}/$IA3_SPEECH_HOME

_ia3_python=$(command -v python || true)
# shellcheck source=../scripts/environment.sh
. "$IA3_SPEECH_ROOT/scripts/environment.sh"
use_environment ia3_speech torch || return 1
if [[ $- != *i* && -z ${IA3_SPEECH_COMMAND-} ]]; then
  _ia3_script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
  IA3_SPEECH_COMMAND=$(python -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' bash "${_ia3_script#"$IA3_SPEECH_ROOT"/}" "$@")
  export IA3_SPEECH_COMMAND
fi
# How the user calls Python afterwards.
if [[ -z ${IA3_SPEECH_PYTHON-} ]]; then
  if [[ -n ${UV_RUN_RECURSION_DEPTH-} ]]; then
    IA3_SPEECH_PYTHON="uv run python"
  elif [[ $(command -v python) != "$_ia3_python" ]]; then
    IA3_SPEECH_PYTHON=$IA3_SPEECH_ROOT/.venv/bin/python
    IA3_SPEECH_PYTHON=${IA3_SPEECH_PYTHON#"${IA3_SPEECH_START_DIR:-$PWD}/"}
  fi
fi
export IA3_SPEECH_PYTHON=${IA3_SPEECH_PYTHON:-python}

# Studies import stages.py, benchmark.py and speechocean762.py.
_ia3_modules=$IA3_SPEECH_ROOT/recipes/utils:$IA3_SPEECH_ROOT/scripts:$IA3_SPEECH_ROOT/egs/speechocean762/local
[[ :$PATH: == *":$IA3_SPEECH_ROOT/recipes/utils:"* ]] ||
  export PATH=$IA3_SPEECH_ROOT/recipes:$IA3_SPEECH_ROOT/recipes/utils:$PATH \
    PYTHONPATH=$_ia3_modules${PYTHONPATH:+:$PYTHONPATH}
