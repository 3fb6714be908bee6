#!/usr/bin/env bash
# The Python tests on other interpreters: each gets a venv and a build of unirun._core of its own in build/pythons/.
#
#   scripts/test_pythons.sh [INTERPRETER ...]     without any: pyenv's from 3.12 on
set -euo pipefail
cd "$(dirname "$0")/.."
interpreters=("$@")
if [ ${#interpreters[@]} -eq 0 ]; then
  for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    [ -x "$found" ] && interpreters+=("$found")
  done
fi
[ ${#interpreters[@]} -gt 0 ] || echo "test_pythons: SKIPPED, there is no other interpreter here; name some"

for python in "${interpreters[@]}"; do
  echo "test_pythons: $("$python" -V)"
  home=$(scripts/build_for_python.sh "$python")
  ln -sf "$home/build/bin/unirun" "$home/venv/bin/unirun"
  UNIRUN_BINARY=$home/build/bin/unirun "$home/venv/bin/python" -m pytest -q -m "not slow" tests/python tests/pools
done
