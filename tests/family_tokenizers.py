"""Tokenizers as the families publish them, small: what each does about beginning, end, padding, blanks and turns.

gemma    blanks as a word's first letter, BOS written by the tokenizer and by the template, no system role, its turns
         end with a token and a line break
llama    a blank put before every text, BOS written, no padding, no template
mistral  as llama, with a template that writes BOS and EOS
qwen     byte-level, no BOS, turns end with the end token and a line break, padded with another token
neox     byte-level, one token that is beginning, end and unknown, no padding, no template (Pythia)
"""

import copy
from functools import cache
from typing import Any

LINES = ["Yes", "No", "Yes No", "Question: Is ice cold?", "Answer: Yes.", "Is the answer correct (Yes/No)?"] * 50

_TURNS = "{% for m in messages %}"
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + _TURNS
    + "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}" + _TURNS + "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + _TURNS
    + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STYLES = ("gemma", "llama", "mistral", "qwen", "neox")
# which of them a family comes with
STYLE_OF = {
    "gemma": "gemma", "gemma2": "gemma", "gemma3": "gemma", "mistral": "mistral", "mistral_windowed": "mistral",
    "llama": "llama", "qwen2": "qwen", "qwen3": "qwen", "gpt_neox": "neox", "cohere": "gemma", "granite": "neox",
    "gpt2": "neox",
}  # fmt: skip


@cache
def _styled(style: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if style in ("qwen", "neox"):
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        names = {
            "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            "neox": ["<|endoftext|>", "<|padding|>"],
        }[style]
        marks = {
            "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
            "neox": {"bos_token": names[0], "eos_token": names[0], "unk_token": names[0]},
        }[style]
    else:
        inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never" if style == "gemma" else "first")
        inner.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
        names = ["<pad>", "<bos>", "<eos>", "<unk>"] if style == "gemma" else ["<unk>", "<s>", "</s>"]
        names += [f"<0x{byte:02X}>" for byte in range(256)]
        alphabet = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,?!:()/\n\u2581")
        marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        if style == "gemma":
            marks = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
            names += ["<start_of_turn>", "<end_of_turn>"]
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False, initial_alphabet=alphabet, special_tokens=names)
    inner.train_from_iterator(LINES, trainer)
    if style in ("gemma", "llama", "mistral"):
        bos = marks["bos_token"]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
        )
    one = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **marks)
    one.chat_template = {"gemma": GEMMA, "mistral": MISTRAL, "qwen": QWEN}.get(style)
    return one


def of_family(name: str) -> Any:
    return styled(STYLE_OF[name])


def styled(style: str) -> Any:
    """A copy that may be broken."""
    return copy.deepcopy(_styled(style))
