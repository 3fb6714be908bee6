#!/usr/bin/env bash
# Brings another CPython beside the system's, with its tests, from Debian's packages; prints the interpreter's path.
#
#   scripts/fetch_python.sh VERSION [FOLDER]     e.g. 3.14, into .cache/pythons/3.14
#
# Some 15 s and 200 MB the first time. It runs on its own C library, makes virtual environments, and extension modules built
# here load in it (scripts/build_for_python.sh); programs that start it have to run on that library, too (scripts/test_pythons.sh).
set -euo pipefail
version=${1:?VERSION, e.g. 3.14}
folder=${2:-$(cd "$(dirname "$0")/.." && pwd)/.cache/pythons/$version}
case "$version" in
  3.11) suite=bookworm ;;
  3.13) suite=trixie ;;
  3.14) suite=forky ;;
  *) echo "fetch_python: Debian has 3.11, 3.13 and 3.14, not $version" >&2; exit 2 ;;
esac
python=$folder/usr/bin/python$version
[ -e "$folder/.complete" ] && { echo "$python"; exit 0; }
command -v patchelf >/dev/null || { echo "fetch_python: patchelf is missing: apt-get install patchelf" >&2; exit 1; }

rm -rf "$folder"
"$(dirname "$0")/from_debian.sh" "$suite" "$folder" \
  "python$version" "python$version-venv" "python$version-dev" "libpython$version-testsuite" libstdc++6
folder=$(cd "$folder" && pwd)
python=$folder/usr/bin/python$version
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
loader=$(find "$folder" -name 'ld-linux-*.so.*' | head -1)
patchelf --set-interpreter "$loader" --force-rpath \
  --set-rpath "$folder/usr/lib/$multiarch:$folder/lib/$multiarch" "$python"
# Debian's build names absolute places for its wheels, its headers and its compiler.
sed -i -e "s#/usr/share/python-wheels/#$folder/usr/share/python-wheels/#g" \
  -e "s#'\(CONF\|\)INCLUDEPY': '/usr/include#'\1INCLUDEPY': '$folder/usr/include#" \
  -e "s#$multiarch-gcc\b#gcc#g; s#$multiarch-g++#g++#g" "$folder/usr/lib/python$version"/_sysconfigdata*.py
mkdir -p "$folder/include-arch"
ln -sfn "$folder/usr/include/$multiarch" "$folder/include-arch/$multiarch"
"$python" -c "import ctypes, multiprocessing, sqlite3, ssl, sys; assert sys.version.startswith('$version.'), sys.version"
touch "$folder/.complete"
echo "$python"
