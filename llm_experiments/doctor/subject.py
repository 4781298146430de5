"""The model under examination, loaded the way other tools will load it, so that what they would get wrong shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm_experiments.heads import load_head
from llm_experiments.logprobs import pool_at
from llm_experiments.models import (
    LOAD_ERRORS,
    find_device,
    foreign_code,
    load_tokenizer,
    model_folder,
    quiet_transformers,
    read_manifest,
)
from llm_experiments.settings import DoctorRequest, Pooling
from llm_experiments.weights import (
    DTYPES,
    adapter_config,
    check_runs,
    check_size,
    first_line,
    load_config,
    without_weights,
)
from simulations.results import UserError
from theory.rewards import KINDS, Kind


@dataclass(frozen=True)
class Subject:
    """A model as it was loaded, and what it is taken for. `loading` names the parameters that were `missing` from the
    files, `mismatched` in shape, or `unexpected` in them; `stored` is the precision of the files, `pooling` where an
    explicit reward is read."""

    model: Any
    tokenizer: Any
    classifier: bool
    kinds: tuple[Kind, ...]
    loading: dict[str, set[str]]
    stored: str = "float32"
    pooling: Pooling = "last"

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def pad_id(self) -> int:
        """What a tokenizer would pad with."""
        for pad in (self.tokenizer.pad_token_id, self.config.get_text_config().pad_token_id):
            if pad is not None:
                return pad
        return 0

    @property
    def stops(self) -> set[int]:
        """Ids at which the model stops generating, where it says so. Classifiers do not generate."""
        for holder in (getattr(self.model, "generation_config", None), self.config.get_text_config()):
            stops = getattr(holder, "eos_token_id", None)
            if stops is not None and not self.classifier:
                return set(stops) if isinstance(stops, list | tuple) else {stops}
        return set()


class HeadedBackbone(nn.Module):
    """An explicit reward model of a family without a classifier class: the backbone and the head beside it."""

    def __init__(self, base_model: Any, weight: torch.Tensor) -> None:
        super().__init__()
        self.base_model, self.config, self.dtype = base_model, base_model.config, base_model.dtype
        self.config.num_labels = 1
        self.config.get_text_config().pad_token_id = -1  # pooled by mask: any token may end a response
        self.score = nn.Linear(weight.shape[1], 1, bias=False)
        self.score.weight.data = weight

    @property
    def device(self) -> torch.device:
        return self.base_model.device

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.get_input_embeddings()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> Any:
        from transformers.modeling_outputs import SequenceClassifierOutput

        hidden = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        last = (attention_mask * places).argmax(-1)
        return SequenceClassifierOutput(logits=self.score(pool_at(hidden, last).float()))


def load_subject(request: DoctorRequest) -> Subject:
    """Raises UserError where model or tokenizer cannot be loaded, or is not of the kind that was asked for."""
    import transformers

    source = str(model_folder(request.model))
    manifest = read_manifest(source)
    if manifest and request.kind not in ("auto", manifest["kind"]):
        raise UserError(f"{source}: is a reward model of kind {manifest['kind']}; use --kind {manifest['kind']}")
    if manifest.get("kind") == "explicit":
        load_head(Path(source))  # what rewardgap reads, whatever stands in the classifier
    with quiet_transformers():
        try:
            adapter = adapter_config(source)
            config = load_config(adapter.get("base_model_name_or_path") or source)
            check_size(config, source)
            classifier = _is_classifier(adapter, config) and request.kind in ("auto", "explicit")
            options = {
                "dtype": DTYPES[request.dtype],
                "use_safetensors": True,
                "output_loading_info": True,
                "trust_remote_code": False,
            }
            if manifest.get("format") == "backbone":
                model, loading = transformers.AutoModel.from_pretrained(source, **options)
                model = HeadedBackbone(model, load_head(Path(source)))
                classifier = True
            else:
                loader = (
                    transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModelForCausalLM
                )
                if classifier and adapter:
                    options["num_labels"] = 1
                model, loading = loader.from_pretrained(source, ignore_mismatched_sizes=True, **options)
        except UserError:
            raise
        except LOAD_ERRORS as error:
            told = foreign_code(source, error) or without_weights(source)
            raise UserError(
                told or f"{source}: no model could be loaded ({first_line(error)}); download or save it again"
            ) from None
    kinds: tuple[Kind, ...] = KINDS if request.kind == "auto" else (request.kind,)
    if manifest or classifier:
        kinds = (manifest.get("kind", "explicit"),)
    model = model.to(find_device(request.device)).eval()
    check_runs(model, source)
    stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    pooling = manifest.get("pooling") or "last"
    return Subject(model, load_tokenizer(source), classifier, kinds, _keys(loading), stored, pooling)


def _is_classifier(adapter: dict[str, Any], config: Any) -> bool:
    if adapter.get("task_type"):
        return adapter["task_type"] == "SEQ_CLS"
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def _keys(loading: dict[str, Any]) -> dict[str, set[str]]:
    """Names alone; a mismatched key comes with its two shapes."""
    return {
        name: {key if isinstance(key, str) else key[0] for key in loading.get(f"{name}_keys", ())}
        for name in ("missing", "mismatched", "unexpected")
    }
