#!/usr/bin/env bash
# Fetches an agent for this machine, checks it against SHA256SUMS and puts it into
# /usr/local/bin. docs/install.md goes on from there.
#   install.sh [sensor|action] [--from URL or directory] [--to DIRECTORY]
set -euo pipefail
agent=sensor
from=https://github.com/stavily/agents/releases/latest/download
to=/usr/local/bin
while [ $# -gt 0 ]; do
  case "$1" in
    sensor | action) agent=$1 ;;
    --from) from=${2:?--from needs a URL or a directory}; shift ;;
    --to) to=${2:?--to needs a directory}; shift ;;
    *) echo "unknown: $1 (install.sh [sensor|action] [--from URL] [--to DIRECTORY])" >&2; exit 2 ;;
  esac
  shift
done
[ ! -d "$from" ] || from="file://$(realpath "$from")"

case "$(uname -s)" in
  Linux) system=linux ;;
  Darwin) system=darwin ;;
  *) echo "this script is for Linux and macOS; docs/install.md has the rest" >&2; exit 1 ;;
esac
case "$(uname -m)" in
  x86_64 | amd64) processor=amd64 ;;
  aarch64 | arm64) processor=arm64 ;;
  *) echo "there is no agent for the processor $(uname -m)" >&2; exit 1 ;;
esac
[ -w "$to" ] || { echo "$to cannot be written: repeat with sudo, or choose another directory with --to" >&2; exit 1; }

file=$agent-agent-$system-$processor
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
cd "$aside"
curl -fsSL --retry 3 -o "$file" "$from/$file"
curl -fsSL --retry 3 -o SHA256SUMS "$from/SHA256SUMS"
grep " $file\$" SHA256SUMS >mine || { echo "SHA256SUMS does not name $file: nothing is installed" >&2; exit 1; }
if command -v sha256sum >/dev/null; then sha256sum --quiet --check mine; else shasum -a 256 --quiet --check mine; fi || {
  echo "$file is not what SHA256SUMS says: nothing is installed" >&2
  exit 1
}
install -m 755 "$file" "$to/$agent-agent"
echo "$to/$agent-agent $("$to/$agent-agent" version)"
echo "next: sudo $agent-agent install --agent-id NAME --base-url https://ORCHESTRATOR:8443"
