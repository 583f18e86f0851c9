"""What `scripts/install` does once it has found a Python: a virtual environment in .venv with the pinned
versions of constraints.txt and a llama.cpp compiled for this machine, which is kept in the user's cache
folder. Uses the standard library only; run again, it does only what has changed."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

# gcc 12 drops the stores that fill ggml's AMX tile configuration, and prefill then crashes; see
# docs/architecture.md, "Building llama.cpp". clang does not know the flags and ignores them.
COMPILER_FLAGS = "-fno-tree-dse -fno-dse"
# With AVX512-FP16 ggml adds up attention 128 numbers at a time and does the rest one by one: heads of 64, as
# small models have, are all rest. Without it smollm2 decodes 2.3 times as fast behind 1,000 tokens.
NO_FP16 = "-mno-avx512fp16"

# What is changed in ggml before it is compiled, as (file, function, old text, new text). Attention for a few
# tokens at a time reads the cells of each one's sequence out of those of all: it looks at every foreign cell
# by itself, for each head and layer, and jumps to another sequence with each token. Eight streams of 300
# tokens made 180 tokens/s, and 259 with both changes; the numbers that come out are the same.
ATTENTION = ("ggml/src/ggml-cpu/ops.cpp", "ggml_compute_forward_flash_attn_ext_f16_one_chunk(\n")
PATCHES = (
    (
        *ATTENTION,
        """        const int iq2 = (ir - iq3*neq2*neq1)/neq1;
        const int iq1 = (ir - iq3*neq2*neq1 - iq2*neq1);
""",
        """        // agentkit: all heads of a token one after the other, for they read the same cells
        const int iq1 = (ir - iq3*neq2*neq1)/neq2;
        const int iq2 = (ir - iq3*neq2*neq1 - iq1*neq2);
""",
    ),
    (
        *ATTENTION,
        """            if (mv == -INFINITY) {
                continue;
""",
        """            if (mv == -INFINITY) {
                // agentkit: four masked cells (-inf in half precision) a step
                uint64_t four;
                for (; ic + 4 < ic_end; ic += 4) {
                    memcpy(&four, mp + ic + 1, sizeof(four));
                    if (four != 0xFC00FC00FC00FC00u) {
                        break;
                    }
                }
                continue;
""",
    ),
)

# The caller's variables that change what is built.
BUILD_VARIABLES = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_ARGS", "CUDACXX", "CUDAFLAGS")

INSTRUCTION_SETS = re.compile(r"(s?sse|avx|amx|fma|f16c|bmi|asimd|sve|sme(?!p)|i8mm|bf16)")


def say(message: str) -> None:
    print(f"install: {message}", file=sys.stderr, flush=True)


def fail(message: str, *hints: str) -> NoReturn:
    say(f"error: {message}")
    for hint in hints:
        print(f"hint: {hint}", file=sys.stderr)
    raise SystemExit(1)


def sections(constraints: str) -> dict[str, str]:
    """The text of constraints.txt by section; a section starts at a `# [name]` line."""
    parts = re.split(r"^# \[(\w+)\].*\n", constraints, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def build_environment() -> dict[str, str]:
    """The caller's environment with our compiler flags after the caller's own."""
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    flags = f"{COMPILER_FLAGS} {NO_FP16}" if slow_fp16() else COMPILER_FLAGS
    for name in ("CFLAGS", "CXXFLAGS"):
        env[name] = f"{env.get(name, '')} {flags}".strip()
    return env


def slow_fp16() -> bool:
    """Would the compiler use AVX512-FP16, and can it be told not to? Older ones know neither."""
    compiler = find_compiler()
    if compiler is None or "avx512_fp16" not in processor().split():
        return False
    check = [compiler, NO_FP16, "-Werror", "-fsyntax-only", "-x", "c++", os.devnull]
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


def find_compiler() -> str | None:
    """The C++ compiler that CMake will choose, None when there is none."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name.split()[0]))), None)


def compiler_version() -> str:
    compiler = find_compiler()
    if compiler is None:
        return "none"
    run = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return run.stdout.partition("\n")[0]


def processor() -> str:
    """The instruction sets of this processor: a native build must not move to a lesser one."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        sysctl = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(sysctl, capture_output=True, text=True, check=False).stdout.strip()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), flags=re.MULTILINE)
    words = found.group(1).split() if found else []
    return " ".join(sorted({word for word in words if INSTRUCTION_SETS.match(word)}))


def build_key(requirement: str, env: dict[str, str]) -> str:
    """Names one build of llama.cpp: version, flags, compiler, machine. Other key, other build."""
    flags = [
        f"{name}={env.get(name, '')}" for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_ARGS")
    ]
    parts = [requirement, *flags, compiler_version(), platform.system(), platform.machine(), processor()]
    parts += ["".join(patch) for patch in PATCHES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agentkit" / "llama.cpp"


def pip_install(*args: str | Path, env: dict[str, str]) -> None:
    """pip shows its progress bars where someone watches, and only its complaints elsewhere."""
    quiet = [] if sys.stderr.isatty() else ["-q"]
    subprocess.run([PYTHON, "-m", "pip", "install", *quiet, *args], env=env, check=True, stdout=sys.stderr)


def usable_venv() -> bool:
    """False when .venv is missing, its Python is gone, or it was made in another folder."""
    script = VENV / "bin" / "pip"
    if not script.exists() or f"{VENV}/bin/" not in script.read_text():
        return False
    return subprocess.run([PYTHON, "-c", ""], check=False, capture_output=True).returncode == 0


def fetch_source(requirement: Path, folder: Path, env: dict[str, str]) -> Path:
    """The source of `requirement`, which carries its hash, unpacked in `folder`."""
    command = [PYTHON, "-m", "pip", "download", "-q", "--no-binary", "llama-cpp-python", "--no-deps"]
    command += ["--no-build-isolation", "--require-hashes", "-r", requirement, "-d", folder]
    subprocess.run(command, env=env, check=True, stdout=sys.stderr)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return source


def patch(source: Path) -> None:
    """Make the changes of PATCHES in the llama.cpp at `source`."""
    for name, function, old, new in PATCHES:
        path = source / name
        before, start, after = path.read_text().partition(function)
        body, end, rest = after.partition("\n}\n")
        if body.count(old) != 1:
            fail(f"{name} of this llama.cpp is not the one that scripts/_install.py knows how to change")
        path.write_text(before + start + body.replace(old, new) + end + rest)


def compile_llama(requirement: Path, target: Path, env: dict[str, str]) -> None:
    """Build the wheel of `requirement` into `target`, which appears only when it is complete."""
    if find_compiler() is None:
        fail(
            "no C++ compiler was found, and llama.cpp is compiled for this machine",
            "Debian, Ubuntu: apt install build-essential",
            "Fedora: dnf install gcc-c++",
            "macOS: xcode-select --install",
            "or name one: CC=... CXX=... scripts/install",
        )
    say("compiling llama.cpp for this machine: about 10 minutes on 2 cores, the first time only")
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.parent / "build.log"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source = fetch_source(requirement, Path(folder), env)
        patch(source / "vendor" / "llama.cpp")
        # pip's own cache of built wheels does not know with which flags one was built: stay out of it.
        command = [PYTHON, "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps", "--no-build-isolation"]
        command += [source, "-w", folder]
        if run_with_progress(command, log, env) != 0:
            print("\n".join(log.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
            fail(f"llama.cpp could not be compiled; the whole log is {log}")
        target.mkdir(exist_ok=True)
        for wheel in Path(folder).glob("*.whl"):
            wheel.replace(target / wheel.name)


def run_with_progress(command: Sequence[str | Path], log: Path, env: dict[str, str]) -> int:
    """Run `command` with its output in `log`, saying every 30 s how far it is; returns its exit status."""
    start = time.monotonic()
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env) as process,
    ):
        while True:
            try:
                return process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                minutes, seconds = divmod(int(time.monotonic() - start), 60)
                steps = re.findall(r"^\s*\[(\d+/\d+)\]", log.read_text(errors="replace"), flags=re.MULTILINE)
                say(f"  {minutes} min {seconds:02} s" + (f", step {steps[-1]}" if steps else ""))


def install_llama(requirement: Path, key: str, env: dict[str, str]) -> None:
    installed = VENV / "agentkit-llama"
    if installed.exists() and installed.read_text() == key:
        return
    target = cache_folder() / key
    if not list(target.glob("*.whl")):
        compile_llama(requirement, target, env)
    say(f"installing llama.cpp from {target}")
    pip_install("--no-deps", "--no-index", "--force-reinstall", *target.glob("*.whl"), env=env)
    installed.write_text(key)


def install(dev: bool) -> None:
    constraints = sections((ROOT / "constraints.txt").read_text())
    env = build_environment()
    key = build_key(constraints["llama"], env)
    inputs = [ROOT / "constraints.txt", ROOT / "pyproject.toml", Path(__file__)]
    stamp = hashlib.sha256(
        b"".join([path.read_bytes() for path in inputs]) + f"{ROOT}{key}".encode()
    ).hexdigest()
    stamps = [VENV / "agentkit-run", VENV / "agentkit-dev"][: 1 + dev]
    fresh = not usable_venv()
    if not fresh and stamps[-1].exists() and stamps[-1].read_text() == stamp:
        return say("up to date")

    if fresh:
        say(f"creating {VENV} with Python {platform.python_version()}")
        venv.create(VENV, clear=True, symlinks=True, with_pip=True)
    wanted = ["run", "build", "dev"] if dev else ["run", "build"]
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("".join(constraints[name] for name in wanted))
        say(f"installing the pinned versions of constraints.txt ({', '.join(wanted)})")
        pip_install("--no-deps", "--require-hashes", "-r", pins, env=env)
        requirement = Path(folder) / "llama.txt"
        requirement.write_text(constraints["llama"])
        install_llama(requirement, key, env)
    say("installing agentkit")
    pip_install("--no-deps", "--no-build-isolation", "-e", ROOT, env=env)
    for path in stamps:
        path.write_text(stamp)
    say("done: .venv/bin/agentkit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/install", description="Install agentkit into .venv")
    parser.add_argument("--dev", action="store_true", help="also what scripts/check and scripts/test use")
    try:
        install(parser.parse_args().dev)
    except subprocess.CalledProcessError as error:
        fail(
            f"{' '.join(map(str, error.cmd))} ended with status {error.returncode}; its own message is above"
        )
    except KeyboardInterrupt:
        raise SystemExit(130) from None
