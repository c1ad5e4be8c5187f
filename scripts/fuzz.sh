#!/usr/bin/env bash
# Runs every fuzz target of the module COUNT times (100000x) or for a while (10s).
# Only a count is sure to end well: at the end of a time the go command may call the
# input that it was trying a failure ("context deadline exceeded").
set -euo pipefail
cd "$(dirname "$0")/.."
count=${COUNT:-100000x}
# A process for each processor, with one thread of Go each: with more, they hand what they do to and fro.
at_once=$(getconf _NPROCESSORS_ONLN)
# Targets that write files write them in memory where there is enough: on a disk one did a fifth as many.
if shm=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') && [ "${shm:-0}" -gt 1000000 ] && [ -w /dev/shm ]; then
  scratch=$(mktemp -d /dev/shm/fuzz.XXXXXX)
else
  scratch=$(mktemp -d)
fi
trap 'rm -rf "$scratch"' EXIT
export GOTMPDIR=$scratch
# A few inputs learn nothing from which code they reach, and compiling everything anew to know that
# takes minutes: GUIDED= leaves it out.
guided=${GUIDED--fuzz=.}
binary=$scratch/fuzz.test
found=$(go env GOCACHE)/fuzz/$(go list -m)
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
  go test -c ${guided:+"$guided"} -o "$binary" "$dir"
  for target in $(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
    echo "== $dir $target ($count)"
    (cd "$dir" && GOMAXPROCS=1 "$binary" -test.run '^$' -test.parallel "$at_once" -test.fuzz "^${target}\$" -test.fuzztime "$count" \
      -test.fuzzminimizetime 100x -test.fuzzcachedir "$found/$dir")
  done
done
