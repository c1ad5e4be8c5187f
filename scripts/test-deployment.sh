#!/usr/bin/env bash
# Checks that what the README tells to build is there and starts: both agents and
# the server are built, answer --help and version, and run the demo end to end.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$1"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }

step "build"
make --no-print-directory build
for program in sensor-agent action-agent stavily; do
  [ -x "bin/$program" ] || fail "bin/$program was not built"
done

step "command lines"
for program in sensor-agent action-agent stavily; do
  "bin/$program" --help >/dev/null || fail "$program --help"
  "bin/$program" version || fail "$program version"
done

step "sample configurations"
bin/sensor-agent config validate configs/dev-sensor.yaml
bin/action-agent config validate configs/dev-action.yaml

step "an agent without a certificate starts, is healthy, is not ready, and stops on SIGTERM"
base=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$base"' EXIT
STAVILY_HEALTH_PORT=0 STAVILY_METRICS_PORT=0 \
  bin/sensor-agent --agent-id=test-sensor --base-url=https://127.0.0.1:1 --base-dir="$base" >"$base.log" 2>&1 &
pid=$!
for _ in $(seq 100); do
  [ -s "$base/data/state/health.addr" ] && break
  kill -0 "$pid" 2>/dev/null || { cat "$base.log"; fail "the agent ended"; }
  sleep 0.1
done
addr=$(sed 's/^0\.0\.0\.0/127.0.0.1/; s/^\[::\]/127.0.0.1/' "$base/data/state/health.addr")
probe() { "${PYTHON:-python3}" - "http://$addr$1" <<'PY'
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
except urllib.error.HTTPError as e:
    print(e.code)
PY
}
[ "$(probe /health)" = 200 ] || fail "/health of an agent that is not enrolled is not 200"
[ "$(probe /ready)" = 503 ] || fail "/ready of an agent that is not enrolled is not 503"
kill -TERM "$pid"
wait "$pid" || fail "the agent did not exit 0 on SIGTERM"
pid=
rm -f "$base.log"

step "demo"
bin/stavily demo

printf '\nall deployment checks passed\n'
