"""Whether a model may be loaded now, and if not, who has to leave. Decides only: residency.py acts.

In order: fewer parallel sequences, then idle models go, then a shorter context where the caller named
none, then a busy model finishes its requests and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentkit_server.errors import BadRequest, InsufficientMemory
from agentkit_server.machine import Memory
from agentkit_server.models.model import Model
from agentkit_server.residency.context import Plan, fits_without_context, plan, shrunk
from agentkit_server.residency.memory import size
from agentkit_server.residency.tenant import State, Tenant
from agentkit_server.residency.types import LoadOptions
from agentkit_server.settings import Settings


@dataclass(frozen=True)
class Room:
    """The machine as it is at one moment. `now` is the clock's time."""

    settings: Settings
    max_loaded: int
    memory: Memory
    tenants: Sequence[Tenant]
    now: float

    @property
    def free(self) -> int:
        """Bytes that a further model may take. Weights that are mapped count as available to the system
        although they are in use, so what is promised is also held against the whole machine."""
        loading = sum(t.total for t in self.tenants if t.state is State.LOADING)
        promised = sum(t.total for t in self.tenants)
        return max(min(self.memory.available - loading, self.memory.capacity - promised), 0)

    def find(self, model: Model, options: LoadOptions) -> Plan | Tenant | None:
        """A plan: load now. A tenant: it has to leave first. None: wait for what is under way.

        Raises InsufficientMemory when there is nobody left to leave.
        """
        chosen = plan(model, options, self.settings, self.memory, self.free)
        staying = [tenant for tenant in self.tenants if not tenant.leaving]
        if len(staying) >= self.max_loaded:
            return self._victim(staying)
        if len(self.tenants) >= self.max_loaded:
            return None
        if chosen.estimate.total <= self.free:
            return chosen
        if len(staying) < len(self.tenants):
            return None
        victim = self._victim(staying)
        if victim is not None and victim.idle:
            return victim
        smaller = shrunk(model, options, self.settings, chosen, self.free)
        if smaller.estimate.total <= self.free:
            return smaller
        if staying:
            return victim
        raise _insufficient(chosen, self.free)

    def _victim(self, staying: Sequence[Tenant]) -> Tenant | None:
        ready = [tenant for tenant in staying if tenant.state is State.READY]
        return min(ready, key=lambda tenant: tenant.eviction_order(self.now), default=None)


def check_possible(model: Model, options: LoadOptions, settings: Settings, memory: Memory) -> None:
    """Refuse at once what could not be loaded on this machine even if it had nothing else to do, so
    that no model is unloaded for it.

    Raises InsufficientMemory, BadRequest for absurd options and where it is the num_ctx asked for that
    does not fit.
    """
    capacity = memory.capacity
    chosen = plan(model, options, settings, memory, capacity)
    chosen = shrunk(model, options, settings, chosen, capacity)
    if chosen.estimate.total <= capacity:
        return
    if options.num_ctx is not None and fits_without_context(model, options, settings, capacity):
        raise BadRequest(
            f"num_ctx {options.num_ctx!r} needs {chosen.estimate} of memory and this machine has "
            f"{size(capacity)}; ask for a smaller num_ctx",
            param="num_ctx",
        )
    raise _insufficient(chosen, capacity)


def _insufficient(chosen: Plan, free: int) -> InsufficientMemory:
    return InsufficientMemory(
        f"model requires more system memory ({chosen.estimate}) than is available ({size(free)}) at a "
        f"context of {chosen.spec.n_ctx} tokens; ask for a smaller num_ctx, set "
        f"AGENTKIT_KV_CACHE_TYPE=q8_0, or free memory by stopping other models and programs"
    )
