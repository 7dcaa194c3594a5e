"""topology -> one self-contained nginx.conf per node, named by the digest of its content.

The same topology gives the same bytes on every machine: no clock, no host name, no set order. The
id is taken over the file with @ID@ in the id's place, so a node can check it with sed and sha256.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache, partial

from jinja2 import FunctionLoader, StrictUndefined
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kome_tui.errors import RenderError
from kome_tui.nginx.context import OUR_TEXTS, Context, context_of
from kome_tui.nginx.shape import check_shape, neutral
from kome_tui.topology.load import packaged_file
from kome_tui.topology.model import Topology

PLACEHOLDER = "@ID@"

_VALUE = re.compile(r"[A-Za-z0-9_.,:/~*%\[\]-]+\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """What one node is to serve."""

    node: str
    id: str
    """12 hex digits."""
    conf: str


def render_release(topology: Topology, name: str) -> Release:
    """Render the configuration of the node called `name`.

    Raises RenderError where the topology's values do not go together or change the structure of the
    file, KeyError for an unknown node.
    """
    context = context_of(topology, name)
    text = render_text(context)
    check_shape(text, render_text(neutral(context)), name)
    release = release_id(text)
    return Release(name, release, text.replace(PLACEHOLDER, release))


def render_text(context: Context) -> str:
    """Return the file of ready values, with @ID@ in the id's place; its shape is not checked.

    Raises RenderError where a template names what it does not get, or a value is no single word.
    """
    try:
        return environment("nginx").get_template(f"{context.role}.conf.j2").render(c=context)
    except TemplateError as error:
        where = f"node {context.node}"
        raise RenderError(f"template {context.role}: {error}", where=where) from error


def render_all(topology: Topology) -> dict[str, Release]:
    """Render every node, in the topology's order."""
    return {name: render_release(topology, name) for name in topology.nodes}


def release_id(text_with_placeholder: str) -> str:
    """Return the 12 hex digits that name a file, taken with @ID@ in the id's place."""
    return hashlib.sha256(text_with_placeholder.encode()).hexdigest()[:12]


@cache
def environment(folder: str) -> ImmutableSandboxedEnvironment:
    """The templates of `templates/FOLDER`, into which only single words of a topology get."""
    return ImmutableSandboxedEnvironment(
        loader=FunctionLoader(partial(_template, folder)),
        undefined=StrictUndefined,
        finalize=_only_values,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _template(folder: str, name: str) -> str | None:
    path = packaged_file(f"templates/{folder}/{name}")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _only_values(value: object) -> str:
    """Let nothing into a file that could be more than one word of it.

    The topology's grammar has refused it long before: this holds where a grammar is widened.
    """
    if type(value) is int:
        return str(value)
    if type(value) is str and (_VALUE.match(value) or value in OUR_TEXTS):
        return value
    raise RenderError(f"{value!r} may not stand in a configuration")
