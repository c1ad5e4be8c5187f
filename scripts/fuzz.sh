#!/usr/bin/env bash
# Runs every fuzz target of the module for COUNT (a duration, or N followed by x).
set -euo pipefail
cd "$(dirname "$0")/.."
count=${COUNT:-10s}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
  for target in $(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
    echo "== $dir $target ($count)"
    go test -run '^$' -fuzz "^${target}\$" -fuzztime "$count" "$dir"
  done
done
