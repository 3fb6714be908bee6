#!/usr/bin/env bash
# Installs a build into an empty folder and builds and runs a foreign program against it.
# usage: check.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$build" --prefix "$folder/prefix" >/dev/null

# build_foreign SOURCE NAME: builds a project outside the tree into $folder/NAME.
build_foreign() {
  cmake -S "$1" -B "$folder/$2" -G Ninja -DCMAKE_PREFIX_PATH="$folder/prefix" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >/dev/null
  cmake --build "$folder/$2" >"$folder/log" || { cat "$folder/log"; exit 1; }
}

build_foreign "$here/consumer" build
"$folder/build/consumer"
if [ -x "$folder/build/embedder" ]; then
  "$folder/build/embedder"
  embedding=$here/../../examples/embedding
  build_foreign "$embedding" examples
  python3 "$embedding/measure.py" "$folder/examples/server" 0.5
  python3 "$embedding/visit.py" "$folder/examples/asgi_server"
  "$folder/examples/supervised" "$embedding/account.py" 1
  cmake --build "$folder/examples" --target heartbeat
fi
"$folder/prefix/bin/unirun" version
echo "install: a program outside the tree builds and runs"
