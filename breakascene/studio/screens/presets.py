"""The presets as cards: the use of each, and its time and memory on this machine."""

from breakascene.errors import UserError
from breakascene.studio import engine, strings
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import Settings


def cards() -> list[tuple[str, str]]:
    """Label and name of each preset.

    A label has three lines, which the style sheet sets apart: the title, the use, and the time and memory.
    """
    found = []
    for name in PRESET_NAMES:
        title, use = strings.PRESETS[name]
        cost, settings = [], engine.settings_of(name)
        if settings is not None:
            if seconds := engine.expected_seconds(settings):
                cost.append(strings.PRESET_TIME.format(time=strings.format_duration(seconds)))
            cost.append(strings.PRESET_MEMORY.format(gigabytes=engine.expected_memory(settings) / 1e9))
            if not engine.fits(settings):
                cost.append(strings.PRESET_TOO_LONG)
        found.append(("\n".join([title, use, " · ".join(cost)]).strip(), name))
    return found


def check_fits(settings: Settings) -> None:
    """Raise UserError if the run takes longer than a shared GPU is granted, before the visitor's quota is spent."""
    if not engine.fits(settings):
        raise UserError(strings.EXCEEDS_GPU_TIME)
