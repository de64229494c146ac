"""The one exception type that a user's mistake raises."""


class AvolError(Exception):
    """A mistake the user can mend: the message is one line that names the file, the fact and what to do.

    The command line prints the message and exits with 1; anything else that escapes is a bug and shows a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
