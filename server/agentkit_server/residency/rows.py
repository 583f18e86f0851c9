"""Rows of `ps`: one for each model that is loaded, also where several share one runner."""

from __future__ import annotations

from datetime import datetime, timedelta

from agentkit_server.residency.tenant import Guest, Tenant
from agentkit_server.residency.types import Loaded


def row(tenant: Tenant, guest: Guest, now: float) -> Loaded:
    """`guest` as it is at `now`, the clock's time. What it shares with others counts whole, and is said."""
    estimate, runner = tenant.plan.estimate, tenant.runner
    facts = None if runner is None else runner.facts
    weights = estimate.weights if facts is None else facts.weights_bytes
    working = estimate.total - estimate.weights - estimate.adapters - estimate.process
    left = None if guest.keep_alive is None else timedelta(seconds=tenant.expires_at(guest, now) - now)
    return Loaded(
        model=guest.model,
        size=weights + sum(guest.adapters.values()) + working,
        size_vram=0 if facts is None else facts.gpu_bytes,
        context_length=tenant.plan.spec.n_ctx if facts is None else facts.n_ctx,
        expires_at=None if left is None else datetime.now().astimezone() + left,
        stopping=tenant.leaving or guest.leaves_after,
        note="; ".join(filter(None, (tenant.note, guest.note, _sharing(tenant, guest)))),
        pid=None if runner is None else runner.pid,
        loading=tenant.progress if runner is None else None,
    )


def _sharing(tenant: Tenant, guest: Guest) -> str:
    others = [other.model.name.short for other in tenant.guests.values() if other is not guest]
    return f"shares its weights in memory with {', '.join(others)}" if others else ""
