"""Names of the presets and memory modes. Imports nothing heavy, because the command line lists them in its help."""

from dataclasses import dataclass

PRESET_NAMES = ("light", "quick", "paper")  # the best likeness first; their values are in settings.py
DEFAULT_PRESET = "light"


@dataclass(frozen=True)
class MemoryMode:
    """A trade-off between memory and time; see memory.py."""

    name: str
    description: str
    gradient_checkpointing: bool = False  # of the UNet
    eight_bit: bool = False  # Adam's state in 8 bits


MEMORY_MODES = (  # from the fastest to the most economical
    MemoryMode("fast", "keeps all activations: the fastest"),
    MemoryMode("lean", "gradient checkpointing of the UNet: the same result, a third slower", True),
    MemoryMode("least", "like lean, with Adam's state in 8 bits: saves most where all weights are trained", True, True),
)
MEMORY_MODE_NAMES = ("auto", *(mode.name for mode in MEMORY_MODES))
