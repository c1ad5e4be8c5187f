#!/bin/sh
# After the files of @PACKAGE@ are gone; purging (deb) takes its units too. What agents
# and the server keep in /var/lib/stavily, their keys among it, is the owner's to remove.
set -e
if [ "$1" = purge ]; then
  # shellcheck disable=SC2043 # the name becomes a pattern
  for unit in /etc/systemd/system/@UNITS@.service; do
    if grep -q '^ExecStart="\{0,1\}/usr/bin/@PROGRAM@[" ]' "$unit" 2>/dev/null; then
      rm -f "$unit"
    fi
  done
  rmdir /var/lib/stavily 2>/dev/null || :
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload
