"""Tell as JSON who runs this and where its things are."""
import json
import os
import site
import sys
import sysconfig

places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
places += [os.path.dirname(os.__file__), os.path.dirname(os.path.realpath(sys.executable))]
scheme = "nt" if os.name == "nt" else "posix_prefix"
packages = sysconfig.get_path("purelib", scheme, {"base": ""}).lstrip("/\\")
venv = os.path.dirname(os.path.dirname(sys.executable))  # without site, sys.prefix does not tell
parent = os.path.join(venv, packages) if os.path.exists(os.path.join(venv, "pyvenv.cfg")) else ""
if parent:
    places.append(venv)
base = os.path.realpath(sys.executable)
if os.name == "nt":
    base = getattr(sys, "_base_executable", sys.executable)
print(
    json.dumps(
        {
            "path": sys.executable,
            "version": "%d.%d.%d" % sys.version_info[:3],
            "prefix": sorted(set(map(os.path.realpath, places))),
            "base": base,
            "packages": packages.replace("\\", "/"),
            "site": site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]),
            "parent": parent,
        }
    )
)
