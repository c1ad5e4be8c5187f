"""An action whose configuration and parameters are dataclasses."""

from dataclasses import dataclass
from typing import Dict, List

import stavily


@dataclass
class Config:
    roots: List[str] = stavily.field([])


@dataclass
class Params:
    path: str = stavily.field(description="Größe")


@stavily.action
def act(params: Params, config: Config, ctx: stavily.Context, state: stavily.State) -> Dict[str, bool]:
    ctx.log.info("running within %s", stavily.host.var())
    return {"allowed": params.path in config.roots}


if __name__ == "__main__":
    stavily.run()
