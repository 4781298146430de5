"""What we say when something is asked of the hub, and when it gave nothing."""

import logging
import os
import sys
from functools import cache


def offline() -> bool:
    """Has the user forbidden asking?"""
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


@cache
def ask_hub(name: str) -> None:
    """One line, instead of the hub's many about every attempt without a network."""
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    if not offline():
        print(
            f"asking the hub for {name}; without a network this takes minutes, unless HF_HUB_OFFLINE=1",
            file=sys.stderr,
        )


def hub_cure(name: str) -> str:
    """What to try where the hub gave no model `name`."""
    if offline():
        return (
            f"HF_HUB_OFFLINE=1 forbids to ask the hub: where there is a network, `hf download {name}` (gated models "
            "need `hf auth login` before)"
        )
    return "the hub gave nothing: check name and network; gated models need their terms accepted and `hf auth login`"
