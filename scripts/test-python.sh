#!/usr/bin/env bash
# Runs the tests of the SDK and of every official plugin with $PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/sdk/python/src" PYTHONDONTWRITEBYTECODE=1

"$python" -m unittest discover -s sdk/python/tests -t sdk/python
for plugin in plugins/*/*/; do
  echo "== $plugin"
  (cd "$plugin" && "$python" -m unittest discover -p 'test_*.py')
done
