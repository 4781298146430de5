"""One model of a stress test: known by its files at once, loaded only where a text must be scored."""

from collections.abc import Sequence
from pathlib import Path

from llm_experiments.inputs import part_of
from llm_experiments.models import kind_of, load_reward_model, load_tokenizer, model_folder
from llm_experiments.pairs import Pair
from llm_experiments.reference_cache import cache_folder
from llm_experiments.settings import EncodingSettings, StressRequest
from llm_experiments.stress.folder import Cost
from llm_experiments.stress.scorers import ModelScorer, encode, limited
from llm_experiments.weights import adapter_base, load_config
from simulations.results import Row, UserError, read_json, write_json
from theory.rewards import KINDS, Kind


class Judge:
    """A reward model under the name of its scores.

    Raises:
        UserError: neither the model nor the request says which kind it is.
    """

    def __init__(self, request: StressRequest, name: str, source: str) -> None:
        self.request, self.name, self.source = request, name, source
        self.folder = model_folder(source)
        kind = kind_of(self.folder) or (None if request.kind == "auto" else request.kind)
        if kind is None:
            raise UserError(f"{source}: does not say which kind it is; give --kind, one of {', '.join(KINDS)}")
        self.kind: Kind = kind
        self.encoding = part_of(request, EncodingSettings)
        self._scorer: ModelScorer | None = None

    def scorer(self) -> ModelScorer:
        """Loads the model unless it is there."""
        if self._scorer is None:
            request, tokenizer = self.request, load_tokenizer(self.folder)
            model = load_reward_model(
                self.folder,
                self.kind,
                tokenizer=tokenizer,
                reference=request.reference,
                beta=request.beta,
                dtype=request.dtype,
                device=request.device,
                trained=True,
            )
            model.remember(cache_folder(request.cache))
            self._scorer = ModelScorer(
                model, tokenizer, self.encoding, batch_size=request.batch_size, tie_tolerance=request.tie_tolerance
            )
        return self._scorer

    def too_long(self, pairs: Sequence[Pair]) -> set[str]:
        """Ids of the pairs that this model cannot take; none where the request would rather stop at one."""
        if self.encoding.over_length == "error":
            return set()
        encoding = limited(self.encoding, load_config(adapter_base(self.folder) or self.folder))
        dropped = encode(pairs, load_tokenizer(self.folder), encoding)[1]
        return {name for name, reason in dropped.items() if reason.startswith("too long")}

    def release(self) -> None:
        """Forget the weights: the next model may need the room."""
        self._scorer = None

    def check_place(self, place: Path) -> None:
        """Raises UserError where the scores under this name are another model's."""
        if (place / "model.json").exists():
            found = read_json(place / "model.json")
            if (found["source"], found["kind"]) != (self.source, self.kind):
                raise UserError(
                    f"--model {self.source}: {place} holds the scores of {found['source']} ({found['kind']}); "
                    "rename the model's folder, or choose another --output"
                )

    def describe(self, place: Path, cost: Cost) -> None:
        """Write `model.json`: whose scores these are, and what they cost."""
        path = place / "model.json"
        row: Row = {"name": self.name, "source": self.source, "kind": self.kind, "notes": [], "cost": {}}
        if path.exists():
            row = read_json(path)
        if self._scorer is not None:
            row["notes"] = self._scorer.model.notes
        row["cost"] |= cost
        write_json(path, row)
