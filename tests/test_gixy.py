"""gixy-ng, another project's judge of nginx configurations, finds nothing in what we render."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.rendered_shapes import rendered_shapes

pytestmark = pytest.mark.skipif(
    find_spec("gixy") is None, reason="gixy-ng is not installed (pip install gixy-ng)"
)


def gixy(*files: Path) -> list[dict[str, Any]]:
    """Its findings, with every check it has."""
    program = "import sys; from gixy.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "-f", "json", *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)
    except json.JSONDecodeError:
        pytest.fail(f"gixy said no JSON: {ran.stdout[:2000]}{ran.stderr[:2000]}")
    return found


def test_it_finds_nothing_in_any_shape_of_what_we_render(tmp_path: Path) -> None:
    shapes = rendered_shapes()
    for name, conf in shapes.items():
        (tmp_path / f"{name}.conf").write_text(conf)

    assert len(shapes) > 30
    assert gixy(*sorted(tmp_path.iterdir())) == []


def test_it_would_find_what_it_looks_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("events {}\nhttp { server { location /a { alias /srv/b/; } stub_status; } }\n")

    assert {finding["plugin"] for finding in gixy(bad)} >= {"alias_traversal"}
