"""Which shifts a request asks for: transformations x strengths x sides, rewrites, and a grid of combined ones."""

from collections.abc import Sequence
from typing import Any

from llm_experiments.pairs import Pair
from llm_experiments.settings import StressRequest
from llm_experiments.stress.catalogue import DEFAULT_SUITE, TRANSFORMATIONS, by_name
from llm_experiments.stress.rewrites import read_rewrites
from llm_experiments.stress.shifts import Shift, combined, shift_by
from llm_experiments.stress.transformation import Transformation
from simulations.results import UserError

FULL_STRENGTHS = (0.25, 0.5, 1.0)
INVARIANCE_SIDES = ("responses", "prompt")
GRID = 3  # families of either side of which one transformation is combined


def plan(request: StressRequest, pairs: Sequence[Pair]) -> tuple[list[Shift], list[str]]:
    """The shifts in order, and what there is to tell about them.

    Raises:
        UserError: an unknown transformation, side or strength, or rewrites that match nothing.
    """
    for side in request.sides:
        if side not in INVARIANCE_SIDES:
            raise UserError(f"--sides must be of {', '.join(INVARIANCE_SIDES)}, got {side!r}")
    for strength in request.strength:
        if not 0 < strength <= 1:
            raise UserError(f"--strength must be above 0 (which changes nothing) and at most 1, got {strength:g}")
    strengths = FULL_STRENGTHS if request.full else tuple(sorted(set(request.strength)))
    sides = INVARIANCE_SIDES if request.full else tuple(dict.fromkeys(request.sides))
    shifts, notes = [], []
    for transformation in transformations(request):
        for side in _sides(transformation, sides, full=request.full):
            shifts += [shift_by(transformation, strength, side, seed=request.seed) for strength in strengths]
    names = [shift.name for shift in shifts]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--transforms: two of them are called {name!r}; rename one of the models' folders")
    names = [shift.transformation for shift in shifts]
    for source in request.rewrites:
        rewrites = read_rewrites(source, pairs, split=request.split)
        if rewrites.name in names:
            raise UserError(f"--rewrites {source}: {rewrites.name!r} is another shift's name already; rename the file")
        names.append(rewrites.name)
        shifts.append(rewrites.shift())
        notes.append(str(rewrites))
    shifts += grid(shifts)
    if not shifts:
        raise UserError("--transforms none leaves nothing to do; give --rewrites, or leave --transforms out")
    return shifts, notes


def transformations(request: StressRequest) -> list[Transformation]:
    """Those asked for: the default suite, with --full or `all` every one, or none."""
    if request.transforms == ("none",):
        return []
    if request.transforms == ("all",) or (request.full and not request.transforms):
        return list(TRANSFORMATIONS)
    return by_name(request.transforms or DEFAULT_SUITE)


def grid(shifts: Sequence[Shift]) -> list[Shift]:
    """Prompt x responses for the first invariance edit of the first few families of either side, at the greatest
    strength; none unless both sides are asked for."""
    parts = []
    for side in ("prompt", "responses"):
        some = [shift for shift in shifts if shift.side == side and shift.purpose == "invariance"]
        greatest = max((shift.strength for shift in some if shift.family != "rewrites"), default=1.0)
        families = {shift.family: shift for shift in reversed(some) if shift.strength == greatest}
        firsts = [shift for shift in some if families.get(shift.family) is shift]
        parts.append(firsts[:GRID])
    return [combined(first, second) for first in parts[0] for second in parts[1]]


def _sides(transformation: Transformation, sides: Sequence[str], *, full: bool) -> list[Any]:
    if transformation.purpose == "sensitivity":  # of the sides that it may damage, the chosen one unless asked for all
        return list(transformation.sides if full else transformation.sides[:1])
    return [side for side in sides if side in transformation.sides]
