"""What a user declares about people and brands in a photo: who agreed, to what, and until when."""

import re
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from breakascene.data import validation
from breakascene.errors import UserError

MAX_LENGTH = 200  # characters


@dataclass(frozen=True)
class Consent:
    """A declaration about a photo; see `declare_consent`.

    Attributes:
        shown: Whether a person or a brand is shown.
        who: Who agreed, if one is shown.
        scope: To what they agreed.
        until: The last day on which it holds, as YYYY-MM-DD.
    """

    shown: bool
    who: str = ""
    scope: str = ""
    until: str = ""

    @property
    def given(self) -> bool:
        """Whether nobody has to agree, or somebody has."""
        return not self.shown or bool(self.who and self.scope and self.until)

    @property
    def expired(self) -> bool:
        """Whether its last day is over, in UTC."""
        return bool(self.until) and date.fromisoformat(self.until) < datetime.now(UTC).date()

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> "Consent":
        """Read the values of to_json. Raises ValueError or KeyError for others."""
        values = validation.checked_dict(values, "its consent")
        if type(values["shown"]) is not bool:
            raise ValueError("its consent has a wrong type")
        texts = (validation.checked_text(values[key], MAX_LENGTH, "its consent") for key in ("who", "scope", "until"))
        consent = cls(values["shown"], *texts)
        if consent.until:
            date.fromisoformat(consent.until)
        return consent


def declare_consent(shown: bool | None, who: str = "", scope: str = "", until: str = "") -> Consent | None:
    """Return the declaration that a user made, or None if they made none.

    Args:
        shown: Whether a person or a brand is shown; None if that was not answered.
        who, scope, until: See Consent; all or none of them. With one of them, a person or a brand is shown.

    Raises:
        UserError: If a part is missing, is too long or contradicts another, or the day is not a date.
    """
    who, scope, until = map(_one_line, (who, scope, until))
    if not (who or scope or until):
        return None if shown is None else Consent(shown)
    if shown is False:
        raise UserError("Nobody is said to be shown, but somebody to have agreed: give one or the other.")
    if not (who and scope and until):
        raise UserError("A part of the consent is missing: say who agreed, to what, and until when.")
    if max(len(who), len(scope)) > MAX_LENGTH:
        raise UserError("The consent is too long: use up to {most} characters for each part.", most=MAX_LENGTH)
    until = until.replace("/", "-").replace(".", "-")
    try:
        if not re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}", until):
            raise ValueError
        day = date(*map(int, until.split("-")))
    except ValueError as error:
        raise UserError('"{until}" is not a day: write it as YYYY-MM-DD.', until=until[:40]) from error
    return Consent(True, who, scope, day.isoformat())


def _one_line(text: str | None) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
