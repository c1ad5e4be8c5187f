"""Sends messages to a URL, as JSON."""

import json

import stavily
from stavily.tools.delivery import deliver


@stavily.output
def webhook(message, ctx):
    """POST the message's content to config.url until it is taken or the retries are used up."""
    config = ctx.config
    headers = {"Content-Type": "application/json", **config["headers"]}
    body = json.dumps(payload(message)).encode()
    return deliver("POST", config.url, body, headers, ctx, timeout=config.timeout, retries=config.retries, ca_files=config.ca_files)


def payload(message):
    """What is sent: an object as it is, a text as {"text": …}, which Slack and its kin show."""
    content = message.as_dict().get("content")
    if isinstance(content, dict):
        return content
    if isinstance(content, str):
        return {"text": content}
    raise stavily.Refused("the message's content must be an object or a text, is {!r}".format(content))


if __name__ == "__main__":
    stavily.run()
