"""What a folder says of its licence is found, in no time whatever its files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit_server.models.convert.license import read_license


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"LICENSE": "All of it.", "README.md": "---\nlicense: mit\n---\n"}, "All of it."),
        ({"LICENSE": "", "LICENSE.md": "In this one."}, "In this one."),
        ({"LICENSE.txt": "© an old author".encode("latin-1")}, "\ufffd an old author"),
        ({"README.md": "---\nlanguage:\n- en\nlicense: 'apache-2.0' \n---\n# A model"}, "apache-2.0"),
        ({"README.md": "---\r\nlicense: mit\r\n---\r\n"}, "mit"),
        ({"README.md": "---\nlicense:\n- mit\n---\n"}, None),
        ({"README.md": "---\nlicense: mit\n"}, None),
        ({"README.md": "# A model\n---\nlicense: mit\n---\n"}, None),
        ({"README.md": ""}, None),
        ({}, None),
        # An expression that backtracks would take hours for these, and nothing else would run meanwhile.
        ({"README.md": "---" + "\n" * 500_000 + "x"}, None),
        ({"README.md": "---\n" + "license:\n" * 50_000 + "---\n"}, None),
    ],
)
def test_the_license_is_the_text_or_the_name_that_is_stated(
    files: dict[str, str | bytes], found: str | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_license({name: tmp_path / name for name in files}) == found
