"""Writes values as the plain YAML that load() accepts: no anchors, no tags, `none` for None."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Writes a value that occurs twice twice; an alias would be refused when read."""
        return True


def to_yaml(values: Mapping[str, object]) -> str:
    """`values` as YAML text, keys in their order. Raises TypeError for what YAML text cannot say.

    Mappings, lists, tuples, texts (StrEnum too), whole numbers, booleans, paths and None.
    """
    return yaml.dump(
        _plain(values), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=4096
    )


def _plain(value: object) -> object:
    match value:
        case None:
            return "none"
        case bool() | int():
            return value
        case str() | PurePath():
            return str(value)
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case Sequence() if not isinstance(value, bytes):
            return [_plain(each) for each in value]
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be written to topology.yaml")
