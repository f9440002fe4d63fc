"""What is of the wrong colour: the one that has another than the rest of its like. Free of torch.

No picture says which colour is right, and a model that is asked for "cap of the wrong colour" has to compare all caps
to answer. It is far surer of the colours: so it is asked for the things in each of them and for what they lie on, and
`geometry.of_another_color` compares.
"""

from __future__ import annotations

from functools import lru_cache

from simvg_core.sayings import REMEMBERED
from simvg_core.trained import plain_name, trained_meaning

COLORS = ("red", "orange", "yellow", "green", "blue", "white", "black", "grey")
"""Of moulded things: metals are no colours of theirs."""
GROUND = "plate"
"""What a thing lies on together with its like; where none is in view, the view itself."""


@lru_cache(REMEMBERED)
def odd_thing(part: str) -> str | None:
    """The thing of which a part of a text means the one of the wrong colour: "cap"; None of any other part."""
    said = trained_meaning(part)
    return None if said is None or said.concept.state != "wrong_color" else plain_name(said.concept)


def rows_of(thing: str) -> tuple[str, ...]:
    """What a model is asked for the odd one of a thing: the thing in each colour, and last what it lies on."""
    return (*(f"{color} {thing}" for color in COLORS), GROUND)
