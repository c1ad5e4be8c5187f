"""Looks at the source of a plugin without running it; `stavily plugin validate` runs this.

Standard input: {"files": [path, …], "configuration": [name, …] or null, "parameters": [name, …] or null}.
Standard output: {"python": version, "mistakes": [{file, line, column, message}, …], "used": [name, …]}.
A schema that is null takes everything, so nothing is said about it. `used` are the keys
of the configuration that the handlers name.
"""

import ast
import json
import sys
import tokenize

# What a handler is given, and which section of the manifest says what is in it.
GIVEN = {
    "sensor": {"config": "configuration"},
    "action": {"params": "parameters", "config": "configuration", "ctx.config": "configuration"},
    "output": {"message.content": "parameters", "config": "configuration", "ctx.config": "configuration"},
}


def main():
    asked = json.load(sys.stdin)
    mistakes, used = [], set()
    for path in asked["files"]:
        tree = parse(path, mistakes)
        for function, kind in handlers(tree) if tree is not None else ():
            for section, name, node in keys(function, GIVEN[kind]):
                if section == "configuration":
                    used.add(name)
                known = asked[section]
                if known is not None and name not in known:
                    message = "{}() reads {!r}, and the manifest's {} has no such key".format(function.name, name, section)
                    mistakes.append(mistake(path, node.lineno, node.col_offset + 1, message))
    version = "%d.%d.%d" % sys.version_info[:3]
    json.dump({"python": version, "mistakes": mistakes, "used": sorted(used)}, sys.stdout)


def mistake(path, line, column, message):
    return {"file": path, "line": line or 0, "column": column or 0, "message": message}


def parse(path, mistakes):
    """The tree of a file, or None and a mistake."""
    try:
        with tokenize.open(path) as file:
            return ast.parse(file.read(), path)
    except SyntaxError as error:
        mistakes.append(mistake(path, error.lineno, error.offset, "is not Python: {}".format(error.msg)))
    except (ValueError, RecursionError, MemoryError) as error:
        mistakes.append(mistake(path, 0, 0, "is not Python: {}".format(error)))
    return None


def handlers(tree):
    """The functions that the SDK is to call, each with its kind.

    One whose configuration is a class of its own is left out: the SDK holds that
    against the manifest.
    """
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for decorator in function.decorator_list:
            call = isinstance(decorator, ast.Call)
            name = dotted(decorator.func if call else decorator)
            own = call and any(keyword.arg not in ("interval", "push", None) for keyword in decorator.keywords)
            own = own or any(argument.annotation for argument in function.args.args)
            if name.startswith("stavily.") and name[len("stavily.") :] in GIVEN and not own:
                yield function, name[len("stavily.") :]


def keys(function, given):
    """The (section, key, node) that a handler reads by name: config.key, config["key"], config.get("key")."""
    called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and id(node) not in called:
            section = given.get(dotted(node.value))
            # "ctx.config" is itself an attribute: of ctx, which is no section.
            if section:
                yield section, node.attr, node
        elif isinstance(node, ast.Subscript):
            section, name = given.get(dotted(node.value)), constant(node.slice)
            if section and name is not None:
                yield section, name, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
            section, name = given.get(dotted(node.func.value)), constant(node.args[0])
            if section and name is not None:
                yield section, name, node


def dotted(node):
    """The names of an expression that is only names: "ctx.config", or ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return head + "." + node.attr if head else ""
    return ""


def constant(node):
    """The text that an expression is, or None."""
    node = getattr(node, "value", node) if type(node).__name__ == "Index" else node  # Python 3.8 wraps it
    value = getattr(node, "value", None)
    return value if isinstance(node, ast.Constant) and isinstance(value, str) else None


main()
