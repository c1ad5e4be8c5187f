"""Tell as JSON what this interpreter's host has of pip, the fastest to start first."""
import glob
import importlib.util
import json
import os
import sysconfig

found = importlib.util.find_spec("pip")
modules = list(found.submodule_search_locations or []) if found else []
places = [os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled")]
places += [sysconfig.get_config_var("WHEEL_PKG_DIR") or "", "/usr/share/python-wheels"]
wheels = [wheel for place in places if place for wheel in sorted(glob.glob(os.path.join(place, "pip-*.whl")))]
print(json.dumps({"modules": modules, "wheels": wheels}))
