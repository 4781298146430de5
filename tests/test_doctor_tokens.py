"""The doctor on tokenizers: sound ones pass in silence, and every way to break one is named."""

import copy
from dataclasses import replace

import pytest
from tokenizers import processors

from llm_experiments.doctor import tokens
from llm_experiments.doctor.finding import Finding, table, verdict
from llm_experiments.doctor.language import check_answers, check_reference_tokens
from llm_experiments.doctor.probes import PROBES
from llm_experiments.encoding import encode_pairs
from llm_experiments.pairs import Pair
from llm_experiments.settings import EncodingSettings, PretrainSettings
from tests.family_tokenizers import STYLES, styled
from tests.lm import tokenizer

TURNS = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}{% endfor %}"
ASK = "{% if add_generation_prompt %}[assistant]\n{% endif %}"
SOUND = "{{ bos_token }}" + TURNS + ASK
SETTINGS = EncodingSettings()
SYSTEM = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is ice cold?"})


def patient(template=None, **changes):
    """A sound tokenizer, changed."""
    one = copy.deepcopy(tokenizer())
    one.chat_template = template
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def tokenizer_that_writes(start):
    """What `tokenizer(text)` puts in front of a text."""
    one = patient()
    marks = [(mark, one.convert_tokens_to_ids(mark)) for mark in set(start.split())]
    single = f"{start} $A".strip()
    one.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    return one


def word_tokenizer(text):
    from llm_experiments.pretraining import train_tokenizer

    return train_tokenizer([text] * 3, PretrainSettings(tokenizer="word", vocab_size=500))


def examine(one, pairs=PROBES, stops=(), rows=300):
    """Every check of a tokenizer, by name."""
    encoded = encode_pairs(pairs, one, replace(SETTINGS, terminator="as_is", bad_pairs="drop"))[0]
    found = [
        tokens.check_bos(one, pairs, SETTINGS),
        tokens.check_terminator(one, pairs, SETTINGS, stops),
        tokens.check_template(one, pairs, SETTINGS),
        tokens.check_words(one, pairs, encoded),
        tokens.check_vocabulary(one, rows),
        tokens.check_lengths(encoded, 2000),
        check_answers(one, wanted=True),
    ]
    return {finding.name: finding for finding in found}


def test_sound_tokenizers_pass_in_silence():
    for one in (patient(), patient(SOUND), patient(SOUND, bos_token=None), patient(TURNS + ASK, bos_token=None)):
        found = examine(one, stops={one.eos_token_id})
        assert {finding.status for finding in found.values()} == {"ok"}, found
        assert not any(finding.cure for finding in found.values())


@pytest.mark.parametrize("style", STYLES)
def test_sound_tokenizers_of_every_style_pass_in_silence(style):
    one = styled(style)
    stops = {one.convert_tokens_to_ids("<end_of_turn>") if style == "gemma" else one.eos_token_id}
    found = examine(one, stops=stops, rows=len(one))
    assert {finding.status for finding in found.values()} == {"ok"}, found


def rewritten(*changes):
    """Changes of a chat template; each must find what it replaces."""

    def change(one):
        for old, new in changes:
            assert old in one.chat_template
            one.chat_template = one.chat_template.replace(old, new)

    return change


def without_end(one):
    one.eos_token = None


def twice(one):
    bos = one.bos_token
    one.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} {bos} $A", special_tokens=[(bos, one.bos_token_id)]
    )


# a defect, in the words of each style that can have it: style, what is changed, check, status, measured
ASK_OF = {"gemma": "'<start_of_turn>model\n'", "qwen": "'<|im_start|>assistant\n'"}
OF_STYLES = {
    **{f"BOS twice by the template, {s}": (s, rewritten(("{{ bos_token }}", "{{ bos_token + bos_token }}")),
       "beginning", "problem", 2) for s in ("gemma", "mistral")},
    **{f"no BOS from the template, {s}": (s, rewritten(("{{ bos_token }}", "")),
       "beginning", "warning", 0) for s in ("gemma", "mistral")},
    "BOS twice by the tokenizer, llama": ("llama", twice, "beginning", "problem", 2),
    "turns that do not end, gemma": ("gemma", rewritten(("<end_of_turn>", "")), "end", "warning", "<eos>"),
    "turns that do not end, qwen": ("qwen", rewritten(("m.content + '<|im_end|>", "m.content + '")),
       "end", "warning", "<|im_end|>"),
    "turns that do not end, mistral": ("mistral", rewritten((" + eos_token", "")), "end", "warning", "</s>"),
    **{f"no end token, {s}": (s, without_end, "end", "problem", "missing") for s in ("llama", "neox")},
    **{f"an answer that opens with a thought, {s}": (s, rewritten((ask, ask[:-1] + "<think>\n'")),
       "template", "warning", len(PROBES)) for s, ask in ASK_OF.items()},
    **{f"earlier turns forgotten, {s}": (s, rewritten(("in messages %}", "in messages[-2:] %}")),
       "template", "problem", "lossy") for s in ("gemma", "mistral", "qwen")},
    **{f"signs taken out, {s}": (s, rewritten(("m.content", "m.content | replace('+', '')")),
       "template", "problem", "lossy") for s in ("gemma", "mistral", "qwen")},
}  # fmt: skip


@pytest.mark.parametrize("name", OF_STYLES)
def test_the_same_defects_in_the_words_of_every_style(name):
    style, break_it, check, status, measured = OF_STYLES[name]
    one = styled(style)
    break_it(one)
    found = {
        "beginning": lambda: tokens.check_bos(one, PROBES, SETTINGS),
        "end": lambda: tokens.check_terminator(one, PROBES, SETTINGS),
        "template": lambda: tokens.check_template(one, PROBES, SETTINGS),
    }[check]()
    assert (found.status, found.measured) == (status, measured), found
    assert found.cure


BROKEN = {
    "BOS twice, by the tokenizer": (lambda: tokenizer_that_writes("<bos> <bos>"), "beginning", "problem", 2),
    "no BOS from the tokenizer": (lambda: tokenizer_that_writes(""), "beginning", "warning", 0),
    "no EOS": (lambda: patient(eos_token=None), "end", "problem", "missing"),
    "an EOS that is no token": (lambda: patient(eos_token="<|end|>"), "end", "problem", "missing"),
    "an answer that starts elsewhere": (
        lambda: patient(SOUND.replace(ASK, ASK.replace("assistant", "answer"))),
        "template",
        "warning",
        len(PROBES),
    ),
    "a template that forgets earlier turns": (
        lambda: patient(SOUND.replace("in messages %}", "in messages[-2:] %}")),
        "template",
        "problem",
        "lossy",
    ),
    "a template that takes signs out": (
        lambda: patient(SOUND.replace("m.content }}", "m.content | replace('+', '') }}")),
        "template",
        "problem",
        "lossy",
    ),
    "a template that cuts texts": (
        lambda: patient(SOUND.replace("m.content }}", "m.content[:40] }}")),
        "template",
        "problem",
        "refused",
    ),
    "a template that refuses": (
        lambda: patient("{{ raise_exception('only odd numbers of turns') }}"),
        "template",
        "problem",
        "refused",
    ),
    "unknown words": (lambda: word_tokenizer("Is ice cold? Yes. No. Yes No"), "words", "problem", None),
    "answers in pieces": (lambda: word_tokenizer("Is ice cold?"), "answers", "problem", "missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_defect_is_found(name):
    build, check, status, measured = BROKEN[name]
    one = build()
    settings = replace(SETTINGS, bad_pairs="drop")
    checks = {
        "beginning": lambda: tokens.check_bos(one, PROBES, SETTINGS),
        "end": lambda: tokens.check_terminator(one, PROBES, SETTINGS),
        "template": lambda: tokens.check_template(one, PROBES, SETTINGS),
        "words": lambda: tokens.check_words(one, PROBES, encode_pairs(PROBES, one, settings)[0]),
        "answers": lambda: check_answers(one, wanted=True),
    }
    found = checks[check]()
    assert (found.name, found.status) == (check, status), found
    assert measured is None or found.measured == measured
    assert found.cure


def test_a_template_without_a_system_role_is_sound_but_one_that_drops_it_is_not():
    pairs = [Pair("system", "", SYSTEM, *(({"role": "assistant", "content": word},) for word in ("Yes.", "No.")))]
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + SOUND
    assert tokens.check_template(patient(refusing), pairs, SETTINGS).status == "ok"
    dropping = SOUND.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    found = tokens.check_template(patient(dropping), pairs, SETTINGS)
    assert (found.status, found.measured) == ("problem", "lossy")
    assert "Be brief." in found.detail


def test_an_end_that_the_model_does_not_stop_at():
    one = patient(SOUND)
    assert tokens.check_terminator(one, PROBES, SETTINGS, {one.eos_token_id}).status == "ok"
    found = tokens.check_terminator(one, PROBES, SETTINGS, {one.pad_token_id})
    assert found.status == "warning"
    assert "<pad>" in found.detail


def test_special_tokens_inside_texts():
    pairs = [replace(PROBES[0], id="sly", prompt="Is it?<eos>", chosen=" Yes.", rejected=" No."), PROBES[1]]
    found = tokens.check_words(patient(), pairs, encode_pairs(pairs, patient(), SETTINGS)[0])
    assert (found.status, found.measured) == ("warning", 1)
    assert "'sly'" in found.detail


@pytest.mark.parametrize(("rows", "status"), [(264, "ok"), (263, "problem")])
def test_ids_without_embeddings(rows, status):
    found = tokens.check_vocabulary(patient(), rows)
    assert (len(patient()), found.status) == (264, status)


def test_positions():
    encoded = encode_pairs(PROBES, patient(), SETTINGS)[0]
    longest = max(pair.longest for pair in encoded)
    assert tokens.check_lengths(encoded, longest).status == "ok"
    assert tokens.check_lengths(encoded, None).status == "ok"
    found = tokens.check_lengths(encoded, longest - 1)
    assert (found.status, found.measured) == ("problem", longest)
    assert f"--max_length {longest - 1}" in found.cure


def test_an_answer_that_melts_into_what_stands_before_it():
    """A tokenizer whose tokens reach over blanks, so that a line break and Yes are one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=inner.pre_tokenizer.alphabet())
    inner.train_from_iterator(["Yes", "No"] * 9 + ["(Yes/No)?\nYes", "(Yes/No)?\nNo"] * 9, trainer)
    found = check_answers(PreTrainedTokenizerFast(tokenizer_object=inner), wanted=True)
    assert (found.status, found.measured) == ("problem", "Yes"), found
    assert check_answers(patient(), wanted=True).status == "ok"


def test_answers_that_are_not_asked_for_are_a_warning():
    assert check_answers(word_tokenizer("Is ice cold?"), wanted=False).status == "warning"


def test_a_reference_that_reads_other_words():
    assert check_reference_tokens(patient(), patient(SOUND)).status == "ok"
    other = word_tokenizer("Is ice cold?")
    found = check_reference_tokens(patient(), other)
    assert found.status == "problem"
    assert found.measured > 200


def test_the_table_aligns_and_says_what_to_do():
    findings = [
        Finding("end", "ok", "<eos>", "ends every response"),
        Finding("pooled token", "problem", -1, "tokens off", "give it a pad token"),
        Finding("ties", "warning", 0.12345, "of them"),
    ]
    lines = table(findings).splitlines()
    assert lines[0].index("ends every") == lines[1].index("tokens off") == lines[2].index("->") == lines[3].index("of")
    assert "PROBLEM" in lines[1]
    assert "0.123" in lines[3]
    assert lines[-1].startswith("1 of 3 checks found a problem")
    assert verdict(findings[:1]).startswith("sound")
    assert "warning" in verdict(findings[::2])
    assert max(map(len, table([replace(findings[1], detail="long words " * 40)]).splitlines())) <= 112
