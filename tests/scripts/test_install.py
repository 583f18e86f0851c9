"""scripts/install: what it asks of the machine, and what it hands to the build of llama.cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def test_the_build_flags_come_after_the_callers_own(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", "-O2 -g")
    monkeypatch.delenv("CXXFLAGS", raising=False)
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    monkeypatch.setattr(installer, "processor", lambda: "avx2")
    env = installer.build_environment()
    assert env["CFLAGS"] == "-O2 -g -fno-tree-dse -fno-dse"
    assert env["CXXFLAGS"] == "-fno-tree-dse -fno-dse"
    assert env["CMAKE_ARGS"] == "-DGGML_CUDA=on"


@pytest.mark.parametrize(
    ("instructions", "knows", "told"),
    [("avx2 avx512_fp16", True, True), ("avx2 avx512_fp16", False, False), ("avx2", True, False)],
)
def test_half_precision_arithmetic_is_turned_off_where_it_is_slow(
    installer: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    instructions: str,
    knows: bool,
    told: bool,
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text(f"#!/bin/sh\nexit {0 if knows else 1}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(installer, "processor", lambda: instructions)
    env = installer.build_environment()
    assert (installer.NO_FP16 in env["CXXFLAGS"].split()) == told
    assert (installer.NO_FP16 in env["CFLAGS"].split()) == told


def test_uv_users_get_the_same_build_flags(installer: ModuleType, pyproject: dict[str, Any]) -> None:
    settings = pyproject["tool"]["uv"]["config-settings-package"]["llama-cpp-python"]
    assert set(settings.values()) == {installer.COMPILER_FLAGS}
    assert set(settings) == {"cmake.define.CMAKE_C_FLAGS", "cmake.define.CMAKE_CXX_FLAGS"}


@pytest.mark.parametrize("variable", ["CC", "CXX", "CFLAGS", "CXXFLAGS", "CMAKE_ARGS"])
def test_a_build_with_other_flags_is_another_build(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = installer.build_key("llama-cpp-python==1", installer.build_environment())
    assert before == installer.build_key("llama-cpp-python==1", installer.build_environment())
    monkeypatch.setenv(variable, "other")
    assert before != installer.build_key("llama-cpp-python==1", installer.build_environment())


def test_another_version_is_another_build(installer: ModuleType) -> None:
    env = installer.build_environment()
    assert installer.build_key("llama-cpp-python==1", env) != installer.build_key("llama-cpp-python==2", env)


def attention(installer: ModuleType, source: Path, body: str) -> Path:
    """A file as the patches of ggml expect it, with `body` in the function that they change."""
    path = source / installer.ATTENTION[0]
    path.parent.mkdir(parents=True)
    path.write_text(f"{body}\nstatic void {installer.ATTENTION[1]}{body}\n}}\n{body}\n")
    return path


def test_ggml_is_changed_in_the_one_function_that_is_slow(installer: ModuleType, tmp_path: Path) -> None:
    body = "".join(old for _, _, old, _ in installer.PATCHES)
    path = attention(installer, tmp_path, body)
    installer.patch(tmp_path)
    changed = "".join(new for _, _, _, new in installer.PATCHES)
    assert path.read_text() == f"{body}\nstatic void {installer.ATTENTION[1]}{changed}\n}}\n{body}\n"


def test_a_ggml_that_cannot_be_changed_as_wanted_is_not_built(
    installer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attention(installer, tmp_path, "something newer")
    with pytest.raises(SystemExit):
        installer.patch(tmp_path)
    assert "ops.cpp of this llama.cpp is not the one" in capsys.readouterr().err


def test_another_change_of_ggml_is_another_build(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = installer.build_environment()
    before = installer.build_key("llama-cpp-python==1", env)
    monkeypatch.setattr(installer, "PATCHES", installer.PATCHES[:1])
    assert installer.build_key("llama-cpp-python==1", env) != before


def test_builds_are_kept_in_the_users_cache_folder(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert installer.cache_folder().is_relative_to(tmp_path)


def test_a_missing_compiler_is_said_with_what_to_install(
    installer: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SystemExit) as stopped:
        installer.compile_llama(tmp_path / "pins.txt", tmp_path / "target", installer.build_environment())
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "no C++ compiler was found" in said
    assert "hint: Debian, Ubuntu: apt install build-essential" in said
    assert not (tmp_path / "target").exists()


def test_a_failed_build_shows_its_last_words_and_leaves_nothing_behind(
    installer: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(installer, "PYTHON", "false")
    monkeypatch.setattr(installer, "find_compiler", lambda: "c++")
    monkeypatch.setattr(installer, "fetch_source", lambda *_: tmp_path)
    monkeypatch.setattr(installer, "PATCHES", ())
    target = tmp_path / "cache" / "key"
    with pytest.raises(SystemExit):
        installer.compile_llama(tmp_path / "pins.txt", target, installer.build_environment())
    assert f"the whole log is {tmp_path / 'cache' / 'build.log'}" in capsys.readouterr().err
    assert not target.exists()


def test_without_a_suitable_python_it_says_what_to_install(root: Path, tmp_path: Path) -> None:
    for tool in ("dirname", "cat"):
        path = shutil.which(tool)
        assert path is not None
        (tmp_path / tool).symlink_to(path)
    run = subprocess.run(
        [root / "scripts" / "install"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "no Python 3.11 to 3.14" in run.stderr
    assert "hint: or name one: PYTHON=" in run.stderr
    assert run.stdout == ""


def test_an_unknown_argument_is_refused(root: Path) -> None:
    run = subprocess.run(
        [root / "scripts" / "install", "--nonsense"],
        env=os.environ | {"PIP_NO_INPUT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "--nonsense" in run.stderr
