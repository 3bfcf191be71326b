"""Errors that a user can resolve, translatable messages, and the classification of resource errors."""

import errno
import re


class TranslatableMessage(str):
    """A formatted message that keeps its template and values, so that the studio can translate it."""

    def __new__(cls, template: str, **values):
        message = super().__new__(cls, template.format(**values))
        message.template, message.values = template, values
        return message

    def __getnewargs_ex__(self):  # GPU worker processes send messages by pickle
        return (self.template,), self.values


class UserError(Exception):
    """A mistake that the user can correct; its text is one sentence that says what to do.

    The command line prints the text on stderr and exits with status 2; the studio shows it as a notice. With keyword
    values, the text is the template of a TranslatableMessage.
    """

    def __init__(self, text: str, **values):
        super().__init__(TranslatableMessage(text, **values) if values else text)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether the error says that GPU or CPU memory is exhausted."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "out of memory" in text.lower()  # CUDA
        or "can't allocate memory" in text  # PyTorch's CPU allocator
        or "ALLOC_FAILED" in text  # cuBLAS and cuDNN
    )


def resource_error(error: BaseException | None) -> str:
    """Classify an error of the system or a library: "disk", "rights", "memory", or "" for any other error."""
    inner = re.search(r"\(os error (\d+)\)", str(error))  # safetensors puts the system's code in its message
    code = error.errno if isinstance(error, OSError) else int(inner[1]) if inner else None
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "disk"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "rights"
    return "memory" if is_out_of_memory(error) else ""


def system_reason(error: BaseException | None) -> str:
    """Return what the system says in an error, such as "No space left on device", without the library's own words."""
    inner = re.search(r"I/O error: (.+) \(os error \d+\)", str(error))  # of safetensors
    return inner[1] if inner else getattr(error, "strerror", None) or str(error)


def shortened(text: str, length: int) -> str:
    """Cut the middle out of a text that is longer than `length` characters."""
    return text if len(text) <= length else f"{text[: length // 2]} … {text[-length // 2 :]}"
