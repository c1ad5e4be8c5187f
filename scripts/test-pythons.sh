#!/usr/bin/env bash
# Runs the SDK's tests with every Python from 3.8 on that this machine has, or with ENDS=1 only the
# oldest and the newest of them, and says which these were.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

found=()
for minor in 8 9 10 11 12 13 14; do
  for python in "/usr/bin/python3.$minor" "$HOME/.pyenv/versions/3.$minor".*/bin/python; do
    [ -x "$python" ] || continue
    found+=("$python")
    break
  done
done
[ ${#found[@]} -gt 0 ] || { echo "no Python from 3.8 on was found" >&2; exit 1; }
if [ -n "${ENDS:-}" ] && [ ${#found[@]} -gt 2 ]; then
  found=("${found[0]}" "${found[-1]}")
fi

ran=()
for python in "${found[@]}"; do
  version=$("$python" -c 'import platform; print(platform.python_version())')
  echo "== Python $version"
  "$python" -W error::DeprecationWarning -m unittest discover -s sdk/python/tests -t sdk/python
  ran+=("$version")
done
echo "passed with: ${ran[*]}"
