import stavily


@stavily.action
def html(params, ctx):
    return {"page": "<p>&</p>" * 20000}


if __name__ == "__main__":
    stavily.run()
