"""Values of pipelines: commands, operands, variables, fields and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, cast

from agentkit_server.gotemplate.calls import call, check_count
from agentkit_server.gotemplate.functions import BUILTINS
from agentkit_server.gotemplate.limits import Budget, Exceeded
from agentkit_server.gotemplate.nodes import (
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Function,
    Nil,
    Operand,
    Pipeline,
    Position,
    Variable,
    spelled,
)
from agentkit_server.gotemplate.values import Fault, GoStruct, Kind, bare, is_function, kind, truth, type_name


class _Absent(Enum):
    """Marks, where any value may stand."""

    VALUE = 0
    """No value is handed on: this is the first command of its pipeline."""
    ELEMENT = 1
    """A nil that was found in a map, struct or list. Its fields are an error, where those of any other nil
    are nil. It is a plain nil once it went through a pipeline or is an argument."""


_PASSED_A_STEP = 32
"""Looking for a variable behind this many others costs as much as one step."""
_NONE = _Absent.VALUE
_NIL = _Absent.ELEMENT


def held(value: Any) -> Any:
    """`value` as it is found in a map, struct or list."""
    return _NIL if value is None else value


def _plain(value: Any) -> Any:
    return None if value is _NIL else value


class Evaluation:
    """Evaluates with the caller's `functions`, within `budget`. Raises Fault; `at` is then where."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], budget: Budget) -> None:
        self._functions = functions
        self._budget = budget
        self.variables: list[tuple[str, Any]] = []
        """Names and values, the innermost last."""
        self.at = Position(1, 1)
        """What is being worked on."""

    def pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        """Its value, which its variables have then too."""
        value: Any = _NONE
        for command in pipeline.commands:
            value = self._command(command, dot, value)
            value = _plain(value)
        for name in pipeline.variables:
            if pipeline.assigns:
                self.assign(name, value)
            else:
                self.variables.append((name, value))
        return value

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        """`final` is what the command before hands on."""
        self._budget.step()
        first, others = command.operands[0], command.operands[1:]
        self.at = first.at
        if isinstance(first, Function):
            return self._function(first, others, dot, final)
        if isinstance(first, Field | Chain) or (isinstance(first, Variable) and first.names):
            receiver = self._receiver(first, dot)
            return self._fields(receiver, first, self._arguments(others, dot, final))
        if others or final is not _NONE:
            raise Fault(f"can't give argument to non-function {spelled(first)}")
        if isinstance(first, Nil):
            raise Fault("nil is not a command")
        return self._operand(first, dot)

    def _operand(self, operand: Operand, dot: Any) -> Any:
        self.at = operand.at
        match operand:
            case Constant():
                return operand.value
            case Dot():
                return dot
            case Nil():
                return None
            case Pipeline():
                return self._nested(operand, dot)
            case Function():
                return self._function(operand, (), dot, _NONE)
            case Variable() if not operand.names:
                return self._variable(operand.name)
            case _:
                return self._fields(self._receiver(operand, dot), operand, None)

    def _nested(self, pipeline: Pipeline, dot: Any) -> Any:
        self._budget.enter()
        value = self.pipeline(pipeline, dot)
        self._budget.leave()
        return value

    def _arguments(self, operands: tuple[Operand, ...], dot: Any, final: Any) -> list[Any] | None:
        """None without any."""
        values = [self._argument(operand, dot) for operand in operands]
        if final is not _NONE:
            values.append(final)
        return values or None

    def _argument(self, operand: Operand, dot: Any) -> Any:
        return _plain(self._operand(operand, dot))

    def _variable(self, name: str) -> Any:
        return self.variables[self._position(name)][1]

    def assign(self, name: str, value: Any) -> None:
        self.variables[self._position(name)] = (name, value)

    def _position(self, name: str) -> int:
        """Of the innermost variable of that name."""
        for passed, (known, _) in enumerate(reversed(self.variables), 1):
            if known == name:
                self._budget.step(passed // _PASSED_A_STEP)
                return len(self.variables) - passed
        # It was declared, but in a body that was not gone through.
        raise Fault(f"undefined variable: {name}")

    # Fields

    def _receiver(self, operand: Field | Variable | Chain, dot: Any) -> Any:
        """What the first of the names is a field of."""
        if isinstance(operand, Field):
            return dot
        if isinstance(operand, Variable):
            return self._variable(operand.name)
        return self._operand(operand.operand, dot)

    def _fields(self, receiver: Any, node: Field | Variable | Chain, arguments: list[Any] | None) -> Any:
        """One field after the other; the last one, if it is a method, gets the arguments."""
        self.at = node.at
        for name in node.names[:-1]:
            receiver = self._field(receiver, name, None)
        return self._field(receiver, node.names[-1], arguments)

    def _field(self, receiver: Any, name: str, arguments: list[Any] | None) -> Any:
        if receiver is _NIL:
            raise Fault(f"nil pointer evaluating interface {{}}.{name}")
        value = bare(receiver)
        if value is None:
            return None
        found = self._found(value, name)
        if is_function(found):
            found = call(found, name, arguments or [], self._budget)
        elif arguments is not None:
            raise Fault(f"{name} is not a method but has arguments")
        return held(found)

    def _found(self, value: Any, name: str) -> Any:
        if isinstance(value, GoStruct):
            if name in value.fields:
                return value.fields[name]
        elif kind(value) is Kind.MAP:
            return cast("dict[str, Any]", value).get(name)
        raise Fault(f"can't evaluate field {name} in type {type_name(value)}")

    # Functions

    def _function(self, node: Function, operands: tuple[Operand, ...], dot: Any, final: Any) -> Any:
        function = self._functions.get(node.name)
        if function is not None:
            arguments = self._arguments(operands, dot, final) or []
            self.at = node.at
            value = call(function, node.name, arguments, self._budget)
            return held(value)
        builtin = BUILTINS[node.name]
        count = len(operands) + (final is not _NONE)
        check_count(node.name, count, builtin.least, builtin.most)
        if node.name in ("and", "or"):
            return self._logic(operands, dot, final, until=node.name == "or")
        if node.name == "call":
            return self._call(node, operands, dot, final)
        arguments = self._arguments(operands, dot, final) or []
        self.at = node.at
        try:
            return builtin.run(arguments, self._budget)
        except Exceeded:
            raise
        except Fault as fault:
            raise Fault(f"error calling {node.name}: {fault}") from fault

    def _logic(self, operands: tuple[Operand, ...], dot: Any, final: Any, *, until: bool) -> Any:
        """The first operand that is as true as `until`, else the last; those behind are not evaluated."""
        value: Any = None
        for operand in operands:
            value = self._argument(operand, dot)
            if truth(value) is until:
                return value
        return value if final is _NONE else final

    def _call(self, node: Function, operands: tuple[Operand, ...], dot: Any, final: Any) -> Any:
        """`call f x`: a function that is a value. A field is not called as a method before that."""
        function = self._callee(operands[0], dot) if operands else final
        arguments = self._arguments(operands[1:], dot, final if operands else _NONE) or []
        self.at = node.at
        if not is_function(function):
            what = "nil" if function is None else f"a value of type {type_name(function)}"
            raise Fault(f"error calling call: {what} is not a function")
        value = call(function, spelled(operands[0]) if operands else "call", arguments, self._budget)
        return held(value)

    def _callee(self, operand: Operand, dot: Any) -> Any:
        if not isinstance(operand, Field | Chain | Variable) or not operand.names:
            return self._argument(operand, dot)
        receiver = self._receiver(operand, dot)
        for name in operand.names[:-1]:
            receiver = self._field(receiver, name, None)
        if receiver is _NIL or receiver is None:
            return None
        return self._found(bare(receiver), operand.names[-1])
