#!/usr/bin/env bash
# Makes the release twice, the second time in another directory, with another umask and
# time zone, and compares every byte; then installs, upgrades, removes and purges its
# packages on a machine of its own with systemd (as root).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH

scripts/package.sh >/dev/null
mkdir "$work/elsewhere"
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -C "$work/elsewhere" -xf -
(umask 077 && TZ=Asia/Tokyo "$work/elsewhere/scripts/package.sh" "$work/again" >/dev/null)
diff dist/release/SHA256SUMS "$work/again/SHA256SUMS" || { echo "two builds of the same source differ" >&2; exit 1; }
echo "the same twice: $(wc -l <dist/release/SHA256SUMS) files"

STAVILY_DIST="$PWD/dist/release" go test -count=1 -v -run TestPackages ./test/e2e
