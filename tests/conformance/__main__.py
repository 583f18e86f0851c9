"""How far the grammars of JSON Schemas go, over real schemas and the official suite: `just conformance`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.corpus import Case, maskbench, official
from tests.conformance.measure import Tally, measure


def main() -> None:
    # An instance is written piece by piece, each piece a call inside the one before.
    sys.setrecursionlimit(20_000)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help="core, tools, official (default: all)")
    parser.add_argument("--limit", type=int, help="only every n-th schema", default=1, metavar="N")
    parser.add_argument("--failures", action="store_true", help="name the schemas behind the figures")
    chosen = parser.parse_args()
    sets = {
        "core": lambda: maskbench("core_dev"),
        "tools": lambda: maskbench("tools_dev"),
        "official": official,
    }
    for name in chosen.sets or sets:
        try:
            cases: list[Case] = sets[name]()
        except FileNotFoundError as missing:
            print(f"{name}: skipped, {missing.filename} is not there")
            continue
        tally = measure(cases[:: chosen.limit])
        print(report(name, tally))
        if chosen.failures:
            print("\n".join(tally.failures))


def report(name: str, tally: Tally) -> str:
    """The figures, one a line."""
    schemas = sum(tally.levels.values())
    lines = [f"{name}: {schemas} schemas, {tally.instances} instances"]
    lines += [
        f"  {level:<44}{tally.levels[level]:>7}  {_share(tally.levels[level], schemas)}"
        for level in ("exact", "checked", "refused")
    ]
    served = tally.levels["exact"] + tally.levels["checked"]
    lines.append(f"  {'exact + checked':<44}{served:>7}  {_share(served, schemas)}")
    for level in ("exact", "checked"):
        refused, invalid = tally.invalid_refused[level], tally.invalid[level]
        label = f"invalid instances refused in decoding, {level}"
        lines.append(f"  {label:<44}{refused:>7}  {_share(refused, invalid)}")
        if tally.guarded[level]:
            alone = refused - tally.guarded[level]
            lines.append(f"  {'  by the grammar alone':<44}{alone:>7}  {_share(alone, invalid)}")
        lines.append(f"  {f'wrong accepts, {level}':<44}{invalid - refused:>7}")
    lines.append(f"  {'wrong accepts left by checking':<44}{tally.unseen:>7}")
    lines.append(
        f"  {'valid instances reachable':<44}{tally.reached:>7}  {_share(tally.reached, tally.valid)}"
    )
    measured = (("build", tally.build), ("build, CPU", tally.build_cpu), ("repeated", tally.repeated))
    for label, times in measured:
        lines.append(f"  {f'{label}, ms: p50 / p99 / worst':<44}{_quantiles(times)}")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:6.2f} %" if whole else "     -"


def _quantiles(times: list[float]) -> str:
    ordered = sorted(times)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99, 1)]
    return " / ".join(f"{1000 * seconds:.3f}" for seconds in at)


if __name__ == "__main__":
    main()
