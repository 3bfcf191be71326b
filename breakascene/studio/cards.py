"""The presets as cards: what each is for, and what it takes on this machine."""

from breakascene.errors import UserError
from breakascene.extract import Settings
from breakascene.studio import models, words

PRESETS = ("quick", "light", "paper")


def cards() -> list[tuple[str, str]]:
    """Three lines for each preset (the style sheet keeps them apart): its name, what it is for, what it takes here."""
    found = []
    for name in PRESETS:
        title, what = words.PRESETS[name]
        takes, settings = [], models.settings_of(name)
        if settings is not None:
            if seconds := models.expected_seconds(settings):
                takes.append(words.TAKES.format(time=words.duration(seconds)))
            takes.append(words.NEEDS.format(gigabytes=models.expected_memory(settings) / 1e9))
            if not models.fits(settings):
                takes.append(words.NOT_HERE)
        found.append(("\n".join([title, what, " · ".join(takes)]).strip(), name))
    return found


def check_fits(settings: Settings) -> None:
    """Raises UserError if the work takes longer than a shared GPU is lent for, before a visitor's share is spent."""
    if not models.fits(settings):
        raise UserError(words.TOO_LONG)
