"""The one exception that carries a sentence for the person at the screen, and a sentence that can be said anew."""

import errno
import re


class TranslatableMessage(str):
    """A sentence that remembers its form and what was put in, so that the studio can say it in another language."""

    def __new__(cls, form: str, **values):
        sentence = super().__new__(cls, form.format(**values))
        sentence.form, sentence.values = form, values
        return sentence

    def __getnewargs_ex__(self):  # pickled on its way out of a GPU process
        return (self.form,), self.values


class UserError(Exception):
    """A mistake or a lack that the user can mend; its text is one sentence that says how.

    The command line prints it on stderr and exits with 2; the studio shows it as a notice. With values the text is
    the form of a TranslatableMessage, which the studio can say in another language.
    """

    def __init__(self, text: str, **values):
        super().__init__(TranslatableMessage(text, **values) if values else text)


def resource_error(error: BaseException | None) -> str:
    """What the machine lacks, by an error of the system or a library: "disk", "rights", "memory", or "" for none."""
    text = str(error)
    inner = re.search(r"\(os error (\d+)\)", text)  # how safetensors tells what the system said
    code = error.errno if isinstance(error, OSError) else int(inner[1]) if inner else None
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "disk"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "rights"
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return "memory"
    return ""
