"""The check of a configuration that is not in its place yet: everything that is wrong with its text."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from gateway.config.mistakes import sentences
from gateway.config.model import Config
from gateway.config.section import Load
from gateway.config.wiring import endpoints
from gateway.errors import UsageError


def mistakes_in(text: str, file: Path) -> tuple[str, ...]:
    """What is wrong with a configuration, as if it stood in `file`; a sentence each, which begins with the
    file's name. No sentence shows a value that could be a secret."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return (f"{file}: this is not valid TOML: {error}",)
    try:
        endpoints(Config.model_validate(raw, context=Load(file)).meter)
    except ValidationError as error:
        return tuple(sentences(file, raw, Config, error))
    except UsageError as error:
        return tuple(f"{file}: {line}" for line in str(error).splitlines())
    return ()
