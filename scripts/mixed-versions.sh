#!/usr/bin/env bash
# Agents of a version before with this server, this version's agents with a server of before, and
# one host after the other brought from there to here over its own files. BEFORE is a tag or a
# commit; without it, the last tag, or where there is none the commit below.
set -euo pipefail
cd "$(dirname "$0")/.."

# The last of 26 November 2026: another store of instructions, no secrets, no shadow reports.
pinned=17ed37f
before=${BEFORE:-$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || echo "$pinned")}
if ! git cat-file -e "$before^{commit}" 2>/dev/null; then
  echo "SKIPPED: this clone does not have $before, of which the older programs are built: git fetch --unshallow, or set BEFORE" >&2
  exit 0
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
programs=(./sensor-agent/cmd/sensor-agent ./action-agent/cmd/action-agent ./orchestrator/cmd/stavily)
mkdir "$dir"/{source,old,new,old-agents,old-server}
git archive "$before" | tar -x -C "$dir/source"
export CGO_ENABLED=0
(cd "$dir/source" && go build -buildvcs=false -o "$dir/old/" "${programs[@]}")
go build -buildvcs=false -o "$dir/new/" "${programs[@]}"
ln "$dir"/old/*-agent "$dir/new/stavily" "$dir/old-agents/"
ln "$dir"/new/*-agent "$dir/old/stavily" "$dir/old-server/"

# What an agent does with a server, from its enrolment to packages and plugins that it is sent.
tests='^(TestKilledActionAgent|TestKilledServerWhileActionRuns|TestAssignedPackages|TestOriginalPluginsAreInstalledAndExecuted|TestAStepMeetsItsSandbox)$'
for mixed in old-agents old-server; do
  printf '\n== %s (%s and this)\n' "$mixed" "$before"
  "$dir/$mixed/stavily" demo
  STAVILY_E2E_BIN=$dir/$mixed go test -count=1 -timeout 10m -run "$tests" ./test/e2e
done
printf '\n== an upgrade from %s in place\n' "$before"
STAVILY_E2E_BIN=$dir/new STAVILY_E2E_BEFORE=$dir/old go test -count=1 -timeout 10m -run '^TestUpgradeInPlace$' ./test/e2e
