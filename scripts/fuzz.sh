#!/usr/bin/env bash
# Runs every fuzz target of the module COUNT times (100000x) or for a while (10s).
# Only a count is sure to end well: at the end of a time the go command may call the
# input that it was trying a failure ("context deadline exceeded").
set -euo pipefail
cd "$(dirname "$0")/.."
count=${COUNT:-100000x}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
  for target in $(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
    echo "== $dir $target ($count)"
    go test -run '^$' -fuzz "^${target}\$" -fuzztime "$count" -fuzzminimizetime 100x "$dir"
  done
done
