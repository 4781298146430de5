"""Every transformation, and the ten of the default suite."""

from collections.abc import Sequence
from difflib import get_close_matches

from llm_experiments.stress.transformation import Transformation
from llm_experiments.stress.transforms import case, whitespace
from simulations.results import UserError

TRANSFORMATIONS: tuple[Transformation, ...] = (
    *case.TRANSFORMATIONS,
    *whitespace.TRANSFORMATIONS,
)

DEFAULT_SUITE: tuple[str, ...] = ("uppercase", "lowercase", "extra_spaces")


def by_name(names: Sequence[str]) -> list[Transformation]:
    """The transformations of these names, in the order asked for.

    Raises:
        UserError: a name is unknown; the message has those that come close.
    """
    known = {transformation.name: transformation for transformation in TRANSFORMATIONS}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.5)
            raise UserError(
                f"--transforms: {name!r} is no transformation"
                + (f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(known)}")
            )
    return [known[name] for name in dict.fromkeys(names)]
