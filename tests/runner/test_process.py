"""The runner that is a real child process, on the real smollm2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import gguf
import msgspec
import psutil
import pytest
import zmq
from support.smollm2 import gguf_path

from agentkit_server.engine.types import Delta, Finished, Generate, LoadSpec, Sampling
from agentkit_server.errors import (
    BadRequest,
    InvalidGrammar,
    LoadFailed,
    PromptTooLong,
    RunnerCrashed,
    RunnerDied,
)
from agentkit_server.runner.pipe import command_address
from agentkit_server.runner.process import Process, ProcessLauncher

pytestmark = pytest.mark.anyio
TIMEOUT = 120


@pytest.fixture(scope="session")
def spec() -> LoadSpec:
    return LoadSpec(path=str(gguf_path()), n_ctx=512, n_cells=1024, n_seq_max=8)


@pytest.fixture
async def runner(spec: LoadSpec) -> AsyncIterator[Process]:
    process = await ProcessLauncher().launch(spec)
    yield process
    await process.close()


async def request(runner: Process, prompt: str = "Once upon a time", max_tokens: int = 8) -> Generate:
    tokens = await runner.tokenize(prompt)
    greedy = Sampling(temperature=0)
    return Generate(id=0, prompt=tokens, max_tokens=max_tokens, sampling=greedy, ignore_eos=True)


async def test_a_request_streams_deltas_and_then_how_it_finished(runner: Process) -> None:
    with anyio.fail_after(TIMEOUT):
        replies = [r async for r in runner.generate(await request(runner))]
    *deltas, end = replies
    assert isinstance(end, Finished)
    tokens = [t for d in deltas if isinstance(d, Delta) for t in d.tokens]
    assert len(tokens) == end.usage.completion_tokens == 8
    text = "".join(d.text for d in deltas if isinstance(d, Delta))
    assert text == await runner.detokenize(tokens)


async def test_text_becomes_tokens_and_text_again(runner: Process) -> None:
    text = "<|im_start|>naïve 👩‍👧 text"
    tokens = await runner.tokenize(text)
    assert tokens[0] == 1
    assert await runner.detokenize(tokens) == text
    with pytest.raises(BadRequest, match="token id 999999 is outside the vocabulary"):
        await runner.detokenize([999999])


async def test_a_grammar_binds_the_answer_and_a_bad_one_is_an_error(runner: Process) -> None:
    with anyio.fail_after(TIMEOUT):
        free = await request(runner)
        asked = msgspec.structs.replace(free, grammar='start: "yes" <[2]>', marks=[2], ignore_eos=False)
        delta, end = [r async for r in runner.generate(asked)]
        assert isinstance(delta, Delta) and isinstance(end, Finished)
        assert (delta.text, delta.marks, end.reason) == ("yes", [(3, 2)], "stop")
        bad = msgspec.structs.replace(asked, grammar="start: nothing")
        with pytest.raises(InvalidGrammar, match="cannot be compiled"):
            await anext(runner.generate(bad))
    assert runner.facts.control["<|im_end|>"] == 2


async def test_secrets_do_not_reach_the_child(spec: LoadSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENTKIT_API_KEYS", "AGENTKIT_REGISTRY_AUTH", "HF_TOKEN", "hf_token"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("AGENTKIT_OTHER", "harmless")
    with anyio.fail_after(TIMEOUT):
        runner = await ProcessLauncher().launch(spec)
        environment = psutil.Process(runner.pid).environ()
        await runner.close()
    assert "AGENTKIT_OTHER" in environment
    assert "secret" not in environment.values()


async def test_a_prompt_that_does_not_fit_names_both_lengths(runner: Process) -> None:
    with pytest.raises(PromptTooLong, match="600 tokens against 512"):
        await anext(runner.generate(Generate(id=0, prompt=[1] * 600)))


async def test_leaving_a_stream_cancels_it_in_the_engine(runner: Process) -> None:
    with anyio.fail_after(TIMEOUT):
        stream = runner.generate(await request(runner, max_tokens=-1))
        await anext(stream)
        await stream.aclose()
        stats = await runner.stats()
        assert (await runner.drop_cache()).cells_used == 0
    assert stats.sequences_running == 0


async def test_a_killed_child_ends_its_streams_and_no_others(runner: Process, spec: LoadSpec) -> None:
    with anyio.fail_after(TIMEOUT):
        victim = await ProcessLauncher().launch(spec)
        doomed = victim.generate(await request(victim, max_tokens=-1))
        await anext(doomed)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(RunnerDied, match=r"model runner has unexpectedly stopped \(killed by SIGKILL"):
            async for _ in doomed:
                pass
        await victim.wait_closed()
        assert not victim.alive
        with pytest.raises(RunnerDied):
            await victim.tokenize("hello")
        replies = [r async for r in runner.generate(await request(runner))]
        await victim.close()
    assert isinstance(replies[-1], Finished)


async def test_a_file_that_cannot_be_loaded_is_an_error_with_llama_cpps_own_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with anyio.fail_after(TIMEOUT), pytest.raises(LoadFailed, match=r"could not be loaded: .*gguf"):
        await ProcessLauncher().launch(LoadSpec(path=str(broken), n_ctx=64, n_cells=64))


async def test_a_crash_while_loading_is_told_apart_by_its_signal(spec: LoadSpec) -> None:
    def crash(_: float) -> None:
        for child in psutil.Process().children():
            child.send_signal(signal.SIGSEGV)

    with anyio.fail_after(TIMEOUT), pytest.raises(RunnerCrashed) as caught:
        await ProcessLauncher().launch(spec, crash)
    assert caught.value.signal == signal.SIGSEGV


async def test_closing_ends_the_child_and_its_folder(runner: Process) -> None:
    assert runner.pid is not None
    child = psutil.Process(runner.pid)
    folder = Path(runner.folder)
    assert (await anyio.Path(folder).stat()).st_mode & 0o077 == 0
    with anyio.fail_after(TIMEOUT):
        await runner.close()
        await runner.close()
    assert not child.is_running()
    assert not await anyio.Path(folder).exists()


async def test_a_runner_that_cannot_go_on_ends_instead_of_hanging(runner: Process) -> None:
    with anyio.fail_after(TIMEOUT):
        stream = runner.generate(await request(runner, max_tokens=-1))
        await anext(stream)
        with zmq.Context() as zeromq, zeromq.socket(zmq.PUSH) as intruder:
            intruder.connect(command_address(runner.folder))
            intruder.send(b"not a command")
            with pytest.raises(RunnerDied, match="exit code 1"):
                async for _ in stream:
                    pass


async def test_a_flood_on_stderr_neither_hides_nor_delays_a_failed_load(tmp_path: Path) -> None:
    file = tmp_path / "loud.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("x" * 200_000)
    writer.add_token_list(["a", "b", "ab"])
    writer.add_token_merges(["a b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with anyio.fail_after(TIMEOUT), pytest.raises(LoadFailed):
        await ProcessLauncher().launch(LoadSpec(path=str(file), n_ctx=64, n_cells=64))


async def test_files_of_the_folder_it_is_started_in_are_not_its_modules(
    tmp_path: Path, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anyio.Path(tmp_path / "random.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    with anyio.fail_after(TIMEOUT):
        runner = await ProcessLauncher().launch(spec)
        assert runner.alive
        await runner.close()


ORPHAN_MAKER = """
import anyio, sys, msgspec
from agentkit_server.engine.types import LoadSpec
from agentkit_server.runner.process import ProcessLauncher

async def main():
    runner = await ProcessLauncher().launch(msgspec.json.decode(sys.argv[1], type=LoadSpec))
    print(runner.pid, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


def test_a_child_does_not_outlive_its_parent(spec: LoadSpec) -> None:
    argument = msgspec.json.encode(spec).decode()
    with subprocess.Popen([sys.executable, "-c", ORPHAN_MAKER, argument], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=TIMEOUT)
    assert (len(gone), len(alive)) == (1, 0)
