#!/usr/bin/env bash
# Builds the ten release artefacts into bin/, both agents for every platform, and checks
# that these are there and nothing else is named like one.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f bin/{sensor,action}-agent-*
make --no-print-directory build-all "$@"
want=()
for agent in action-agent sensor-agent; do
  for platform in darwin-amd64 darwin-arm64 linux-amd64 linux-arm64 windows-amd64.exe; do want+=("$agent-$platform"); done
done
diff <(printf '%s\n' "${want[@]}") <(cd bin && printf '%s\n' {sensor,action}-agent-* | LC_ALL=C sort) || {
  echo "make build-all did not make exactly the ten artefacts" >&2
  exit 1
}
