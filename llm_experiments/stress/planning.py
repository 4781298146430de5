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
GRID = 3  # transformations of either side that are combined


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
    """Prompt x responses for the first few invariance edits of either side, at the greatest strength; none unless
    both sides are asked for."""
    parts = []
    for side in ("prompt", "responses"):
        some = [shift for shift in shifts if shift.side == side and shift.purpose == "invariance"]
        greatest = max((shift.strength for shift in some if shift.family != "rewrites"), default=1.0)
        parts.append([shift for shift in some if shift.strength == greatest][:GRID])
    return [combined(first, second) for first in parts[0] for second in parts[1]]


def _sides(transformation: Transformation, sides: Sequence[str], *, full: bool) -> list[Any]:
    if transformation.purpose == "sensitivity":
        return ["chosen", "rejected"] if full else ["chosen"]
    return [side for side in sides if side in transformation.sides]
