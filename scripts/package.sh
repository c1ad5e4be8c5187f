#!/usr/bin/env bash
# Makes what is released, into dist/release (or $1): every program alone and in an archive, a bill
# of materials for each, .deb and .rpm packages, and SHA256SUMS. VERSION and
# SOURCE_DATE_EPOCH decide the bytes, and default to what git says; nothing else of this
# machine does.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=$(realpath -m "${1:-dist/release}")
nfpm=v2.45.2 # newer ones need modules that not every proxy has
export VERSION=${VERSION:-$(git describe --tags --always --dirty)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$dist"
mkdir -p "$dist"

scripts/build.sh VERSION="$VERSION"
make --no-print-directory build-server VERSION="$VERSION"
go run ./deployments/package -bin bin -dist "$dist" -epoch "$SOURCE_DATE_EPOCH"

# Linked once and kept: a tool of its own, which go.mod would carry into everything.
tools=$(go env GOCACHE)/stavily-tools-nfpm-$nfpm
[ -x "$tools/nfpm" ] || GOFLAGS='' GOBIN="$tools" go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm"

# Debian and Red Hat want a version that begins with a digit, and keep '-' for themselves.
number=${VERSION#v}
case "$number" in
  [0-9]*.*) ;;
  *) number="0.0.0+git.$number" ;;
esac
number=${number//-/.}

# What is asked for its completions runs here.
go build -o "$work/" ./sensor-agent/cmd/sensor-agent ./action-agent/cmd/action-agent ./orchestrator/cmd/stavily

# One package for one processor; $3 names its units, $4 has further contents.
package() {
  local program=$1 name=$2 units=$3 more=$4 arch=$5 format script
  for script in postinst prerm postrm; do
    sed "s|@PROGRAM@|$program|g; s|@PACKAGE@|$name|g; s|@UNITS@|$units|g" "deployments/package/$script.sh" >"$work/$script.sh"
  done
  for shell in bash zsh fish; do
    "$work/$program" completion "$shell" >"$work/completion.$shell"
  done
  cat >"$work/nfpm.yaml" <<YAML
name: $name
arch: $arch
version: "$number"
version_schema: none
release: "1"
maintainer: The Stavily authors <agents@stavily.example>
homepage: https://github.com/stavily/agents
license: Apache-2.0
section: admin
priority: optional
mtime: "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
description: |
  $("$work/$program" --help | sed -n 1p)
contents:
  - {src: bin/$program-linux-$arch, dst: /usr/bin/$program, file_info: {mode: 0755}}
  - {src: LICENSE, dst: /usr/share/doc/$name/copyright, file_info: {mode: 0644}}
  - {src: $work/completion.bash, dst: /usr/share/bash-completion/completions/$program, file_info: {mode: 0644}}
  - {src: $work/completion.zsh, dst: /usr/share/zsh/vendor-completions/_$program, file_info: {mode: 0644}}
  - {src: $work/completion.fish, dst: /usr/share/fish/vendor_completions.d/$program.fish, file_info: {mode: 0644}}
$more
scripts: {postinstall: $work/postinst.sh, preremove: $work/prerm.sh, postremove: $work/postrm.sh}
overrides:
  deb: {depends: [passwd], recommends: [python3]}
  rpm: {depends: [shadow-utils], recommends: [python3]}
rpm: {buildhost: localhost, compression: "gzip:9"}
deb: {compression: gzip}
YAML
  for format in deb rpm; do
    "$tools/nfpm" package --config "$work/nfpm.yaml" --packager "$format" --target "$dist" >/dev/null
  done
}

for arch in amd64 arm64; do
  for agent in sensor-agent action-agent; do
    package "$agent" "stavily-$agent" "$agent-*" "\
  - {src: docs/install.md, dst: /usr/share/doc/stavily-$agent/install.md, file_info: {mode: 0644}}
  - {src: configs/reference.yaml, dst: /usr/share/doc/stavily-$agent/reference.yaml, file_info: {mode: 0644}}" "$arch"
  done
  package stavily stavily-server stavily-server "\
  - {src: deployments/systemd/stavily-server.service, dst: /usr/lib/systemd/system/stavily-server.service, file_info: {mode: 0644}}" "$arch"
done

go run ./deployments/package -sums -dist "$dist"
(cd "$dist" && sha256sum --quiet --check SHA256SUMS)
ls -l "$dist"
