"""Where a runner's two sockets are: the one thing that parent and child must agree on before they talk."""


def reply_address(folder: str) -> str:
    """Bound by the parent; every thread of the child that has something to say connects to it."""
    return f"ipc://{folder}/replies"


def command_address(folder: str) -> str:
    """Bound by the child once its model is loaded."""
    return f"ipc://{folder}/commands"
