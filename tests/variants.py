"""Small networks, one for every variant, plain and with reasoning."""

from __future__ import annotations

import dataclasses
from typing import Any

from nafnet_deploy.config import ModelConfig

PARTS: dict[str, dict[str, Any]] = {
    "swiglu": {"gate": "swiglu"},
    "geglu": {"gate": "geglu"},
    "reglu": {"gate": "reglu"},
    "ca": {"attention": "ca"},
    "eca": {"attention": "eca"},
    "no attention": {"attention": "none"},
    "baseline": {"gate": "gelu", "attention": "ca", "dw_expand": 1},
    "wide baseline": {"gate": "gelu", "attention": "ca"},
    "plain": {"gate": "relu", "attention": "none", "norm": "none", "dw_expand": 1},
    "spectrum": {"frequency_input": True},
    "fft skips": {"frequency_skips": True},
    "do-conv": {"do_conv": True},
    "nafft": {"attention": "eca", "frequency_skips": True, "do_conv": True},
    "expanded": {"gate": "reglu", "attention": "eca", "dw_expand": 4, "ffn_expand": 3},
}
PLAIN = ModelConfig(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))
RR = dataclasses.replace(
    PLAIN, architecture="nafnet-rr", positions=("encoder", "middle", "decoder"), reasoning_blocks=1, iterations=2
)


def variant(name: str, reasoning: bool = False) -> ModelConfig:
    """The network of that variant, with reasoning units at all places where that is asked."""
    return dataclasses.replace(RR if reasoning else PLAIN, **PARTS[name])


STEREO = ModelConfig(architecture="nafssr", width=8, encoder_blocks=(), middle_blocks=2, decoder_blocks=(), scale=2)
RESTORMER = ModelConfig(
    architecture="restormer",
    width=8,
    encoder_blocks=(1, 1),
    middle_blocks=1,
    decoder_blocks=(1, 1),
    refinement_blocks=1,
    heads=(1, 2, 4),
    ffn_expand=2.66,
    attention="none",
)
ALL_IN_ONE = ModelConfig(
    architecture="all-in-one",
    width=16,
    encoder_blocks=(1,),
    middle_blocks=1,
    decoder_blocks=(1,),
    refinement_blocks=1,
    heads=(1, 2),
    ffn_expand=2,
    attention="none",
    lora_attention=0.8,
    lora_ffn=0.5,
    expert="infer",
)
