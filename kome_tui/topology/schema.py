"""What the model says about a path of the file: the keys it has, whether it may be unset.

Asks the model itself, so that nothing about a field is written down twice.
"""

import ast
import inspect
from collections.abc import Mapping
from enum import EnumMeta
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from kome_tui.topology import model
from kome_tui.topology.document import Keys
from kome_tui.topology.model import Frozen, Topology


def json_schema() -> dict[str, Any]:
    """The JSON schema of topology.yaml, for editors that check and complete while one types."""
    schema = Topology.model_json_schema(by_alias=True, schema_generator=_Written)
    definitions = schema["$defs"] | {Topology.__name__: schema}
    for (owner, key), text in _docstrings().items():
        properties = definitions.get(owner, {}).get("properties", {})
        if key in properties:
            properties[key]["description"] = text
    return schema


class _Written(GenerateJsonSchema):
    """The schema of what is written: `none` where Python has None."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """A value that may be unset: the word for that, beside what else is allowed."""
        return {"anyOf": [self.generate_inner(schema["schema"]), {"const": "none"}]}

    def encode_default(self, dft: Any) -> Any:
        """A default as it is written."""
        return "none" if dft is None else super().encode_default(dft)


def allowed_keys(path: Keys) -> tuple[str, ...]:
    """The keys that may stand in the mapping at `path`; empty where any name may."""
    kind = _kind_at(path)
    if isinstance(kind, type) and issubclass(kind, Frozen):
        return tuple(_aliases(kind))
    key = get_args(kind)[0] if get_origin(kind) is Mapping else None
    return tuple(key) if isinstance(key, EnumMeta) else ()


def may_be_none(path: Keys) -> bool:
    """Whether `none` may be written at `path`."""
    return NoneType in get_args(_kind_at(path, keep_none=True))


def _kind_at(path: Keys, *, keep_none: bool = False) -> Any:
    kind: Any = Topology
    for key in path:
        kind = _inside(_without_none(kind), key)
    return kind if keep_none else _without_none(kind)


def _inside(kind: Any, key: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, Frozen):
        return _aliases(kind).get(str(key))
    if get_origin(kind) is Mapping:
        return get_args(kind)[1]
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def _without_none(kind: Any) -> Any:
    kinds = [each for each in get_args(kind) if each is not NoneType]
    if NoneType not in get_args(kind):
        return kind
    first = kinds[0]
    return get_args(first)[0] if hasattr(first, "__metadata__") else first


def _aliases(kind: type[Frozen]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def _docstrings() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for owner in ast.parse(inspect.getsource(model)).body:
        if isinstance(owner, ast.ClassDef):
            for field, text in zip(owner.body, owner.body[1:], strict=False):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=key)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ):
                        found[owner.name, key] = words
    return found
