"""Named networks, one explicit table. Block lists live here and nowhere else."""

from __future__ import annotations

import dataclasses

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import nearest


@dataclasses.dataclass(frozen=True)
class Preset:
    """A network with a name."""

    config: ModelConfig
    """Its hyper-parameters."""
    task: str
    """What it is for, e.g. `denoising`; empty when it serves any task."""
    description: str
    """One line for a list of presets."""


def _reasoning(
    width: int, blocks: tuple[int, ...], middle: int, positions: tuple[str, ...], units: int, iterations: int
) -> ModelConfig:
    """A NAFNet-RR whose decoder mirrors its encoder; `units` is the shared NAFBlocks per reasoning unit."""
    return ModelConfig(
        architecture="nafnet-rr",
        width=width,
        encoder_blocks=blocks,
        middle_blocks=middle,
        decoder_blocks=blocks[::-1],
        positions=positions,
        reasoning_blocks=units,
        iterations=iterations,
    )


ALL_POSITIONS = ("encoder", "middle", "decoder")

# The three bodies. Two levels, not NAFNet's four: the coarsest width, which decides the count, stays at 4x.
LIGHT = _reasoning(32, (1, 1), 4, ("middle",), 1, 2)
MEDIUM = _reasoning(64, (2, 2), 12, ("middle", "decoder"), 0, 3)
HEAVY = _reasoning(128, (1, 1), 16, ALL_POSITIONS, 0, 5)

# Block counts of the published checkpoints (NAFNet repository, options/test).
GOPRO_W32 = ModelConfig(width=32, encoder_blocks=(1, 1, 1, 28), middle_blocks=1, decoder_blocks=(1, 1, 1, 1))
SIDD_W32 = ModelConfig(width=32, encoder_blocks=(2, 2, 4, 8), middle_blocks=12, decoder_blocks=(2, 2, 2, 2))
GOPRO_W64 = dataclasses.replace(GOPRO_W32, width=64)
SIDD_W64 = dataclasses.replace(SIDD_W32, width=64)
# The ablations of the same paper: figure 3c (the published files expand the depthwise conv only at width 64), and
# figure 3b. PlainNet was not published; it keeps beta and gamma, as the other two blocks have them.
BASELINE_GOPRO_W32 = dataclasses.replace(GOPRO_W32, gate="gelu", attention="ca", dw_expand=1)
BASELINE_SIDD_W32 = dataclasses.replace(SIDD_W32, gate="gelu", attention="ca", dw_expand=1)
BASELINE_GOPRO_W64 = dataclasses.replace(GOPRO_W64, gate="gelu", attention="ca")
BASELINE_SIDD_W64 = dataclasses.replace(SIDD_W64, gate="gelu", attention="ca")
PLAINNET_W32 = dataclasses.replace(SIDD_W32, gate="relu", attention="none", norm="none", dw_expand=1)
# NAFFT-Net, a study of deblurring; its second form has fewer blocks and over-parameterised convs in their stead.
NAFFT_W32 = dataclasses.replace(GOPRO_W32, attention="eca", frequency_skips=True)
NAFFT_W32_REDUCED = dataclasses.replace(NAFFT_W32, encoder_blocks=(1, 1, 1, 12), do_conv=True)
RESTORMER = ModelConfig(
    architecture="restormer",
    width=48,
    encoder_blocks=(4, 6, 6),
    middle_blocks=8,
    decoder_blocks=(6, 6, 4),
    refinement_blocks=4,
    heads=(1, 2, 4, 8),
    ffn_expand=2.66,
    attention="none",
)
# The study's body; what makes it lighter than Restormer is told in models/all_in_one.py.
ALL_IN_ONE = dataclasses.replace(
    RESTORMER, architecture="all-in-one", ffn_expand=2, lora_attention=0.8, lora_ffn=0.5, expert="infer"
)


def _stereo(width: int, blocks: int, scale: int) -> ModelConfig:
    return ModelConfig(
        architecture="nafssr", width=width, encoder_blocks=(), middle_blocks=blocks, decoder_blocks=(), scale=scale
    )


# Widths and blocks of the published NAFSSR.
STEREO = {"t": (48, 16), "s": (64, 32), "b": (96, 64), "l": (128, 128)}

PRESETS = {
    "nafnet-gopro-w32": Preset(GOPRO_W32, "deblurring", "published NAFNet, GoPro motion blur, width 32"),
    "nafnet-gopro-w64": Preset(GOPRO_W64, "deblurring", "published NAFNet, GoPro motion blur, width 64"),
    "nafnet-reds-w64": Preset(GOPRO_W64, "deblurring", "published NAFNet, REDS video blur and JPEG, width 64"),
    "nafnet-sidd-w32": Preset(SIDD_W32, "denoising", "published NAFNet, SIDD smartphone noise, width 32"),
    "nafnet-sidd-w64": Preset(SIDD_W64, "denoising", "published NAFNet, SIDD smartphone noise, width 64"),
    "baseline-gopro-w32": Preset(BASELINE_GOPRO_W32, "deblurring", "published Baseline, GoPro motion blur, width 32"),
    "baseline-gopro-w64": Preset(BASELINE_GOPRO_W64, "deblurring", "published Baseline, GoPro motion blur, width 64"),
    "baseline-sidd-w32": Preset(BASELINE_SIDD_W32, "denoising", "published Baseline, SIDD smartphone noise, width 32"),
    "baseline-sidd-w64": Preset(BASELINE_SIDD_W64, "denoising", "published Baseline, SIDD smartphone noise, width 64"),
    "plainnet-w32": Preset(PLAINNET_W32, "", "PlainNet of the NAFNet paper: convs and ReLU alone, width 32"),
    "nafft-net-w32": Preset(NAFFT_W32, "deblurring", "NAFFT-Net: ECA, and skips filtered by frequency, width 32"),
    "nafft-net-w32-reduced": Preset(NAFFT_W32_REDUCED, "deblurring", "the same with 12 blocks for 28, and DO-Conv"),
    "restormer": Preset(RESTORMER, "", "published Restormer (deblurring, deraining), attention over channels"),
    "all-in-one": Preset(ALL_IN_ONE, "restoration", "Restormer's body, low-rank convs, gates and experts for 5 tasks"),
    "light": Preset(LIGHT, "", "NAFNet-RR, width 32, reasoning in the middle"),
    "medium": Preset(MEDIUM, "", "NAFNet-RR, width 64, reasoning in middle and decoder"),
    "heavy": Preset(HEAVY, "", "NAFNet-RR, width 128, reasoning in encoder, middle and decoder"),
    "deblurring": Preset(MEDIUM, "deblurring", "the medium body, 3 iterations"),
    "denoising": Preset(dataclasses.replace(LIGHT, iterations=4), "denoising", "the light body, 4 iterations"),
    **{
        f"super-resolution-x{scale}": Preset(
            dataclasses.replace(HEAVY, scale=scale),
            "super-resolution",
            f"the heavy body, 5 iterations, enlarges {scale} times",
        )
        for scale in (2, 3, 4)
    },
    "real-time": Preset(LIGHT, "", "the light body, 2 iterations"),
    "balanced": Preset(MEDIUM, "", "the medium body, 3 iterations"),
    "quality": Preset(HEAVY, "", "the heavy body, 5 iterations"),
    **{
        f"nafssr-{size}-x{scale}": Preset(
            _stereo(width, blocks, scale), "stereo-super-resolution", f"published NAFSSR-{size.upper()}, x{scale}"
        )
        for size, (width, blocks) in STEREO.items()
        for scale in (2, 4)
    },
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: no such preset; names the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}.", nearest(name, PRESETS))
    return PRESETS[name]
