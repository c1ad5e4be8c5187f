"""Sends messages to a URL, as JSON."""

import json

import stavily
from delivery import deliver


@stavily.output
def webhook(message, ctx):
    """POST the message's content to config.url until it is taken or the retries are used up."""
    headers = {"Content-Type": "application/json", **ctx.config["headers"]}
    return deliver("POST", ctx.config.url, json.dumps(payload(message)).encode(), headers, ctx)


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
