#!/usr/bin/env bash
# The storm over task pools (tests/pools/stress.py) with the module unirun._pools under TSan, then under ASan with UBSan:
# over threads, where the Python has them over interpreters, and (stress_processes.py) over processes. Nothing is
# suppressed. Workers are spawned, so that each has a sanitizer of its own from its first moment on: a program with
# threads that forks is beyond TSan. What pool and worker do to one another through shared memory no sanitizer sees.
#
#   scripts/stress_pools.sh [INTERPRETER]     without one: that of .venv
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-$PWD/.venv/bin/python}
version=$("$python" -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2] + sysconfig.get_config_var("abiflags"))')

interpreters=$("$python" -c 'import sys; print("yes" if sys.version_info >= (3, 14) and sys._is_gil_enabled() else "")')

# storm NAME SANITIZERS RUNTIME ROUNDS: builds the module into build/NAME and runs the storms on it, that over processes a
# twentieth as long.
storm() {
  local build=build/$1-$version
  cmake --preset dev -B "$build" -DUNIRUN_BUILD_TESTS=OFF -DUNIRUN_SANITIZE="$2" -DUNIRUN_WERROR=OFF \
    -DUNIRUN_PRECOMPILE=OFF -DPython_EXECUTABLE="$python" >/dev/null
  cmake --build "$build" --target _pools
  local over
  for over in "stress.py --rounds $4" ${interpreters:+"stress.py --rounds $4 --interpreters"} \
    "stress_processes.py --rounds $(($4 / 20)) --method spawn"; do
    echo "storm: $2, Python $version, $over"
    # shellcheck disable=SC2086  # A script and its arguments.
    LD_PRELOAD=$(gcc -print-file-name="$3") PYTHONPATH=$PWD/$build/python PYTHONMALLOC=malloc \
      TSAN_OPTIONS=halt_on_error=1:exitcode=66 ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
      "$python" -X faulthandler tests/pools/$over
  done
}

storm tsan-python thread libtsan.so 100
storm asan-python address,undefined libasan.so 100
