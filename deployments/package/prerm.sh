#!/bin/sh
# Before the files of @PACKAGE@ go; $1 is "remove" or "upgrade" (deb), 0 or 1 (rpm).
set -e
case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
for unit in /etc/systemd/system/@UNITS@.service /usr/lib/systemd/system/@UNITS@.service; do
  # A program elsewhere is not ours, and its agents go on.
  if grep -q '^ExecStart="\{0,1\}/usr/bin/@PROGRAM@[" ]' "$unit" 2>/dev/null; then
    systemctl disable --now "${unit##*/}"
  fi
done
