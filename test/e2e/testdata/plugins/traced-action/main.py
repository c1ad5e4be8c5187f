"""Answers with the trace that it belongs to."""

import os

import stavily


@stavily.action
def traced_action(params, ctx):
    """Return what a call to another service would carry."""
    return {"headers": ctx.trace_headers(), "trace_id": ctx.trace_id, "environment": os.environ.get("TRACEPARENT", "")}


if __name__ == "__main__":
    stavily.run()
