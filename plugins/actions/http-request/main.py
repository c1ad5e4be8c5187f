"""Sends a request to a URL that the host's owner allowed, and returns the answer."""

import json
import time
import urllib.parse

import stavily
from stavily.tools.web import NoAnswer, checked, exchange


@stavily.action
def http_request(params, ctx):
    """Ask params.url once; returns status, headers and body, and fails for a status that is not ok."""
    url = allowed(params.url, ctx.config.urls)
    headers, body = request(params, ctx)
    begin = time.monotonic()
    timeout = max(0.001, min(params.timeout, ctx.remaining))
    try:
        answer = exchange(
            params.method, url, headers=headers, timeout=timeout, body=body, most=ctx.config.max_bytes, ca_files=ctx.config.ca_files
        )
    except NoAnswer as error:
        raise stavily.Failed(str(error)) from error
    result = described(answer)
    result["duration_seconds"] = round(time.monotonic() - begin, 3)
    ok = answer.status in params.ok_status if params.ok_status else 200 <= answer.status < 300
    if not ok:
        told = "{} answers {} {}".format(url.hostname, answer.status, answer.reason)
        if 300 <= answer.status < 400:
            told += ", which leads to {}: ask that URL".format(answer.headers.get("Location"))
        raise stavily.Failed(told, result)
    return result


def allowed(url, urls):
    """The parts of a URL that is one of those allowed or below one; Refused otherwise."""
    parts = parsed(url, "url")
    # What a server makes of these is its own affair, and could lead out of the path that is allowed.
    if any(segment in (".", "..") for segment in urllib.parse.unquote(parts.path).replace("\\", "/").split("/")):
        raise stavily.Refused("the path of url must not hold . or ..")
    for entry in urls:
        base = parsed(entry, "config.urls")
        if origin(base) == origin(parts) and (parts.path + "/").startswith(base.path.rstrip("/") + "/"):
            return parts
    raise stavily.Refused("{}://{}{} is not among the URLs that this host allows".format(parts.scheme, parts.netloc, parts.path))


def parsed(url, name):
    """The parts of a URL; Refused with a sentence where it is none."""
    try:
        return checked(url, name)
    except ValueError as error:
        raise stavily.Refused(str(error)) from error


def origin(parts):
    """Scheme, host and port."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def request(params, ctx):
    """Headers and body of the request; those that the owner set cannot be changed."""
    headers, body = {"User-Agent": "stavily", "Idempotency-Key": ctx.idempotency_key}, None
    content = params.get("body")
    if isinstance(content, str):
        body = content.encode()
    elif content is not None:
        plain = content.as_dict() if isinstance(content, stavily.Settings) else content
        headers["Content-Type"], body = "application/json", json.dumps(plain).encode()
    fixed = {name.lower() for name in ctx.config["headers"]}
    for name, value in params["headers"].items():
        if name.lower() in fixed or name.lower() in ("host", "content-length", "transfer-encoding"):
            raise stavily.Refused("header {} is not for an instruction to set".format(name))
        headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
        headers[name] = str(value)
    return {**headers, **ctx.config["headers"]}, body


def described(answer):
    """The answer as a result: `json` where the body is, else `body` as text."""
    result = {"status": answer.status, "headers": {name.lower(): value for name, value in answer.headers.items()}, "truncated": answer.cut}
    text = answer.body.decode("utf-8", "replace")
    if not answer.cut and "json" in answer.headers.get("Content-Type", ""):
        try:
            return {**result, "json": json.loads(text)}
        except ValueError:
            pass
    return {**result, "body": text}


if __name__ == "__main__":
    stavily.run()
