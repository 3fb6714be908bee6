#!/usr/bin/env bash
# Installs a build into an empty folder and builds and runs a foreign program against it.
# usage: check.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$build" --prefix "$folder/prefix" >/dev/null
cmake -S "$here/consumer" -B "$folder/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/prefix" \
  -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >/dev/null
cmake --build "$folder/build" >"$folder/log" || { cat "$folder/log"; exit 1; }
"$folder/build/consumer"
if compgen -G "$folder/prefix/lib*/**/libunirun_python.a" >/dev/null || compgen -G "$folder/prefix/lib*/libunirun_python.a" >/dev/null; then
  "$folder/build/embedder"
fi
"$folder/prefix/bin/unirun" version
echo "install: a program outside the tree builds and runs"
