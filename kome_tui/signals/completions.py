"""What an OpenAI-like server says: its models, the tokens of a stream, its errors. Pure.

Imported by the probe's child: standard library only. Everything here comes from outside, so any
shape must be survived, and texts are cleaned.
"""

import json
from typing import Any

from kome_tui.text import clean

SAID_LIMIT = 200
TOKENS_LIMIT = 1_000_000


def first_model(body: bytes) -> str | None:
    """The id of the first model of GET /v1/models; None where there is none."""
    models = json_object(body).get("data")
    model = models[0] if isinstance(models, list) and models else None
    name = model.get("id") if isinstance(model, dict) else None
    return name if isinstance(name, str) else None


def has_token(chunk: dict[str, Any]) -> bool:
    """Whether it carries text: not the role chunk, not the finish chunk, not the usage chunk."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    told = [choice.get("text")]
    if isinstance(delta, dict):
        told += [delta.get(key) for key in ("content", "reasoning_content", "reasoning")]
    return any(isinstance(text, str) and text for text in told)


def tokens_used(chunk: dict[str, Any]) -> int | None:
    """The server's own count of generated tokens, where the chunk has it."""
    usage = chunk.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and 0 < count <= TOKENS_LIMIT else None


def said(body: bytes) -> str:
    """`: ` and the message of an error answer, cleaned; empty without one, or for a page."""
    error = json_object(body).get("error")
    message = error.get("message") if isinstance(error, dict) else error
    text = clean(message if isinstance(message, str) else body.strip(), SAID_LIMIT)
    return f": {text}" if text and not text.startswith("<") else ""


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`; empty where there is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
