#!/usr/bin/env bash
# clang-format, ruff, mypy, pyright and the house check; --fix mends what can be mended.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t cpp < <(git ls-files '*.h' '*.cpp')
python=.venv/bin/python
if [ "${1:-}" = --fix ]; then
  clang-format -i "${cpp[@]}"
  $python -m ruff format . && $python -m ruff check --fix .
else
  clang-format --dry-run --Werror "${cpp[@]}"
  $python -m ruff format --check . && $python -m ruff check .
fi
$python -m mypy
.venv/bin/pyright --pythonpath $python
$python tests/check_house.py
