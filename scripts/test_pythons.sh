#!/usr/bin/env bash
# The Python tests on other interpreters: each gets a venv and a build of unirun._core of its own in build/pythons/. Where one
# has a shared libpython, also the C++ tests of running Python from C++. A part alone: ONLY=python or ONLY=cpp.
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

# starting INTERPRETER: what CMake is to be told for programs that start it. What scripts/fetch_python.sh brings runs on a C
# library of its own, and so does what starts that.
starting() {
  local version prefix folder libraries
  read -r version prefix < <("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.base_prefix)')
  [ -d "$prefix/../include-arch" ] || return 0
  folder=$(cd "$prefix/.." && pwd)
  libraries=$(dirname "$(find "$folder/usr/lib" -name "libpython$version.so" -not -path '*/config-*')")
  export CPATH=$folder/include-arch
  options=("-DPython_LIBRARY=$libraries/libpython$version.so" "-DPython_INCLUDE_DIR=$prefix/include/python$version"
    "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined,--disable-new-dtags,-rpath,$libraries:$folder/lib/${libraries##*/},--dynamic-linker,$(
      find "$folder" -name 'ld-linux-*.so.*' | head -1)")
}

# embed INTERPRETER: a program that starts this Python.
embed() {
  local build options=() CPATH=${CPATH:-}
  if [ "$("$1" -c 'import sysconfig; print(sysconfig.get_config_var("Py_ENABLE_SHARED"))')" != 1 ]; then
    echo "test_pythons: SKIPPED, $("$1" -V) has no shared libpython for a C++ program to start"
    return
  fi
  starting "$1"
  build=build/pythons/$("$1" -c 'import sys; print("%d.%d%s" % (*sys.version_info[:2], sys.abiflags))')/embedding
  CCACHE_BASEDIR=$PWD cmake --preset dev -B "$build" -DUNIRUN_BUILD_PYTHON=OFF -DPython_EXECUTABLE="$1" \
    "${options[@]}" >/dev/null
  CCACHE_BASEDIR=$PWD cmake --build "$build" --target executors/python/all
  ctest --test-dir "$build/executors/python" -j 2 --output-on-failure --progress
}

for python in "${interpreters[@]}"; do
  echo "test_pythons: $("$python" -V)"
  [ "${ONLY:-cpp}" = cpp ] && embed "$python"
  [ "${ONLY:-python}" = python ] || continue
  home=$(scripts/build_for_python.sh "$python")
  ln -sf "$home/build/bin/unirun" "$home/venv/bin/unirun"
  UNIRUN_BINARY=$home/build/bin/unirun "$home/venv/bin/python" -m pytest -q -m "not slow" tests/python tests/pools
done
