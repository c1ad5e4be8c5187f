#!/usr/bin/env bash
# Builds the SDK's wheel twice, compares the bytes, installs it by pip from the file into a new
# environment, and runs a plugin and its test there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=$(scripts/sdk-wheel.sh "$work/a")
(umask 077 && scripts/sdk-wheel.sh "$work/b" >/dev/null)
cmp "$wheel" "$work/b/$(basename "$wheel")" || { echo "two builds of the same source differ" >&2; exit 1; }

"$python" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --no-index --disable-pip-version-check "$wheel"
cp sdk/python/tests/plugins/typed.py "$work/main.py"
cd "$work"
unset PYTHONPATH
env/bin/python -c "import stavily.tools.web"
env/bin/python -m stavily.manifest main.py | grep '^parameters:$' >/dev/null
env/bin/python - <<'EOF'
import os
import stavily
from stavily import testing
from stavily.tools import bounded, dbus, delivery, places, program, web
import main

assert "site-packages" in stavily.__file__, stavily.__file__
assert os.path.exists(os.path.join(os.path.dirname(stavily.__file__), "py.typed"))
assert testing.run_action(main.act, {"path": "/x"}, config={"roots": ["/x"]}) == {"allowed": True}
with testing.Session("main.py", config={"roots": []}) as plugin:
    assert plugin.execute({"path": "/x"})["data"] == {"allowed": False}
EOF
echo "ok: $(basename "$wheel"), $(stat -c %s "$wheel") bytes, $(sha256sum "$wheel" | cut -c1-12)"
