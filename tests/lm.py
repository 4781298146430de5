"""Small language models and a tokenizer for the tests, built from config in milliseconds; nothing is downloaded."""

from functools import cache
from typing import Any

import torch

from llm_experiments.encoding import EncodedPair

VOCABULARY = 300
KINDS = ("explicit", "implicit", "generative")
WINDOW = 24  # shorter than the tests' sequences, yet two layers of it reach over the verification question

# Every family at the smallest size that still has its peculiarities: config class, and what differs from SIZES.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SLIDING_AND_FULL = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("GemmaConfig", {}),
    "gemma2": ("Gemma2Config", {"query_pre_attn_scalar": 8, **_SLIDING_AND_FULL}),
    "gemma3": ("Gemma3TextConfig", {"query_pre_attn_scalar": 8, "final_logit_softcapping": 20.0, **_SLIDING_AND_FULL}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral_windowed": ("MistralConfig", {"sliding_window": WINDOW}),
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": WINDOW}),
    "qwen3": ("Qwen3Config", {}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt2": ("GPT2Config", {}),  # learnt positions: the rotary ones of all others see distances alone
    "cohere": ("CohereConfig", {"logit_scale": 1.5}),
    "granite": ("GraniteConfig", {"logits_scaling": 0.5}),
}


def family(name: str, *, tied: bool, seed: int = 0, factor: float = 0.0, **sizes: Any) -> Any:
    """A random model of one of FAMILIES, with weights and logits large enough to see a mistake."""
    import transformers

    config_name, changes = FAMILIES[name]
    config = getattr(transformers, config_name)(**SIZES | changes | sizes, tie_word_embeddings=tied)
    # GPT-2's position embeddings grow with the rest; at 12 its P(Yes) would be zero
    return _enlarged(config, seed, factor or (5.0 if name == "gpt2" else 12.0))


@cache
def tokenizer() -> Any:
    """Byte-level BPE with <pad>, <bos>, <eos>, <unk> and single tokens for Yes and No."""
    from llm_experiments.pretraining import train_tokenizer
    from llm_experiments.settings import PretrainSettings

    return train_tokenizer(["Yes\nNo\nYes No"] * 50, PretrainSettings(vocab_size=VOCABULARY))


def language_model(architecture: str = "mistral", *, tied: bool | None = None, seed: int = 0, **changes: Any) -> Any:
    """Random weights, larger than an initialisation's, so that log-probabilities and rewards differ visibly."""
    from llm_experiments.pretraining import build_config

    config = build_config(architecture, vocab_size=VOCABULARY, hidden=32, layers=2, heads=2, tied=tied)
    for name, value in changes.items():
        setattr(config, name, value)
    return _enlarged(config, seed)


def _enlarged(config: Any, seed: int, factor: float = 5.0) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.mul_(factor)
    return model.eval()


def random_pairs(
    count: int, *, response: int = 8, prompt: int = 5, seed: int = 0, jitter: bool = True
) -> list[EncodedPair]:
    """Pairs of random tokens; with `jitter`, prompts and responses differ in length."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(4, VOCABULARY, (length,), generator=generator).tolist())

    def size(length: int) -> int:
        extra = torch.randint(0, max(2, length // 2), (1,), generator=generator).item() if jitter else 0
        return int(length - extra)

    return [
        EncodedPair(
            f"pair/{number}", "", (1, *ids(size(prompt))), ids(size(response)), ids(response), (1, *ids(3)), ids(4)
        )
        for number in range(count)
    ]
