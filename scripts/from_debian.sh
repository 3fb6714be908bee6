#!/usr/bin/env bash
# Unpacks Debian packages of another release into a folder; nothing of the system is changed, no root is needed.
#
#   scripts/from_debian.sh SUITE FOLDER PACKAGE[=VERSION] ...     e.g. forky .cache/pythons/3.14 python3.14
#
# What the packages depend on comes along. The mirror is the one that the system's apt is set up with.
set -euo pipefail
suite=${1:?SUITE, e.g. forky}; folder=${2:?FOLDER to unpack into}; shift 2
[ $# -gt 0 ] || { echo "from_debian: name a package" >&2; exit 2; }
command -v apt-get >/dev/null || { echo "from_debian: there is no apt-get here: this needs Debian" >&2; exit 1; }

mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
  sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+debian\/?)$/\1/p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+debian\/?)[[:space:]].*/\2/p' |
  head -1)
[ -n "$mirror" ] || { echo "from_debian: apt's sources name no Debian mirror" >&2; exit 1; }

# An apt with a state of its own, which believes that nothing is installed.
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists,archives}/partial
chmod 755 "$state"
: > "$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$state/sources.list"
apt=(apt-get -qq -y -oDir::Etc::SourceList="$state/sources.list" -oDir::Etc::SourceParts=/dev/null
  -oDir::Etc::Preferences=/dev/null -oDir::Etc::PreferencesParts=/dev/null -oDir::State::Lists="$state/lists"
  -oDir::Cache::Archives="$state/archives" -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache=
  -oDir::State::status="$state/status" -oAPT::Install-Recommends=false -oAPT::Sandbox::User=root -oDebug::NoLocking=true)
"${apt[@]}" update >&2
"${apt[@]}" install --download-only "$@" >&2 ||
  { echo "from_debian: $suite of $mirror has not got: $*" >&2; exit 1; }
mkdir -p "$folder"
for package in "$state"/archives/*.deb; do dpkg-deb -x "$package" "$folder"; done
