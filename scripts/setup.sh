#!/usr/bin/env bash
# Installs what unirun needs to build and to test on Debian 12, and nothing that is there already:
# system packages (needs root or sudo only if one is missing) and a virtual environment in .venv.
# A second run takes a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the build links or runs.
packages=(g++ cmake ninja-build ccache pkg-config
  libuv1-dev nlohmann-json3-dev libfmt-dev doctest-dev libcli11-dev libspdlog-dev libvalijson-dev
  libhttp-parser-dev libsqlitecpp-dev libsqlite3-dev prometheus-cpp-dev libconcurrentqueue-dev)
# The default Python, with headers: Debian's, unless PYTHON names another.
python=${PYTHON:-}
if [ -z "$python" ]; then
  python=/usr/bin/python3.11
  packages+=(python3.11 python3.11-dev python3.11-venv)
fi
# What only tests and benchmarks ask for: `make test` wants the Erlang oracle, CI the rivals too.
[ "${UNIRUN_SETUP_TESTS:-0}" = 1 ] && packages+=(erlang-base faketime)
# ... and what brings another Python for the contracts (scripts/fetch_python.sh).
[ "${UNIRUN_SETUP_TESTS:-0}" = 1 ] && packages+=(patchelf)
# ... and CPython's own tests, which pyenv and python.org's builds bring along.
[ "${UNIRUN_SETUP_TESTS:-0}" = 1 ] && [ "$python" = /usr/bin/python3.11 ] && packages+=(libpython3.11-testsuite)
[ "${UNIRUN_SETUP_BENCH:-0}" = 1 ] && packages+=(erlang-base runit s6 supervisor)
[ "${UNIRUN_SETUP_LINT:-0}" = 1 ] && packages+=(clang clang-tidy clang-format libclang-rt-14-dev nodejs)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: these packages are missing and there is no sudo; as root, run:
  apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
fi

# The virtual environment, made anew when the interpreter or the pinned list changes.
stamp=.venv/.unirun-stamp
want="$("$python" -V) $(cat requirements/dev.txt | sha256sum)"
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
  echo "setup: making .venv with $("$python" -V)"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
  printf '%s' "$want" > "$stamp"
fi

# The rivals of benchmarks/pools, which no test needs.
stamp=.venv/.unirun-bench-stamp
want=$(sha256sum requirements/bench.txt)
if [ "${UNIRUN_SETUP_BENCH:-0}" = 1 ] && { [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; }; then
  echo "setup: installing the rivals of the pools"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
  printf '%s' "$want" > "$stamp"
fi

# Pyright, which only `make lint` needs; it brings its program along and runs on Debian's nodejs.
stamp=.venv/.unirun-lint-stamp
want=$(sha256sum requirements/lint.txt)
if [ "${UNIRUN_SETUP_LINT:-0}" = 1 ] && { [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; }; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/lint.txt
  printf '%s' "$want" > "$stamp"
fi
