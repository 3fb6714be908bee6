#!/usr/bin/env bash
# Builds unirun's extension modules for another interpreter; prints the folder: its venv/ has pytest, its build/ the rest.
#
#   scripts/build_for_python.sh INTERPRETER [TARGET ...]     without any target: all that the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:?INTERPRETER}; shift
[ $# -gt 0 ] || set -- unirun unirun-guard _core
read -r version prefix < <("$python" -c 'import sys; print("%d.%d%s" % (*sys.version_info[:2], sys.abiflags), sys.base_prefix)')
home=$PWD/build/pythons/$version
mkdir -p "$home"
exec 9>"$home/.lock" && flock 9  # Two tests may ask at once.
want="$("$python" -V) $python $(sha256sum < requirements/dev.txt)"
if [ "$(cat "$home/.installed" 2>/dev/null)" != "$want" ]; then
  "$python" -m venv --clear "$home/venv"
  "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt >&2
  printf '%s' "$want" > "$home/.installed"
fi
# What scripts/fetch_python.sh brings has some headers apart.
[ -d "$prefix/../include-arch" ] && export CPATH=$prefix/../include-arch
export CCACHE_BASEDIR=$PWD
cmake --preset dev -B "$home/build" -DUNIRUN_BUILD_TESTS=OFF -DPython_EXECUTABLE="$home/venv/bin/python" >/dev/null
cmake --build "$home/build" --target "$@" >&2
echo "$home/build/python" > "$(echo "$home"/venv/lib/python3*/site-packages)/unirun-build.pth"
cp python_bindings/unirun-compat.pth "$(echo "$home"/venv/lib/python3*/site-packages)/"
echo "$home"
