"""From text to tokens: the boundary, one BOS, the end, the length limit, and the audit that says what happened."""

import copy
import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_experiments.answers import answer_tokens
from llm_experiments.encoding import encode_pairs
from llm_experiments.pairs import Pair, PairSet, load_pairs
from llm_experiments.rendering import render_pair
from llm_experiments.settings import EncodingSettings
from simulations.results import UserError
from tests.lm import KINDS, tokenizer

GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<turn>' + m.role + '\n' + m.content | trim + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}"
)
# what a prompt ends with is not what the whole has in its place: thinking is opened, then cut from the record
THINKING = GEMMA.replace("{{ '<turn>assistant\n' }}", "{{ '<turn>assistant\n<think>\n' }}")


@cache
def chat_tokenizer(template=GEMMA):
    chat = copy.deepcopy(tokenizer())
    chat.add_special_tokens({"additional_special_tokens": ["<turn>", "<end>"]})
    chat.chat_template = template
    return chat


def without_bos():
    plain = copy.deepcopy(tokenizer())
    plain.bos_token = None
    return plain


def pair(prompt="Is it?", chosen=" Yes it is", rejected=" No", name="p"):
    return Pair(name, "", prompt, chosen, rejected)


def encode(*pairs, tokens=None, **options):
    return encode_pairs(pairs, tokens or tokenizer(), EncodingSettings(**options))


def text(ids, tokens=None):
    return (tokens or tokenizer()).decode(ids)


def test_plain_text_is_prompt_then_response_with_one_bos_and_one_end():
    (one,), audit = encode(pair())
    assert text(one.prompt_ids) == "<bos>Is it?"
    assert text(one.chosen_ids) == " Yes it is<eos>"
    assert text(one.verify_prefix_ids) == "<bos>Question: Is it?\nAnswer:"
    assert text(one.verify_suffix_ids) == "\nIs the answer correct (Yes/No)?\n"
    assert (audit.chosen_terminated, audit.with_one_bos, audit.template) == (1.0, 1.0, False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_the_same_response_tokens(kind):
    for tokens in (tokenizer(), chat_tokenizer()):
        (one,), _ = encode(pair(), tokens=tokens)
        for side, response in (("chosen", one.chosen_ids), ("rejected", one.rejected_ids)):
            ids, start = one.sequence(kind, side)
            assert ids[start : start + len(response)] == response
            assert ids.count(tokens.bos_token_id) == 1


def test_terminator_policies():
    ends = {
        policy: encode(pair(chosen=" Yes<eos>"), terminator=policy)[0][0] for policy in ("ensure", "as_is", "strip")
    }
    assert {p: (text(e.chosen_ids), text(e.rejected_ids)) for p, e in ends.items()} == {
        "ensure": (" Yes<eos>", " No<eos>"),
        "as_is": (" Yes<eos>", " No"),
        "strip": (" Yes", " No"),
    }
    _, audit = encode(pair(chosen=" Yes<eos>"), terminator="as_is")
    assert (audit.chosen_terminated, audit.rejected_terminated) == (1.0, 0.0)


def test_a_templates_end_is_its_end_of_turn_and_not_the_line_break_after_it():
    chat = chat_tokenizer()
    ends = {policy: encode(pair(), tokens=chat, terminator=policy)[0][0] for policy in ("ensure", "as_is", "strip")}
    assert text(ends["ensure"].prompt_ids, chat) == "<bos><turn>user\nIs it?<end>\n<turn>assistant\n"
    assert text(ends["ensure"].chosen_ids, chat) == "Yes it is<end>"
    assert text(ends["as_is"].chosen_ids, chat) == "Yes it is<end>\n"
    assert text(ends["strip"].chosen_ids, chat) == "Yes it is"
    assert text(ends["ensure"].verify_prefix_ids, chat) == "<bos><turn>user\nQuestion: Is it?\nAnswer: "
    assert text(ends["ensure"].verify_suffix_ids, chat) == ("\nIs the answer correct (Yes/No)?<end>\n<turn>assistant\n")


def test_a_tokenizer_without_bos_gets_none_and_without_eos_cannot_ensure_one():
    (one,), audit = encode(pair(), tokens=without_bos())
    assert text(one.prompt_ids) == "Is it?"
    assert audit.bos_token == ""
    endless = copy.deepcopy(tokenizer())
    endless.eos_token = None
    with pytest.raises(UserError, match=r"no end-of-sequence token.*--terminator as_is"):
        encode(pair(), tokens=endless)
    assert text(encode(pair(), tokens=endless, terminator="strip")[0][0].chosen_ids) == " Yes it is"


def test_a_token_that_would_straddle_the_boundary_is_not_made():
    """ "Ye" + "s" would be the one token "Yes": the prompt's last token must not depend on the response."""
    (one,), audit = encode(pair(prompt="Ye", chosen="s", rejected="p"))
    assert text(one.prompt_ids) == "<bos>Ye"
    assert text(one.chosen_ids) == "s<eos>"
    assert list(audit.notes.values()) == [1]


def test_a_template_whose_prompt_is_no_beginning_of_the_whole():
    chat = chat_tokenizer(THINKING)
    (one,), audit = encode(pair(), tokens=chat)
    assert text(one.prompt_ids, chat) == "<bos><turn>user\nIs it?<end>\n<turn>assistant\n"
    assert text(one.chosen_ids, chat) == "Yes it is<end>"
    assert audit.notes == {"boundary at the common prefix (the template rewrites the prompt)": 1}


def test_system_turns_and_transcripts_under_a_template():
    chat, answer = chat_tokenizer(), ({"role": "assistant", "content": "Yes"},)
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"})
    (one,), audit = encode(pair(messages, answer, ({"role": "assistant", "content": "No"},)), tokens=chat)
    assert text(one.prompt_ids, chat) == "<bos><turn>user\nBe brief.\n\nIs it?<end>\n<turn>assistant\n"
    assert audit.notes == {"turns merged for the template": 1}
    transcript = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Is it?\n\nAssistant:"
    (one,), _ = encode(pair(transcript), tokens=chat)
    assert text(one.prompt_ids, chat) == (
        "<bos><turn>user\nHello<end>\n<turn>assistant\nHi.<end>\n<turn>user\nIs it?<end>\n<turn>assistant\n"
    )
    (one,), _ = encode(pair(transcript))
    assert text(one.prompt_ids) == "<bos>" + transcript


def test_length_is_decided_on_the_longest_encoding_of_any_kind():
    (one,), _ = encode(pair(), max_length=0)
    around = len(one.verify_prefix_ids) + len(one.verify_suffix_ids)
    assert one.longest == around + len(one.chosen_ids) > len(one.prompt_ids) + len(one.chosen_ids)
    short = pair(prompt="I?", name="short")
    kept, audit = encode(pair(), short, max_length=one.longest - 1)
    assert [p.id for p in kept] == ["short"]
    assert audit.dropped_ids == {"too long": ("p",)}
    with pytest.raises(UserError, match=r"pair 'p': \d+ tokens, more than --max_length .*--over_length"):
        encode(pair(), max_length=one.longest - 1, over_length="error")
    with pytest.raises(UserError, match=r"no pair is left after encoding .2 too long.*--max_length"):
        encode(pair(), short, max_length=5)


@pytest.mark.parametrize("chat", [False, True])
def test_truncation_cuts_the_prompt_from_the_left_and_never_the_response(chat):
    tokens = chat_tokenizer() if chat else tokenizer()
    long = pair(prompt="Once upon a time there was a question. " * 9 + "Is it?")
    (whole,), _ = encode(long, tokens=tokens, max_length=0)
    (cut,), audit = encode(long, tokens=tokens, max_length=80, over_length="truncate_prompt")
    assert cut.longest == 80
    assert (cut.chosen_ids, cut.rejected_ids) == (whole.chosen_ids, whole.rejected_ids)
    tail = "Is it?<end>\n<turn>assistant\n" if chat else "Is it?"
    assert text(cut.prompt_ids, tokens).endswith(tail)
    assert text(cut.prompt_ids, tokens).startswith("<bos><turn>user\n" if chat else "<bos>")
    assert text(cut.verify_prefix_ids, tokens).startswith("<bos><turn>user\nQuestion:" if chat else "<bos>Question:")
    assert cut.verify_suffix_ids == whole.verify_suffix_ids
    assert audit.notes == {"prompt truncated": 1}
    with pytest.raises(UserError, match=r"1 too long without its prompt"):
        encode(long, tokens=tokens, max_length=12, over_length="truncate_prompt")


def test_a_pairs_tokens_do_not_depend_on_its_companions():
    pairs = [pair(prompt="Tell me. " * n + "Is it?", name=str(n)) for n in range(1, 30, 4)]
    together, _ = encode(*pairs, max_length=70, over_length="truncate_prompt")
    alone = [encode(one, max_length=70, over_length="truncate_prompt")[0][0] for one in pairs]
    assert together == alone


def test_pairs_that_vanish_in_tokens_follow_bad_pairs():
    empty = Pair("e", "", "", " a", " b")
    with pytest.raises(UserError, match=r"pair 'e': the prompt has no tokens.*--bad_pairs drop"):
        encode(empty, tokens=without_bos())
    kept, audit = encode(empty, pair(), tokens=without_bos(), bad_pairs="drop")
    assert len(kept) == audit.kept == 1
    assert audit.pairs_in == 2
    with pytest.raises(UserError, match="chosen response has no tokens"):
        encode(pair(chosen="<eos>"))


def test_the_audit_counts_everything_and_its_hash_tells_tokens_apart():
    source = PairSet(
        "file", (pair(name="a"), pair(name="b", rejected=" Never")), {"the chosen response is empty": ("c",)}
    )
    _, audit = encode_pairs(source, tokenizer())
    assert (audit.pairs_in, audit.kept, audit.dropped) == (3, 2, {"the chosen response is empty": 1})
    assert "2 of 3 kept" in str(audit)
    assert "100% of chosen, 100% of rejected" in str(audit)
    assert audit.to_row()["token_hash"] == encode_pairs(source, tokenizer())[1].token_hash
    assert audit.token_hash != encode_pairs(source, tokenizer(), EncodingSettings(terminator="strip"))[1].token_hash


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        ("ab", {}),
        ("aab", {"exact repeats of earlier pairs": 1}),
        ("aAb", {"pairs that occur the other way round as well": 2}),
        ("aaaAb", {"exact repeats of earlier pairs, 4 pairs that occur the other way round as well": 2}),
    ],
)
def test_repeated_and_reversed_pairs_are_noted(names, notes):
    sides = {"a": (" Yes", " No"), "A": (" No", " Yes"), "b": (" Yes", " Never")}
    made = [pair("Is it?", *sides[name], name=str(number)) for number, name in enumerate(names)]
    assert encode(*made)[1].notes == notes


def test_the_audit_says_which_prompts_are_what_both_texts_begin_with(tmp_path):
    rows = [{"chosen": "It is hot.", "rejected": "It is cold."}, {"chosen": "Look up.", "rejected": "Look down."}]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "prompt      the shared beginning of chosen and rejected"
    assert f"{said}, 4 characters on average" in str(encode_pairs(load_pairs(tmp_path / "set.jsonl"), tokenizer())[1])
    with (tmp_path / "set.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "Is it?", "chosen": "Yes", "rejected": "No"}))
    audit = encode_pairs(load_pairs(tmp_path / "set.jsonl"), tokenizer())[1]
    assert f"{said} in 2 of 3 pairs, 4 characters on average" in str(audit)


WORDS = st.text(st.characters(), min_size=1, max_size=20)  # lone surrogates included


@settings(max_examples=60, deadline=None)
@given(prompt=WORDS, chosen=WORDS, rejected=WORDS)
def test_any_text_encodes_and_decodes_to_itself(prompt, chosen, rejected):
    """Byte-level BPE loses nothing, so prompt and response must come back, whatever they hold."""
    try:
        (one,), _ = encode(pair(prompt, chosen, rejected), terminator="strip")
    except UserError:
        clean = [words.encode("utf-8", "replace") for words in (chosen, rejected)]
        assert clean[0] == clean[1]  # half a surrogate pair becomes "?"
        return
    whole = render_pair(pair(prompt, chosen, rejected), tokenizer(), template=False).chosen
    assert text(one.prompt_ids[1:] + one.chosen_ids) == whole


@cache
def sentencepiece_like(scheme):
    """Llama's and Mistral's way: a blank is written as a character, and one is put before a text's first word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    built = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    built.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if scheme == "first" else steps)
    special = ["<pad>", "<bos>", "<eos>", "<unk>", *(f"<0x{number:02X}>" for number in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    built.train_from_iterator(["Yes it is. No it is not.\nIs it?\nYes\nNo"] * 50, trainer)
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=built, **names)


def pieces(ids, tokens):
    return tokens.convert_ids_to_tokens(ids)


@pytest.mark.parametrize("scheme", ["first", "never"])
def test_no_blank_slips_in_where_a_piece_of_text_goes_on(scheme):
    """Neither into a response that had to be tokenised apart nor into the verification question."""
    tokens = sentencepiece_like(scheme)
    (one,), audit = encode(pair(prompt="Ye", chosen="s", rejected="p"), tokens=tokens)
    assert audit.notes == {"responses tokenised apart (a token straddled the boundary)": 1}
    assert pieces(one.chosen_ids, tokens) == ["s", "<eos>"]
    asked = tokens.decode(one.chosen_ids[:-1] + one.verify_suffix_ids)
    assert asked == "s\nIs the answer correct (Yes/No)?\n"
    (one,), _ = encode(pair(), tokens=tokens)
    assert tokens.decode(one.prompt_ids[1:] + one.chosen_ids) == "Is it? Yes it is<eos>"


def test_yes_and_no_are_the_tokens_that_a_reply_is_made_of():
    for scheme in ("first", "never"):
        tokens = sentencepiece_like(scheme)
        assert pieces(answer_tokens(tokens), tokens) == ["Yes", "No"]
    tokens = copy.deepcopy(sentencepiece_like("first"))
    tokens.chat_template = GEMMA.replace("+ '\n' + m.content", "+ ' ' + m.content").replace("assistant\n", "assistant")
    assert pieces(answer_tokens(tokens), tokens) == ["▁Yes", "▁No"]


def test_padding_has_no_part_in_encoding():
    """No padding token, or the end token as one: the same tokens, the end token kept."""
    plain = encode(pair())[0]
    for padding in (None, "<eos>"):
        tokens = copy.deepcopy(tokenizer())
        tokens.pad_token = padding
        kept, audit = encode(pair(), tokens=tokens)
        assert kept == plain
        assert audit.chosen_terminated == 1.0


def test_turns_without_a_template_are_a_transcript():
    turns = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Is it?"},
    )
    yes, no = ({"role": "assistant", "content": "Yes"},), ({"role": "assistant", "content": "No"},)
    (one,), _ = encode(pair(turns, yes, no))
    assert text(one.prompt_ids) == "<bos>\n\nBe brief.\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Is it?\n\nAssistant:"
    assert text(one.chosen_ids) == " Yes<eos>"
    (same,), _ = encode(pair(turns[1:], yes, no), template="none", tokens=chat_tokenizer())
    assert text(same.prompt_ids, chat_tokenizer()).endswith("Hi.\n\nHuman: Is it?\n\nAssistant:")


def test_templates_that_write_something_before_the_answer_or_refuse_everything():
    # Qwen-3 writes an empty thought before the last answer only: it belongs to the response, on both sides alike
    thought = GEMMA.replace(
        "m.content | trim", "('<think></think>' if m.role == 'assistant' and loop.last else '') + m.content | trim"
    )
    (one,), audit = encode(pair(), tokens=chat_tokenizer(thought))
    assert text(one.prompt_ids, chat_tokenizer()).endswith("<turn>assistant\n")
    assert text(one.chosen_ids, chat_tokenizer()) == "<think></think>Yes it is<end>"
    assert text(one.rejected_ids, chat_tokenizer()) == "<think></think>No<end>"
    assert not audit.notes
    with pytest.raises(UserError, match=r"chat template refuses.*never"):
        encode(pair(), tokens=chat_tokenizer("{{ raise_exception('never') }}"))
    with pytest.raises(UserError, match="chat template"):
        encode(pair(), tokens=chat_tokenizer("{% for m in messages %}"))


def test_a_template_that_writes_bos_and_one_that_does_not_give_one_bos():
    without = GEMMA.replace("{{ bos_token }}", "")
    twice = "{{ bos_token }}" + GEMMA
    ids = [encode(pair(), tokens=chat_tokenizer(template))[0][0] for template in (GEMMA, without, twice)]
    assert ids[0] == ids[1] == ids[2]


ODD = {
    "emoji with joiners": "👩‍👩‍👧‍👦 ok",
    "right to left": "שלום مرحبا",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "line separators": "a\u2028b\u2029c\x85d",
    "controls": "a\x00b\x1bc\x7f",
    "windows line ends": "a\r\nb\rc",
    "zero width": "a\u200bb\ufeffc",
    "beyond the first plane": "𝔘𝔫𝔦 𓀀",
    "noncharacters": "\uffff\U0010ffff",
}


@pytest.mark.parametrize("chat", [False, True])
def test_unicode_of_every_kind_goes_from_file_to_tokens_and_back(chat, tmp_path):
    tokens = chat_tokenizer() if chat else tokenizer()
    rows = [
        {"id": name, "prompt": f"Is {odd} it?", "chosen": f"Yes {odd}.", "rejected": "No."} for name, odd in ODD.items()
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="\n")
    kept, audit = encode_pairs(load_pairs(path), tokens)
    assert audit.kept == len(ODD) == len({one.chosen_ids for one in kept})
    for one in kept:
        assert text(one.chosen_ids, tokens) == f"Yes {ODD[one.id]}." + ("<end>" if chat else "<eos>")
        assert ODD[one.id] in text(one.prompt_ids, tokens)


@settings(max_examples=40, deadline=None)
@given(prompt=WORDS, chosen=WORDS, rejected=WORDS)
def test_any_text_goes_through_a_template_and_back(prompt, chosen, rejected):
    chat = chat_tokenizer()
    try:
        (one,), _ = encode(pair(prompt, chosen, rejected), tokens=chat, terminator="as_is")
    except UserError:  # blank or equal after trimming
        return
    whole = render_pair(pair(prompt, chosen, rejected), chat, template=True).chosen
    assert text(one.prompt_ids + one.chosen_ids, chat) == whole
