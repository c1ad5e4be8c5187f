"""[[title]]: greets somebody as often as it is told."""

import stavily


@stavily.action
def [[function]](params, ctx):
    """Greet params.name params.times times; the result has the greetings."""
    if not params.name.strip():
        raise stavily.Refused("name must not be empty")
    greetings = []
    for number in range(params.times):
        if ctx.cancelled:
            raise stavily.Cancelled("stopped after {} greetings".format(number), result={"greetings": greetings})
        greetings.append("{}, {}!".format(ctx.config.greeting, params.name))
        ctx.progress(100 * (number + 1) / params.times, greetings[-1])
    ctx.log.info("greeted %s", params.name)
    return {"greetings": greetings}


if __name__ == "__main__":
    stavily.run()
