"""The presets as cards: the use of each, and its time and memory on this machine."""

from breakascene.data.scene import Scene
from breakascene.errors import UserError
from breakascene.studio import estimates, loaded, strings
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import Settings, adapted

OBJECTS = 2  # that the times are for until some are selected


def cards(scene: Scene | None = None) -> list[tuple[str, str]]:
    """Label and name of each preset, with the time that the extraction of the scene takes.

    A label has three lines, which the style sheet sets apart: the title, the use, and the time and memory.
    """
    found, objects = [], len(scene.concepts) if scene else OBJECTS
    for name in PRESET_NAMES:
        title, use = strings.PRESETS[name]
        cost, settings = [], loaded.settings_of(name)
        if settings is not None:
            settings = adapted(settings, scene) if scene else settings
            if seconds := estimates.expected_seconds(settings, objects):
                cost.append(strings.PRESET_TIME.format(time=strings.format_duration(seconds)))
            cost.append(strings.PRESET_MEMORY.format(gigabytes=estimates.expected_memory(settings) / 1e9))
            if not estimates.fits(settings, objects):
                cost.append(strings.PRESET_TOO_LONG)
        found.append(("\n".join([title, use, " · ".join(cost)]).strip(), name))
    return found


def check_fits(settings: Settings, objects: int) -> None:
    """Raise UserError if the run takes longer than a shared GPU is granted, before the visitor's quota is spent."""
    if not estimates.fits(settings, objects):
        raise UserError(strings.EXCEEDS_GPU_TIME)
