"""Install packages into the environment whose interpreter runs this, and compile them.

The argument says as JSON where pip is, what it is to do, and what is compiled. Of the
packages nothing is imported, unless they are built from source.
"""
import compileall
import json
import py_compile
import runpy
import sys


def install(pip, arguments):
    sys.path.insert(0, pip)
    sys.argv = ["pip"] + arguments
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code
    return 0


def main(order):
    code = install(order["pip"], order["arguments"])
    if code:
        return code
    print("Compiling", flush=True)
    # Unchecked: nothing here changes any more, and plugins need not look. Files for
    # another version of Python, which some packages bring, do not compile.
    compileall.compile_dir(
        order["packages"],
        ddir=order["final"],
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return 0


sys.exit(main(json.loads(sys.argv[1])))
