#!/bin/sh
# After the files of @PACKAGE@ are in place.
set -e
if ! getent passwd stavily >/dev/null; then
  useradd --system --user-group --no-create-home --shell /bin/false --home-dir /var/lib/stavily stavily
fi
[ -d /var/lib/stavily ] || install -d -m 755 -o stavily -g stavily /var/lib/stavily
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart '@UNITS@.service' # an upgrade: what runs goes on with the new program
fi
