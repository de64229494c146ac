"""The exception types of what a user can mend."""


class AvolError(Exception):
    """A mistake the user can mend: the message is one line that names the file, the fact and what to do.

    The command line prints the message and exits with 1; anything else that escapes is a bug and shows a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UnavailableError(AvolError):
    """A device that cannot be had here: a mistake if it was asked for by name, else a reason to take the next one.

    Args:
        message: as for :class:`AvolError`.
        reason: the same in a few words, for the line that says why another device was chosen.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
