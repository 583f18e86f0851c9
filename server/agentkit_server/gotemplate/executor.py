"""Carries a template out: walks its tree with a dot, a stack of variables and a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, cast

from agentkit_server.errors import GoTemplateError
from agentkit_server.gotemplate.evaluation import Evaluation, held
from agentkit_server.gotemplate.limits import Budget, Limits
from agentkit_server.gotemplate.literals import quoted
from agentkit_server.gotemplate.nodes import (
    Action,
    Block,
    Body,
    Break,
    Continue,
    If,
    Pipeline,
    Position,
    Range,
    Statement,
    Template,
    Text,
    With,
)
from agentkit_server.gotemplate.printing import printed
from agentkit_server.gotemplate.values import Fault, Kind, bare, kind, sorted_items, truth, type_name, visible

Functions = Mapping[str, Callable[..., Any]]


class _Leaving(Enum):
    """Why a body ended early."""

    BREAK = "break"
    CONTINUE = "continue"


def execute(templates: Mapping[str, Body], functions: Functions, data: Any, limits: Limits) -> str:
    """What the template named "" writes for `data`. Raises GoTemplateError."""
    execution = _Execution(templates, functions, limits)
    try:
        execution.body(templates[""], data)
    except Fault as fault:
        raise GoTemplateError(str(fault), *execution.at) from fault
    except RecursionError:
        # The depth is bounded, but whoever called may have used up the stack himself.
        raise GoTemplateError("the template is nested too deeply", *execution.at) from None
    return execution.output()


class _Execution:
    def __init__(self, templates: Mapping[str, Body], functions: Functions, limits: Limits) -> None:
        self._templates = templates
        self._budget = Budget(limits)
        self._values = Evaluation(functions, self._budget)
        self._written: list[str] = []

    @property
    def at(self) -> Position:
        """What is being worked on."""
        return self._values.at

    def output(self) -> str:
        return visible("".join(self._written))

    def body(self, body: Body, dot: Any) -> None:
        """As a template of its own: with `dot` as `$`, and no other variables."""
        around, self._values.variables = self._values.variables, [("$", dot)]
        self._body(body, dot)
        self._values.variables = around

    def _body(self, body: Body, dot: Any) -> _Leaving | None:
        self._budget.enter()
        leaving = None
        for node in body:
            self._budget.step()
            self._values.at = node.at
            if isinstance(node, Text):
                self._write(node.text)
            elif isinstance(node, Action):
                self._action(node, dot)
            else:
                leaving = self._statement(node, dot)
                if leaving is not None:
                    break
        self._budget.leave()
        return leaving

    def _statement(self, node: Statement, dot: Any) -> _Leaving | None:
        match node:
            case If() | With():
                return self._branches(node, dot)
            case Range():
                return self._range(node, dot)
            case Break():
                return _Leaving.BREAK
            case Continue():
                return _Leaving.CONTINUE
            case Template() | Block():
                self._template(node, dot)
            case _:
                # A definition: it was found by the parser.
                pass
        return None

    def _write(self, text: str) -> None:
        self._budget.write(len(text))
        self._written.append(text)

    def _action(self, node: Action, dot: Any) -> None:
        value = self._values.pipeline(node.pipeline, dot)
        if node.pipeline.variables:
            return
        if value is None:
            self._write("<no value>")
        else:
            self._write(value if type(value) is str else printed([value], self._budget))

    def _branches(self, node: If | With, dot: Any) -> _Leaving | None:
        mark = len(self._values.variables)
        chosen, inner = node.otherwise, dot
        for branch in node.branches:
            value = self._values.pipeline(branch.pipeline, dot)
            if truth(value):
                chosen, inner = branch.body, value if isinstance(node, With) else dot
                break
        leaving = None if chosen is None else self._body(chosen, inner)
        del self._values.variables[mark:]
        return leaving

    def _range(self, node: Range, dot: Any) -> _Leaving | None:
        mark = len(self._values.variables)
        value = self._values.pipeline(node.pipeline, dot)
        inner = len(self._values.variables)
        leaving, ran = None, False
        for index, element in self._items(value, len(node.pipeline.variables)):
            ran = True
            self._budget.step()
            element = held(element)
            self._bind(node.pipeline, index, element)
            leaving = self._body(node.body, element)
            del self._values.variables[inner:]
            if leaving is _Leaving.BREAK:
                break
        leaving = None
        if not ran and node.otherwise is not None:
            leaving = self._body(node.otherwise, dot)
        del self._values.variables[mark:]
        # In `else`, `break` ends this range, and `continue` goes on with the one around it: so does Go.
        return None if leaving is _Leaving.BREAK else leaving

    def _items(self, value: Any, variables: int) -> Iterable[tuple[Any, Any]]:
        """Indexes or keys, and elements."""
        found, value = kind(value), bare(value)
        if found is Kind.NIL:
            return ()
        if found is Kind.SLICE:
            return enumerate(cast("list[Any]", value))
        if found is Kind.MAP:
            self._budget.step(len(value))
            return sorted_items(value)
        if found is not Kind.INT:
            raise Fault(f"range can't iterate over a value of type {type_name(value)}")
        if variables > 1:
            raise Fault(f"can't use {value} to iterate over more than one variable")
        return ((None, number) for number in range(value))

    def _bind(self, pipeline: Pipeline, index: Any, element: Any) -> None:
        """The variables of a range, for one iteration."""
        names = pipeline.variables
        values = (index, element)[-len(names) :] if names else ()
        if pipeline.assigns:
            for name, value in zip(names, values, strict=True):
                self._values.assign(name, value)
        elif names:
            self._values.variables[-len(names) :] = zip(names, values, strict=True)

    def _template(self, node: Template | Block, dot: Any) -> None:
        body = self._templates.get(node.name)
        if body is None:
            raise Fault(f"template {quoted(node.name)} not defined")
        value = None if node.pipeline is None else self._values.pipeline(node.pipeline, dot)
        self.body(body, value)
