"""The pairs that a reward model was trained on, as far as they are known to whoever scores it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm_experiments.contents import content_hash
from llm_experiments.inputs import Source, hold_out, read_source
from llm_experiments.pairs import PairSet, load_pairs
from llm_experiments.settings import EncodingSettings


def training_pairs(
    given: Sequence[str], manifest: Mapping[str, Any], tokenizer: Any, encoding: EncodingSettings
) -> Source | None:
    """Those that the user names, else those of the model's own manifest, if the file is there and has not changed;
    None where nobody knows. Pairs that cannot be ranked are left out, for nothing can have been learnt from them.

    Raises:
        UserError: a file that the user named cannot be read.
    """
    if given:
        sets = [load_pairs(place, bad_pairs="drop", flag="--train_pairs") for place in given]
        found = PairSet(" ".join(given), tuple(pair for one in sets for pair in one.pairs))
        encoding = replace(encoding, max_length=0)  # what was too long for this run may not have been for training
    else:
        place, digest = manifest.get("pairs"), manifest.get("pairs_sha256")
        if not place or not digest or content_hash(place) != digest:
            return None
        found = load_pairs(place, bad_pairs="drop", split=manifest.get("split", "train"))
        if fraction := manifest.get("eval_fraction"):
            found = hold_out(found, fraction)[0]
        encoding = EncodingSettings(**manifest["encoding"])
    source = read_source(found, tokenizer, replace(encoding, bad_pairs="drop"))
    print(f"training pairs: {len(source.pairs)} of {found.source}", file=sys.stderr)
    return source
