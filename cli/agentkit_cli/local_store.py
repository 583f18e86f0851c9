"""The model store of this machine, opened by a command itself: servers read no file that a caller names, and
give none away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agentkit_cli.errors import CommandError, bad_setting

if TYPE_CHECKING:
    from agentkit_server.models.store import Store

_LONGEST_NAME = 80


def open_store(doing: str) -> Store:
    """The store that a server here would use, by the same settings. `doing` is what it is for, in errors.

    Raises:
        CommandError: it cannot be opened, a setting cannot be read, or the server is not installed.
    """
    try:
        from pydantic import ValidationError

        from agentkit_server.errors import AgentkitError
        from agentkit_server.models.store import Store, default_root
        from agentkit_server.settings import Settings
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{doing} needs the package {error.name!r}", hint="pip install 'agentkit[server]'"
        ) from error
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue]
        return Store(settings.models or default_root(), tidy=not settings.noprune)
    except ValidationError as error:
        raise bad_setting(error) from error
    except AgentkitError as error:
        raise CommandError(error.message) from error


def allowed(name: str) -> str:
    """What of `name` the grammar of model names allows; "" when that is nothing."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip(".-")[:_LONGEST_NAME]
