"""Which models are loaded, who waits for them, and who has to go.

Everything happens on one event loop and in reaction to something: a request, a release, a load that
ended, a timer, a death. Every change of state is made without awaiting; only loading and closing are
tasks, so no model's load holds up another model. Nothing polls.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import anyio

from agentkit_server.errors import AgentkitError, BadRequest, LoadFailed, RunnerDied, ServerBusy
from agentkit_server.machine import Probe, probe
from agentkit_server.models.model import Model
from agentkit_server.residency.clock import Clock, LoopClock
from agentkit_server.residency.context import Plan, expected_context, suits, unexpected, validate
from agentkit_server.residency.keep_alive import parse_duration, parse_keep_alive
from agentkit_server.residency.loading import Load, is_memory
from agentkit_server.residency.room import Room, check_possible
from agentkit_server.residency.tenant import KeptFor, Key, Reason, State, Tenant, Waiter, key_of
from agentkit_server.residency.types import Lease, Loaded, LoadOptions
from agentkit_server.runner.protocol import Launcher, OnProgress, Runner
from agentkit_server.settings import Settings

log = logging.getLogger(__name__)

BUSY = "server busy, please try again.  maximum pending requests exceeded"
MAX_LOADED_AUTO = 3
RETRY_AFTER_MOST = 60
RELEASE_S = 2.0
"""That a runner may take to let go of what a run pinned."""


class Residence:
    """The Residency of a server.

    Requests for one model are served in the order they came; loads that need room get it in the order
    they asked. `settings.max_queue` bounds the requests that wait for a lease, on all models together;
    those that hold one are bounded by each model's sequences. A load goes on when the only request
    that waited for it is cancelled: the model is then idle, and its keep-alive applies.
    """

    def __init__(
        self,
        launcher: Launcher,
        settings: Settings,
        *,
        probe: Probe = probe,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._probe = probe
        self._clock = clock or LoopClock()
        self._load = Load(launcher, self._clock, _setting("LOAD_TIMEOUT", settings.load_timeout, 300.0))
        keep_alive = _setting("KEEP_ALIVE", settings.keep_alive, 300.0)
        self._keep_alive = None if keep_alive < 0 else keep_alive
        self._max_loaded = settings.max_loaded_models or MAX_LOADED_AUTO
        self._tenants: dict[Key, Tenant] = {}
        self._queues: dict[Key, deque[Waiter]] = {}
        self._claims: deque[Key] = deque()
        """Models that are to be loaded and have no room yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 1.0
        """Seconds that a lease is held, as a moving average: what Retry-After is computed from."""
        self._closed = False

    @asynccontextmanager
    async def lease(
        self,
        model: Model,
        options: LoadOptions,
        keep_alive: str | float | None = None,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Lease]:
        """Wait for a runner of `model` that was loaded with what `options` ask for, and hold it.

        Raises ServerBusy, LoadFailed, InsufficientMemory, BadRequest.
        """
        asked = self._clock.now()
        given = None if keep_alive is None else KeptFor(parse_keep_alive(keep_alive))
        tenant = await self._acquire(model, options, given, on_progress)
        granted = self._clock.now()
        assert tenant.runner is not None
        try:
            yield Lease(tenant.runner, tenant.runner.facts.n_ctx, round((granted - asked) * 1e9))
        finally:
            self._held += (self._clock.now() - granted - self._held) / 8
            self._release(tenant)

    async def unload(self, model: Model) -> bool:
        """Unload `model` once idle; returns when it is gone, or at once when requests still run on it.
        False when it was not loaded."""
        tenant = self._tenants.get(key_of(model))
        if tenant is None:
            return False
        if tenant.state is State.LOADING:
            tenant.leaves_after = True
        self._dismiss(tenant, Reason.ASKED)
        if tenant.closing is not None:
            await asyncio.shield(tenant.closing)
        return True

    def loaded(self) -> list[Loaded]:
        """One row for each model in memory or on its way there, the one used last first."""
        tenants = sorted(self._tenants.values(), key=lambda tenant: tenant.used_at, reverse=True)
        return [self._row(tenant) for tenant in tenants]

    def context_length(self, model: Model, options: LoadOptions) -> int:
        """The context that a request with `options` gets: what the model is loaded with where that suits it,
        else what a load would aim at. Raises BadRequest."""
        tenant = self._tenants.get(key_of(model))
        if tenant is not None and suits(tenant.plan.spec, model, options):
            return tenant.plan.spec.n_ctx
        return expected_context(model, options, self._settings, self._vram_total)

    @cached_property
    def _vram_total(self) -> int:
        """Asked once: it does not change, and a list of models needs it for every one of them."""
        return self._probe().vram_total

    async def release(self, run_id: str) -> None:
        """Let the prefixes that a run pinned, on whatever model, go like any other. A runner that is stuck
        holds nobody up: its pins end with their time."""
        with anyio.move_on_after(RELEASE_S):
            async with anyio.create_task_group() as together:
                for tenant in self._tenants.values():
                    if tenant.state in (State.READY, State.LEAVING) and tenant.runner is not None:
                        together.start_soon(_unpin, tenant.runner, run_id)

    async def close(self) -> None:
        """End every load and every runner, and refuse whoever waits or comes. Idempotent."""
        self._closed = True
        for key in list(self._queues):
            self._refuse(key, list(self._queues[key]), _shutting_down())
        self._claims.clear()
        for tenant in list(self._tenants.values()):
            tenant.stop_timer()
            if tenant.task is not None:
                tenant.task.cancel()
            if tenant.runner is not None and tenant.state is not State.CLOSING:
                self._start_closing(tenant)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- waiting and holding ------------------------------------------------------------------------

    async def _acquire(
        self, model: Model, options: LoadOptions, keep_alive: KeptFor | None, on_progress: OnProgress | None
    ) -> Tenant:
        if self._closed:
            raise _shutting_down()
        validate(model, options)
        future: asyncio.Future[Tenant] = asyncio.get_running_loop().create_future()
        waiter = Waiter(model, options, keep_alive, on_progress, future)
        if not self._is_free_for(waiter):
            check_possible(model, options, self._settings, self._probe())
            self._check_queue()
        self._queues.setdefault(waiter.key, deque()).append(waiter)
        self._serve(waiter.key)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._withdraw(waiter)
            elif future.exception() is None:
                self._release(future.result())
            raise

    def _is_free_for(self, waiter: Waiter) -> bool:
        tenant = self._tenants.get(waiter.key)
        return tenant is not None and waiter.key not in self._queues and tenant.takes(waiter)

    def _check_queue(self) -> None:
        waiting = sum(map(len, self._queues.values()))
        if waiting < self._settings.max_queue:
            return
        running = max(sum(tenant.leases for tenant in self._tenants.values()), 1)
        seconds = math.ceil(self._held * waiting / running)
        raise ServerBusy(BUSY, retry_after=min(max(seconds, 1), RETRY_AFTER_MOST))

    def _head(self, key: Key) -> Waiter | None:
        """The first request that still waits for this model."""
        queue = self._queues.get(key)
        while queue and queue[0].future.done():
            # Cancelled a moment ago; its task has yet to run.
            queue.popleft()
        if queue:
            return queue[0]
        self._queues.pop(key, None)
        return None

    def _serve(self, key: Key) -> None:
        """Move the queue of one model on as far as it goes now."""
        tenant, head = self._tenants.get(key), self._head(key)
        if tenant is None:
            if head is not None and key not in self._claims:
                self._claims.append(key)
                self._admit()
            return
        while head is not None and tenant.takes(head):
            self._queues[key].popleft()
            self._grant(tenant, head)
            head = self._head(key)
        if head is not None and not tenant.suits(head):
            self._dismiss(tenant, Reason.RELOAD)

    def _grant(self, tenant: Tenant, waiter: Waiter) -> None:
        tenant.stop_timer()
        tenant.leases += 1
        tenant.used_at = self._clock.now()
        if waiter.keep_alive is not None:
            tenant.keep_alive = waiter.keep_alive.seconds
        waiter.future.set_result(tenant)

    def _release(self, tenant: Tenant) -> None:
        tenant.leases -= 1
        tenant.used_at = self._clock.now()
        self._serve(tenant.key)
        self._settle(tenant)
        self._admit()

    def _settle(self, tenant: Tenant) -> None:
        """Start what has to start once a model is idle: its keep-alive, or its end."""
        if not tenant.idle:
            return
        if tenant.state is State.LEAVING:
            self._start_closing(tenant)
        elif tenant.state is State.READY and (tenant.leaves_after or tenant.keep_alive == 0):
            self._dismiss(tenant, Reason.EXPIRED)
        elif tenant.state is State.READY and tenant.keep_alive is not None:
            tenant.stop_timer()
            tenant.timer = self._clock.call_later(
                tenant.keep_alive, lambda: self._dismiss(tenant, Reason.EXPIRED)
            )

    def _withdraw(self, waiter: Waiter) -> None:
        """Undo what a request that was cancelled while it waited had set off, as far as that has not
        happened yet."""
        queue = self._queues.get(waiter.key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
        if self._head(waiter.key) is None and waiter.key in self._claims:
            self._claims.remove(waiter.key)
        for tenant in list(self._tenants.values()):
            if tenant.state is State.LEAVING and not self._must_leave(tenant):
                log.info("keeping %s: nobody waits for its place any more", tenant.model.name)
                tenant.state = State.READY
                self._serve(tenant.key)
        self._serve(waiter.key)
        self._admit()

    def _must_leave(self, tenant: Tenant) -> bool:
        if tenant.reason is Reason.ROOM:
            return bool(self._claims)
        head = self._head(tenant.key)
        return tenant.reason is not Reason.RELOAD or (head is not None and not tenant.suits(head))

    def _refuse(self, key: Key, waiters: list[Waiter], error: AgentkitError) -> None:
        queue = self._queues[key]
        for waiter in waiters:
            queue.remove(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(_twin(error))
        if not queue:
            del self._queues[key]

    # --- loading ------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Load, or make room for, the models that wait for room, in the order they came."""
        while self._claims and not self._closed:
            key = self._claims[0]
            waiter = self._head(key)
            if waiter is None:
                self._claims.popleft()
                continue
            tenants = list(self._tenants.values())
            now = self._clock.now()
            room = Room(self._settings, self._max_loaded, self._probe(), tenants, now)
            try:
                found = room.find(waiter.model, waiter.options)
            except AgentkitError as error:
                self._claims.popleft()
                self._failed(key, waiter.options, error)
                continue
            if isinstance(found, Tenant):
                self._dismiss(found, Reason.ROOM)
            if not isinstance(found, Plan):
                return
            self._claims.popleft()
            self._start_load(waiter, found)

    def _start_load(self, waiter: Waiter, plan: Plan) -> None:
        notes = unexpected(waiter.model, waiter.options, self._settings, plan)
        if notes:
            log.warning("%s: %s", waiter.model.name, notes)
        tenant = Tenant(waiter.model, plan, self._keep_alive, note=notes, used_at=self._clock.now())
        self._tenants[tenant.key] = tenant
        tenant.task = self._spawn(self._bring_in(tenant, waiter.options))

    async def _bring_in(self, tenant: Tenant, options: LoadOptions) -> None:
        try:
            runner, note = await self._loaded_runner(tenant)
        except asyncio.CancelledError:
            self._gone(tenant)
            raise
        except Exception as error:
            self._gone(tenant)
            self._failed(tenant.key, options, _as_load_failed(tenant, error))
        else:
            tenant.note = "; ".join(filter(None, (tenant.note, note)))
            self._moved_in(tenant, runner)
        self._serve(tenant.key)
        self._settle(tenant)
        self._admit()

    async def _loaded_runner(self, tenant: Tenant) -> tuple[Runner, str]:
        try:
            return await self._load.run(tenant.plan.spec, lambda done: self._report(tenant, done))
        except LoadFailed as error:
            idle = [other for other in self._tenants.values() if other.state is State.READY and other.idle]
            if not (idle and is_memory(error)):
                raise
            log.warning("%s: %s; evicting idle models, once more", tenant.model.name, error.message)
        for other in idle:
            self._dismiss(other, Reason.ROOM)
        await asyncio.gather(*(asyncio.shield(other.closing) for other in idle if other.closing))
        return await self._load.run(tenant.plan.spec, lambda done: self._report(tenant, done))

    def _report(self, tenant: Tenant, fraction: float) -> None:
        tenant.progress = fraction
        for waiter in self._queues.get(tenant.key, ()):
            if waiter.on_progress is not None:
                waiter.on_progress(fraction)

    def _moved_in(self, tenant: Tenant, runner: Runner) -> None:
        tenant.runner = runner
        tenant.state = State.READY
        tenant.used_at = self._clock.now()
        tenant.task = self._spawn(self._watch(tenant, runner))

    def _failed(self, key: Key, options: LoadOptions, error: AgentkitError) -> None:
        """Tell everyone who waited for a load with `options`; others are tried on their own."""
        waiters = [waiter for waiter in self._queues.get(key, ()) if waiter.options == options]
        if waiters:
            self._refuse(key, waiters, error)
        self._serve(key)

    # --- leaving ------------------------------------------------------------------------------------

    def _dismiss(self, tenant: Tenant, reason: Reason) -> None:
        if tenant.state is not State.READY:
            return
        log.info("unloading %s: %s", tenant.model.name, reason.value)
        tenant.stop_timer()
        tenant.state, tenant.reason = State.LEAVING, reason
        if tenant.idle:
            self._start_closing(tenant)

    def _start_closing(self, tenant: Tenant) -> None:
        tenant.state = State.CLOSING
        tenant.closing = self._spawn(self._close_runner(tenant))

    async def _close_runner(self, tenant: Tenant) -> None:
        assert tenant.runner is not None
        if tenant.task is not None:
            tenant.task.cancel()
        try:
            await tenant.runner.close()
        except Exception:
            log.exception("the runner of %s did not end cleanly", tenant.model.name)
        finally:
            self._gone(tenant)
            self._serve(tenant.key)
            self._admit()

    async def _watch(self, tenant: Tenant, runner: Runner) -> None:
        await runner.wait_closed()
        if tenant.state is State.CLOSING:
            return
        log.error("the runner of %s ended unexpectedly", tenant.model.name)
        self._gone(tenant)
        self._serve(tenant.key)
        self._admit()
        await runner.close()

    def _gone(self, tenant: Tenant) -> None:
        tenant.stop_timer()
        tenant.state = State.GONE
        if self._tenants.get(tenant.key) is tenant:
            del self._tenants[tenant.key]

    # --- the rest -----------------------------------------------------------------------------------

    def _row(self, tenant: Tenant) -> Loaded:
        now, estimate, runner = self._clock.now(), tenant.plan.estimate, tenant.runner
        facts = None if runner is None else runner.facts
        weights = estimate.weights if facts is None else facts.weights_bytes
        left = None if tenant.keep_alive is None else timedelta(seconds=tenant.expires_at(now) - now)
        return Loaded(
            model=tenant.model,
            size=weights + estimate.total - estimate.weights - estimate.process,
            size_vram=0 if facts is None else facts.gpu_bytes,
            context_length=tenant.plan.spec.n_ctx if facts is None else facts.n_ctx,
            expires_at=None if left is None else datetime.now().astimezone() + left,
            stopping=tenant.leaving or tenant.leaves_after,
            note=tenant.note,
            pid=None if runner is None else runner.pid,
            loading=tenant.progress if runner is None else None,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _unpin(runner: Runner, run_id: str) -> None:
    with suppress(RunnerDied):
        await runner.unpin(run_id)


def _twin(error: AgentkitError) -> AgentkitError:
    """The same error for one more request: an exception gathers the traceback of each that raises it."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin


def _shutting_down() -> ServerBusy:
    return ServerBusy("the server is shutting down; try again once it is back")


def _as_load_failed(tenant: Tenant, error: Exception) -> AgentkitError:
    if isinstance(error, AgentkitError):
        log.warning("%s could not be loaded: %s", tenant.model.name, error.message)
        return error
    log.error("%s could not be loaded", tenant.model.name, exc_info=error)
    return LoadFailed(f"the model could not be loaded: {error!r}; the server's log has the details")


def _setting(name: str, text: str, default: float) -> float:
    """A duration setting; one that cannot be read is said and its default used, as Ollama does."""
    try:
        return parse_duration(text)
    except BadRequest as error:
        log.warning("AGENTKIT_%s: %s; using %g seconds", name, error.message, default)
        return default
