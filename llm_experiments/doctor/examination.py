"""Which checks a model is given, and in which order: what it is, what it reads, how it computes.

    rewardgap doctor --model M [--reference R] [--kind K] [--pairs FILE]

A finding that makes others meaningless (ids without embeddings, texts without room) ends the examination early.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llm_experiments.doctor import classifiers, language, numbers, tokens
from llm_experiments.doctor.finding import Finding
from llm_experiments.doctor.probes import PROBES
from llm_experiments.doctor.subject import Subject, load_subject
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.evaluation import TIE_TOLERANCE
from llm_experiments.inputs import part_of
from llm_experiments.models import RewardModel, answer_tokens, model_folder, read_manifest
from llm_experiments.pairs import Pair, load_pairs
from llm_experiments.settings import DoctorRequest, EncodingSettings
from simulations.results import UserError
from theory.preferences import PairRewards


def examine(request: DoctorRequest) -> list[Finding]:
    """Every check that applies to the model, in order.

    Raises:
        UserError: model, tokenizer, reference or pairs cannot be read at all.
    """
    pairs: Sequence[Pair] = PROBES
    if request.pairs:
        pairs = load_pairs(request.pairs, bad_pairs=request.bad_pairs, split=request.split).pairs
    subject = load_subject(request)
    settings = _encoding(request, subject.tokenizer)
    template = tokens.check_template(subject.tokenizer, pairs, settings)
    if template.status == "problem":
        settings = replace(settings, template="none")
    encoded = _examples(encode_pairs(pairs, subject.tokenizer, settings)[0], request.examples)
    findings = [*_about_files(subject, request, encoded), *_about_tokens(subject, pairs, settings), template]
    findings += [tokens.check_words(subject.tokenizer, pairs, encoded)]
    limit = getattr(subject.config.get_text_config(), "max_position_embeddings", None)
    findings += [tokens.check_lengths(encoded, limit)]
    unusable = {"vocabulary", "length"} & {one.name for one in findings if one.status == "problem"}
    if unusable:
        detail = f"checks that run the model: they need a sound {' and '.join(sorted(unusable))}"
        return [*findings, Finding("the rest", "warning", "skipped", detail, "cure that first, and ask again")]
    findings += _about_classifier(subject, encoded) if subject.classifier else _about_language_model(subject, encoded)
    if "implicit" in subject.kinds:
        findings += _about_reference(subject, request, encoded)
    return findings


def _encoding(request: DoctorRequest, tokenizer: Any) -> EncodingSettings:
    """The settings asked for; a tokenizer without an end token must not keep the other checks from running."""
    settings = part_of(request, EncodingSettings)
    if settings.terminator == "ensure" and tokenizer.eos_token_id is None:
        return replace(settings, terminator="as_is")
    return settings


def _examples(encoded: Sequence[EncodedPair], count: int) -> list[EncodedPair]:
    """Short, long and between: evenly spaced by length."""
    order = sorted(encoded, key=lambda pair: pair.longest)
    count = max(2, min(count, len(order)))
    return [order[round(number * (len(order) - 1) / (count - 1))] for number in range(count)]


def _about_tokens(subject: Subject, pairs: Sequence[Pair], settings: EncodingSettings) -> list[Finding]:
    tokenizer = subject.tokenizer
    return [
        tokens.check_vocabulary(tokenizer, subject.model.get_input_embeddings().weight.shape[0]),
        tokens.check_bos(tokenizer, pairs, settings),
        tokens.check_terminator(tokenizer, pairs, settings, subject.stops),
    ]


def _about_files(subject: Subject, request: DoctorRequest, encoded: Sequence[EncodedPair]) -> list[Finding]:
    findings = [
        classifiers.check_weights(**subject.loading, classifier=subject.classifier),
        numbers.check_dtype(subject.config.model_type, subject.stored, request.dtype),
        numbers.check_attention(subject.config),
    ]
    if subject.classifier:
        ends = {pair.chosen_ids[-1] for pair in encoded} | {subject.tokenizer.eos_token_id}
        findings += [
            classifiers.check_outputs(subject.model, classifiers.head_of(subject.model)),
            classifiers.check_pad_token(subject.tokenizer, subject.config, ends),
        ]
    return findings


def _about_classifier(subject: Subject, encoded: Sequence[EncodedPair]) -> list[Finding]:
    model, pad_id, rows = subject.model, subject.pad_id, numbers.spans(encoded)
    ids = [row[0] for row in rows]
    if subject.pooling == "last":
        pooled = _try("pooled token", lambda: classifiers.check_pooled_token(model, ids, pad_id))
    else:
        pooled = Finding("pooled token", "ok", subject.pooling, "is where rewardgap, and nobody else, reads the reward")
    findings = [
        pooled,
        _try("batch invariance", lambda: numbers.check_batch_invariance(model, rows, pad_id, classifier=True)),
        _try("finite numbers", lambda: numbers.check_gradients(model, rows, pad_id)),
    ]
    if subject.pooling != "last":
        return findings
    rewards = classifiers.classifier_rewards(model, ids, pad_id).numpy()
    return findings + _about_rewards(subject, PairRewards(rewards[::2], rewards[1::2]))


def _about_language_model(subject: Subject, encoded: Sequence[EncodedPair]) -> list[Finding]:
    model, pad_id, rows = subject.model, subject.pad_id, numbers.spans(encoded)
    findings = [
        _try("batch invariance", lambda: numbers.check_batch_invariance(model, rows, pad_id, classifier=False)),
        _try("finite numbers", lambda: numbers.check_gradients(model, rows, pad_id)),
        _try("log-probabilities", lambda: numbers.check_logits(model, rows)),
    ]
    if "generative" in subject.kinds:
        wanted = subject.kinds == ("generative",)
        found = language.check_answers(subject.tokenizer, wanted=wanted)
        findings.append(found)
        if found.status == "ok":
            reader = RewardModel("generative", model, answers=answer_tokens(subject.tokenizer))
            findings.append(language.check_answer_mass(reader, subject.tokenizer, encoded, wanted=wanted))
    return findings


def _about_rewards(subject: Subject, rewards: PairRewards) -> list[Finding]:
    return [numbers.check_resolution(rewards, subject.stored), numbers.check_ties(rewards, TIE_TOLERANCE)]


def _about_reference(subject: Subject, request: DoctorRequest, encoded: Sequence[EncodedPair]) -> list[Finding]:
    place = (
        request.reference
        if request.reference != "auto"
        else read_manifest(model_folder(request.model)).get("reference")
    )
    policy = subject.model
    if not place or place == "none":
        return [_try("start", lambda: language.check_start(RewardModel("implicit", policy, beta=1.0), encoded))]
    try:
        other = load_subject(replace(request, model=place, kind="auto", reference="none"))
    except UserError as error:
        raise UserError(f"reference {error}; give --reference the model that the policy was trained from") from None
    sizes = [model.get_output_embeddings().weight.shape[0] for model in (policy, other.model)]
    findings = [
        language.check_reference_tokens(subject.tokenizer, other.tokenizer),
        language.check_vocabularies(*sizes),
    ]
    if any(one.status == "problem" for one in findings):
        return findings
    return [*findings, _try("reference", lambda: language.check_distance(policy, other.model, encoded))]


def _try(name: str, check: Callable[[], Finding]) -> Finding:
    """A model that cannot be run at all is a finding, too."""
    try:
        return check()
    except (RuntimeError, ValueError, IndexError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return Finding(name, "problem", type(error).__name__, f"the model stops with: {first}", "repair that first")
