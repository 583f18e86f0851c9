"""Which models are loaded, who waits for them, and who has to go.

Everything happens on one event loop and in reaction to something: a request, a release, a load that
ended, a timer, a death. Every change of state is made without awaiting; only loading and closing are
tasks, so no model's load holds up another model. Nothing polls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from itertools import count
from typing import Any

import anyio

from agentkit_server.errors import AgentkitError, BadRequest, LoadFailed, RunnerDied, ServerBusy
from agentkit_server.machine import Probe, probe
from agentkit_server.models.model import Model
from agentkit_server.residency.adapting import CheckedAdapters, adapt, drop, let_go
from agentkit_server.residency.clock import Clock, LoopClock
from agentkit_server.residency.context import Plan, expected_context, unexpected, validate
from agentkit_server.residency.keep_alive import parse_duration, parse_keep_alive
from agentkit_server.residency.loading import Load, is_memory
from agentkit_server.residency.room import Room, check_possible
from agentkit_server.residency.rows import row
from agentkit_server.residency.tenant import (
    Guest,
    KeptFor,
    Key,
    Place,
    Reason,
    State,
    Tenant,
    Waiter,
    key_of,
)
from agentkit_server.residency.types import Lease, Loaded, LoadOptions
from agentkit_server.residency.waiting import Waiting
from agentkit_server.runner.protocol import Launcher, OnProgress, Runner
from agentkit_server.settings import Settings

log = logging.getLogger(__name__)

MAX_LOADED_AUTO = 3
RELEASE_S = 2.0
"""That a runner may take to let go of what a run pinned."""


class Residence:
    """The Residency of a server.

    Requests for one model are served in the order they came; loads that need room get it in the order
    they asked. `settings.max_queue` bounds the requests that wait for a lease, on all models together;
    those that hold one are bounded by each model's sequences. A load goes on when the only request
    that waited for it is cancelled: the model is then idle, and its keep-alive applies.

    Models that differ in adapters and texts only are guests of one tenant, as long as they ask for the same
    load options, and one that asks for no context gets what it would get alone: the weights are there once,
    and each guest has a keep-alive of its own. One that asks for other options while others are there gets a
    tenant of its own.
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
        self._tenants: list[Tenant] = []
        self._homes: dict[Key, Tenant] = {}
        """Where requests for a model go."""
        self._waiting = Waiting(settings.max_queue)
        self._claims: deque[Key] = deque()
        """Models that are to be loaded and have no room yet."""
        self._adapters = CheckedAdapters()
        self._arrivals = count()
        self._tasks: set[asyncio.Task[None]] = set()
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
        checked = await self._adapters.find(model)
        tenant, guest = await self._acquire(model, options, given, on_progress)
        granted = self._clock.now()
        assert tenant.runner is not None
        try:
            adapters = await adapt(tenant, guest, checked)
            waited = round((self._clock.now() - asked) * 1e9)
            yield Lease(tenant.runner, tenant.runner.facts.n_ctx, waited, adapters)
        finally:
            self._waiting.learn(self._clock.now() - granted)
            self._release(tenant, guest)

    async def unload(self, model: Model) -> bool:
        """Unload `model` once idle; returns when it is gone, or at once when requests still run on it, or
        others share its weights. False when it was not loaded."""
        tenant = self._homes.get(key_of(model))
        if tenant is None:
            return False
        guest = tenant.guests[key_of(model)]
        if tenant.state is State.LOADING:
            guest.leaves_after = True
        self._send_off(tenant, guest, Reason.ASKED)
        if tenant.closing is not None:
            await asyncio.shield(tenant.closing)
        return True

    def loaded(self) -> list[Loaded]:
        """One row for each model in memory or on its way there, the one used last first."""
        rows = [(tenant, guest) for tenant in self._tenants for guest in tenant.guests.values()]
        rows.sort(key=lambda pair: pair[1].used_at, reverse=True)
        now = self._clock.now()
        return [row(tenant, guest, now) for tenant, guest in rows]

    def context_length(self, model: Model, options: LoadOptions) -> int:
        """The context that a request with `options` gets: what the model is loaded with where that suits it,
        else what a load would aim at. Raises BadRequest."""
        tenant = self._homes.get(key_of(model))
        if tenant is None or not tenant.fits(model, options):
            tenant = self._shared(model, options)
        if tenant is not None:
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
                for tenant in self._tenants:
                    if tenant.state in (State.READY, State.LEAVING) and tenant.runner is not None:
                        together.start_soon(_unpin, tenant.runner, run_id)

    async def close(self) -> None:
        """End every load and every runner, and refuse whoever waits or comes. Idempotent."""
        self._closed = True
        self._waiting.refuse_all(_shutting_down())
        self._claims.clear()
        for tenant in list(self._tenants):
            tenant.stop_timers()
            if tenant.task is not None:
                tenant.task.cancel()
            if tenant.runner is not None and tenant.state is not State.CLOSING:
                self._start_closing(tenant)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- waiting and holding ------------------------------------------------------------------------

    async def _acquire(
        self, model: Model, options: LoadOptions, keep_alive: KeptFor | None, on_progress: OnProgress | None
    ) -> Place:
        if self._closed:
            raise _shutting_down()
        validate(model, options)
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = Waiter(model, options, keep_alive, on_progress, future, next(self._arrivals))
        if not self._is_free_for(waiter):
            check_possible(model, options, self._settings, self._probe())
            self._waiting.check(sum(tenant.leases for tenant in self._tenants))
        self._waiting.add(waiter)
        self._serve(waiter.key)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._withdraw(waiter)
            elif future.exception() is None:
                self._release(*future.result())
            raise

    def _is_free_for(self, waiter: Waiter) -> bool:
        tenant = self._homes.get(waiter.key) or self._shared(waiter.model, waiter.options)
        return tenant is not None and waiter.key not in self._waiting and tenant.takes(waiter)

    def _serve(self, key: Key) -> None:
        """Move the queue of one model on as far as it goes now."""
        while (head := self._waiting.head(key)) is not None:
            tenant = self._home(head)
            if tenant is None:
                if key not in self._claims:
                    self._claims.append(key)
                    self._admit()
                return
            if not tenant.suits(head):
                self._dismiss(tenant, Reason.RELOAD)
            if not tenant.takes(head):
                return
            self._grant(tenant, head)

    def _serve_all(self, tenant: Tenant) -> None:
        """Move the queues of all who share these weights on: who waits for longest comes first."""
        while granted := [head for head in self._waiting.heads(tenant.guests) if self._takes(tenant, head)]:
            self._grant(tenant, granted[0])
        for head in self._waiting.heads(tenant.guests):
            self._serve(head.key)

    def _takes(self, tenant: Tenant, waiter: Waiter) -> bool:
        return self._homes.get(waiter.key) is tenant and tenant.takes(waiter)

    def _grant(self, tenant: Tenant, waiter: Waiter) -> None:
        self._waiting.remove(waiter)
        guest = tenant.guests[waiter.key]
        guest.stop_timer()
        guest.leases += 1
        guest.used_at = self._clock.now()
        if waiter.keep_alive is not None:
            guest.keep_alive = waiter.keep_alive.seconds
        waiter.future.set_result(Place(tenant, guest))

    def _release(self, tenant: Tenant, guest: Guest) -> None:
        guest.leases -= 1
        guest.used_at = self._clock.now()
        self._serve_all(tenant)
        self._settle(tenant, guest)
        self._admit()

    def _settle(self, tenant: Tenant, guest: Guest) -> None:
        """Start what has to start once a model is idle: its keep-alive, or its end."""
        if tenant.state is State.LEAVING and tenant.idle:
            self._start_closing(tenant)
        elif tenant.state is not State.READY or not guest.idle:
            return
        elif guest.leaves_after or guest.keep_alive == 0:
            self._send_off(tenant, guest, Reason.EXPIRED)
        elif guest.keep_alive is not None:
            guest.stop_timer()
            now = self._clock.now()
            guest.timer = self._clock.call_later(
                max(tenant.expires_at(guest, now) - now, 0.0),
                lambda: self._send_off(tenant, guest, Reason.EXPIRED),
            )

    def _settle_all(self, tenant: Tenant) -> None:
        for guest in list(tenant.guests.values()):
            self._settle(tenant, guest)

    def _withdraw(self, waiter: Waiter) -> None:
        """Undo what a request that was cancelled while it waited had set off, as far as that has not
        happened yet."""
        self._waiting.remove(waiter)
        if self._waiting.head(waiter.key) is None and waiter.key in self._claims:
            self._claims.remove(waiter.key)
        for tenant in list(self._tenants):
            if tenant.state is State.LEAVING and not self._must_leave(tenant):
                log.info("keeping %s: nobody waits for its place any more", tenant.names)
                tenant.state = State.READY
                self._serve_all(tenant)
                self._settle_all(tenant)
        self._serve(waiter.key)
        home = self._homes.get(waiter.key)
        if home is not None:
            self._settle(home, home.guests[waiter.key])
        self._admit()

    def _must_leave(self, tenant: Tenant) -> bool:
        if tenant.reason is Reason.ROOM:
            return bool(self._claims)
        unsuited = not all(tenant.suits(head) for head in self._waiting.heads(tenant.guests))
        moved = all(self._homes.get(key) is not tenant for key in tenant.guests)
        return tenant.reason is not Reason.RELOAD or unsuited or moved

    # --- sharing ------------------------------------------------------------------------------------

    def _home(self, waiter: Waiter) -> Tenant | None:
        """Where `waiter` is to be served, with its model among the guests; None = it needs a load."""
        home = self._homes.get(waiter.key)
        if home is not None and home.suits(waiter):
            return home
        other = self._shared(waiter.model, waiter.options)
        if other is None and (home is None or len(home.guests) == 1):
            return home
        if home is not None:
            guest = home.guests[waiter.key]
            guest.leaves_after = True
            del self._homes[waiter.key]
            self._send_off(home, guest, Reason.RELOAD)
        if other is not None:
            self._take_in(other, waiter.model)
        return other

    def _shared(self, model: Model, options: LoadOptions) -> Tenant | None:
        """Weights that are there, or on their way, and suit a model that is no guest there yet."""
        for tenant in self._tenants:
            if tenant.state in (State.LOADING, State.READY) and self._could_join(tenant, model, options):
                extra = tenant.extra(model)
                if not extra or extra <= self._room().free:
                    return tenant
        return None

    def _could_join(self, tenant: Tenant, model: Model, options: LoadOptions) -> bool:
        """What another model asked for gives no model a shorter context than it would have alone."""
        if not tenant.fits(model, options):
            return False
        least = expected_context(model, options, self._settings, self._vram_total) if tenant.asked else 0
        return tenant.plan.spec.n_ctx >= least

    def _take_in(self, tenant: Tenant, model: Model) -> None:
        guest = tenant.guests.get(key_of(model)) or Guest(model, self._keep_alive, self._clock.now())
        guest.leaves_after = False
        tenant.guests[guest.key] = guest
        self._homes[guest.key] = tenant
        for other in list(tenant.guests.values()):
            if other is not guest and other.model.name.key == model.name.key:
                # It was made anew under its name: nobody can ask for what it was.
                other.leaves_after = True
                self._send_off(tenant, other, Reason.RELOAD)

    def _send_off(self, tenant: Tenant, guest: Guest, reason: Reason) -> None:
        """Unload a model: its weights too, when nobody shares them."""
        if tenant.state is not State.READY:
            return
        if len(tenant.guests) == 1:
            self._dismiss(tenant, reason)
            return
        guest.stop_timer()
        at_home = self._homes.get(guest.key) is tenant
        if not guest.idle or (at_home and self._waiting.head(guest.key) is not None):
            # Who waits may ask for another keep-alive than the one that ran out.
            guest.leaves_after |= reason is not Reason.EXPIRED
            return
        log.info("unloading %s, whose weights others use: %s", guest.model.name, reason.value)
        del tenant.guests[guest.key]
        if at_home:
            del self._homes[guest.key]
        for unused in let_go(tenant, guest):
            assert tenant.runner is not None
            self._spawn(drop(tenant.runner, unused))

    def _invite(self, tenant: Tenant) -> None:
        """Spare those that wait for a load of the same weights."""
        for key in list(self._claims):
            head = self._waiting.head(key)
            if head is not None and self._shared(head.model, head.options) is tenant:
                self._claims.remove(key)
                self._serve(key)

    # --- loading ------------------------------------------------------------------------------------

    def _room(self) -> Room:
        return Room(self._settings, self._max_loaded, self._probe(), list(self._tenants), self._clock.now())

    def _admit(self) -> None:
        """Load, or make room for, the models that wait for room, in the order they came."""
        while self._claims and not self._closed:
            key = self._claims[0]
            waiter = self._waiting.head(key)
            if waiter is None:
                self._claims.popleft()
                continue
            if self._shared(waiter.model, waiter.options) is not None:
                self._claims.popleft()
                self._serve(key)
                continue
            try:
                found = self._room().find(waiter.model, waiter.options)
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
        tenant = Tenant(waiter.model, plan, waiter.options.num_ctx is not None, note=notes)
        self._tenants.append(tenant)
        self._take_in(tenant, waiter.model)
        tenant.task = self._spawn(self._bring_in(tenant, waiter.options))
        self._invite(tenant)

    async def _bring_in(self, tenant: Tenant, options: LoadOptions) -> None:
        try:
            runner, note = await self._loaded_runner(tenant)
        except asyncio.CancelledError:
            self._gone(tenant)
            raise
        except Exception as error:
            self._gone(tenant)
            failure = _as_load_failed(tenant, error)
            for key in tenant.guests:
                self._failed(key, options, failure)
        else:
            tenant.note = "; ".join(filter(None, (tenant.note, note)))
            self._moved_in(tenant, runner)
        self._serve_all(tenant)
        self._settle_all(tenant)
        self._admit()

    async def _loaded_runner(self, tenant: Tenant) -> tuple[Runner, str]:
        try:
            return await self._load.run(tenant.plan.spec, lambda done: self._report(tenant, done))
        except LoadFailed as error:
            idle = [other for other in self._tenants if other.state is State.READY and other.idle]
            if not (idle and is_memory(error)):
                raise
            log.warning("%s: %s; evicting idle models, once more", tenant.names, error.message)
        for other in idle:
            self._dismiss(other, Reason.ROOM)
        await asyncio.gather(*(asyncio.shield(other.closing) for other in idle if other.closing))
        return await self._load.run(tenant.plan.spec, lambda done: self._report(tenant, done))

    def _report(self, tenant: Tenant, fraction: float) -> None:
        tenant.progress = fraction
        for waiter in [waiter for key in tenant.guests for waiter in self._waiting.of(key)]:
            if waiter.on_progress is not None:
                waiter.on_progress(fraction)

    def _moved_in(self, tenant: Tenant, runner: Runner) -> None:
        tenant.runner = runner
        tenant.state = State.READY
        for guest in tenant.guests.values():
            guest.used_at = self._clock.now()
        tenant.task = self._spawn(self._watch(tenant, runner))

    def _failed(self, key: Key, options: LoadOptions, error: AgentkitError) -> None:
        """Tell everyone who waited for a load with `options`; others are tried on their own."""
        waiters = [waiter for waiter in self._waiting.of(key) if waiter.options == options]
        self._waiting.refuse(waiters, error)
        self._serve(key)

    # --- leaving ------------------------------------------------------------------------------------

    def _dismiss(self, tenant: Tenant, reason: Reason) -> None:
        if tenant.state is not State.READY:
            return
        log.info("unloading %s: %s", tenant.names, reason.value)
        tenant.stop_timers()
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
            log.exception("the runner of %s did not end cleanly", tenant.names)
        finally:
            self._gone(tenant)
            self._serve_all(tenant)
            self._admit()

    async def _watch(self, tenant: Tenant, runner: Runner) -> None:
        await runner.wait_closed()
        if tenant.state is State.CLOSING:
            return
        log.error("the runner of %s ended unexpectedly", tenant.names)
        self._gone(tenant)
        self._serve_all(tenant)
        self._admit()
        await runner.close()

    def _gone(self, tenant: Tenant) -> None:
        tenant.stop_timers()
        tenant.state = State.GONE
        if tenant in self._tenants:
            self._tenants.remove(tenant)
        for key in tenant.guests:
            if self._homes.get(key) is tenant:
                del self._homes[key]

    # --- the rest -----------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _unpin(runner: Runner, run_id: str) -> None:
    with suppress(RunnerDied):
        await runner.unpin(run_id)


def _shutting_down() -> ServerBusy:
    return ServerBusy("the server is shutting down; try again once it is back")


def _as_load_failed(tenant: Tenant, error: Exception) -> AgentkitError:
    if isinstance(error, AgentkitError):
        log.warning("%s could not be loaded: %s", tenant.names, error.message)
        return error
    log.error("%s could not be loaded", tenant.names, exc_info=error)
    return LoadFailed(f"the model could not be loaded: {error!r}; the server's log has the details")


def _setting(name: str, text: str, default: float) -> float:
    """A duration setting; one that cannot be read is said and its default used, as Ollama does."""
    try:
        return parse_duration(text)
    except BadRequest as error:
        log.warning("AGENTKIT_%s: %s; using %g seconds", name, error.message, default)
        return default
