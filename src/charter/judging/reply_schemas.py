"""The forms of JSON that models are asked to reply in, and the first object in what they reply."""

from __future__ import annotations

import json
import re
from typing import Any


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Reply schema of an object with these keys, all of them needed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


MESSAGE_SCHEMA = object_schema({"message": {"type": "string"}})
PROPOSAL_SCHEMA = object_schema({"title": {"type": "string"}, "text": {"type": "string"}, "scope": {"type": "string"}})
LOOKALIKE_SCHEMA = object_schema({"prompts": {"type": "array", "items": {"type": "string"}}})
THEME_SCHEMA = object_schema(
    {
        "names": {
            "type": "array",
            "items": object_schema({"number": {"type": "integer"}, "name": {"type": "string"}}),
        },
        "themes": {
            "type": "array",
            "items": object_schema(
                {
                    "numbers": {"type": "array", "items": {"type": "integer"}},
                    "name": {"type": "string"},
                    "why": {"type": "string"},
                }
            ),
        },
    }
)
MERGE_SCHEMA = object_schema(
    {
        "groups": {
            "type": "array",
            "items": object_schema(
                {
                    "numbers": {"type": "array", "items": {"type": "integer"}},
                    "title": {"type": "string"},
                    "text": {"type": "string"},
                    "scope": {"type": "string"},
                }
            ),
        },
        "conflicts": {
            "type": "array",
            "items": object_schema(
                {"numbers": {"type": "array", "items": {"type": "integer"}}, "why": {"type": "string"}},
            ),
        },
    }
)


def parse_json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a reply (bare, in a code fence, or among other words); None if there is none, or none
    that can be kept as UTF-8. Of a schema that was filled in, as small models do, what stands under ``properties``."""
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            filled = value.get("properties")
            return filled if value.get("type") == "object" and isinstance(filled, dict) else value
    return None
