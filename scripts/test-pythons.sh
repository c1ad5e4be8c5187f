#!/usr/bin/env bash
# Runs the SDK's tests with every Python from 3.8 on that this machine has, and says which these were.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

ran=()
for minor in 8 9 10 11 12 13 14; do
  for python in "/usr/bin/python3.$minor" "$HOME/.pyenv/versions/3.$minor".*/bin/python; do
    [ -x "$python" ] || continue
    version=$("$python" -c 'import platform; print(platform.python_version())')
    echo "== Python $version"
    "$python" -W error::DeprecationWarning -m unittest discover -s sdk/python/tests -t sdk/python
    ran+=("$version")
    break
  done
done
[ ${#ran[@]} -gt 0 ] || { echo "no Python from 3.8 on was found" >&2; exit 1; }
echo "passed with: ${ran[*]}"
