#!/usr/bin/env bash
# The storm over task pools (tests/pools/stress.py) with the module unirun._pools under TSan, then under ASan with UBSan.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python

# storm NAME SANITIZERS RUNTIME ROUNDS: builds the module into build/NAME and runs the storm on it.
storm() {
  cmake --preset dev -B "build/$1" -DUNIRUN_BUILD_TESTS=OFF -DUNIRUN_SANITIZE="$2" -DUNIRUN_WERROR=OFF \
    -DUNIRUN_PRECOMPILE=OFF -DPython_EXECUTABLE="$python" >/dev/null
  cmake --build "build/$1" --target _pools
  echo "storm: $2, $4 rounds"
  LD_PRELOAD=$(gcc -print-file-name="$3") PYTHONPATH=$PWD/build/$1/python PYTHONMALLOC=malloc \
    TSAN_OPTIONS=halt_on_error=1:exitcode=66 ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    "$python" -X faulthandler tests/pools/stress.py --rounds "$4"
}

storm tsan-python thread libtsan.so 100
storm asan-python address,undefined libasan.so 100
