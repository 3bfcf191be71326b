"""The one exception that carries a sentence for the person at the screen."""


class UserError(Exception):
    """A mistake or a lack that the user can mend; its text is one sentence that says how.

    The command line prints it on stderr and exits with 2; the studio shows it as a notice.
    """
