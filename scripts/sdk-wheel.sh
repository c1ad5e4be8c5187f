#!/usr/bin/env bash
# Builds the SDK's wheel into dist/ (or $1) with the system's setuptools and wheel, without a network:
# the same source gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=$(realpath -m "${1:-dist}")
"$python" -c 'import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, ("pip", "setuptools", "wheel"))))' || {
  echo "building a wheel takes pip, setuptools and wheel: apt-get install python3-pip python3-setuptools python3-wheel" >&2
  exit 1
}
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
umask 022
mkdir -p "$aside/src" "$out"
cp sdk/python/pyproject.toml sdk/python/README.md LICENSE "$aside"
tar -C sdk/python/src --exclude=__pycache__ -cf - stavily | tar -C "$aside/src" -xf -
chmod -R u=rwX,go=rX "$aside" # whatever the checkout has: modes are in the wheel
export SOURCE_DATE_EPOCH=315532800 # 1980, where the times of an archive begin
"$python" -m pip wheel --quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check --no-cache-dir \
  --wheel-dir "$out" "$aside"
ls "$out"/stavily-*.whl
