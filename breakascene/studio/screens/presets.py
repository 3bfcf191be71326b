"""The presets as cards: what each is for, and what it takes on this machine."""

from breakascene.errors import UserError
from breakascene.studio import engine, strings
from breakascene.training.settings import Settings

PRESETS = ("quick", "light", "paper")


def cards() -> list[tuple[str, str]]:
    """Three lines for each preset (the style sheet keeps them apart): its name, what it is for, what it takes here."""
    found = []
    for name in PRESETS:
        title, what = strings.PRESETS[name]
        takes, settings = [], engine.settings_of(name)
        if settings is not None:
            if seconds := engine.expected_seconds(settings):
                takes.append(strings.TAKES.format(time=strings.duration(seconds)))
            takes.append(strings.NEEDS.format(gigabytes=engine.expected_memory(settings) / 1e9))
            if not engine.fits(settings):
                takes.append(strings.NOT_HERE)
        found.append(("\n".join([title, what, " · ".join(takes)]).strip(), name))
    return found


def check_fits(settings: Settings) -> None:
    """Raises UserError if the work takes longer than a shared GPU is lent for, before a visitor's share is spent."""
    if not engine.fits(settings):
        raise UserError(strings.TOO_LONG)
