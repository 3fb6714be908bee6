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
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  home=$PWD/build/pythons/$version
  echo "test_pythons: $version"
  if ! cmp -s requirements/dev.txt "$home/.installed"; then
    "$python" -m venv --clear "$home/venv"
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
    cp requirements/dev.txt "$home/.installed"
  fi
  cmake --preset dev -B "$home/build" -DUNIRUN_BUILD_TESTS=OFF \
    -DPython_EXECUTABLE="$home/venv/bin/python" >/dev/null
  cmake --build "$home/build" --target unirun unirun-guard _core
  echo "$home/build/python" > "$(echo "$home"/venv/lib/python3*/site-packages)/unirun-build.pth"
  cp python_bindings/unirun-compat.pth "$(echo "$home"/venv/lib/python3*/site-packages)/"
  ln -sf "$home/build/bin/unirun" "$home/venv/bin/unirun"
  UNIRUN_BINARY=$home/build/bin/unirun "$home/venv/bin/python" -m pytest -q -m "not slow" tests/python
done
