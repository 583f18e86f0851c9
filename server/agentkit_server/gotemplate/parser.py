"""From a template's source to its tree, with Go's grammar and its words for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from agentkit_server.errors import GoTemplateError
from agentkit_server.gotemplate.lexer import Lexeme, Lexer, Token
from agentkit_server.gotemplate.limits import MAX_NESTING, MAX_SOURCE
from agentkit_server.gotemplate.literals import character, number, quoted, unquoted
from agentkit_server.gotemplate.nodes import (
    Action,
    Block,
    Body,
    Branch,
    Break,
    Chain,
    Command,
    Constant,
    Continue,
    Define,
    Dot,
    Field,
    Function,
    If,
    Nil,
    Operand,
    Pipeline,
    Position,
    Range,
    Statement,
    Template,
    Text,
    Variable,
    With,
    spelled,
)
from agentkit_server.gotemplate.values import Fault

_Value = TypeVar("_Value")
_CONSTANTS = frozenset({Lexeme.BOOL, Lexeme.CHARACTER, Lexeme.NUMBER, Lexeme.STRING})
_OPERANDS = _CONSTANTS | {Lexeme.DOT, Lexeme.FIELD, Lexeme.WORD, Lexeme.VARIABLE, Lexeme.LEFT}
_WHITE = " \t\n\v\f\r\x85\xa0"


@dataclass(frozen=True, slots=True)
class Parsed:
    """The tree of a source, and its templates by name: the source itself is named ""."""

    root: Body
    templates: dict[str, Body]


def parse(source: str, functions: Collection[str]) -> Parsed:
    """Raises GoTemplateError at the place where `source` cannot be read, or is not within the bounds."""
    if len(source) > MAX_SOURCE:
        message = f"the source has {len(source)} characters; at most {MAX_SOURCE} are read"
        raise GoTemplateError(message, 1, 1)
    try:
        return _Parser(source, frozenset(functions)).parsed()
    except RecursionError:
        # The depth is bounded, but whoever called may have used up the stack himself.
        raise GoTemplateError("the template is nested too deeply", 1, 1) from None


class _Parser:
    def __init__(self, source: str, functions: frozenset[str]) -> None:
        self._tokens = Lexer(source, functions).tokens()
        self._waiting: list[Token] = []
        """Tokens that were looked at, the next one last."""
        self._functions = functions
        self._variables = ["$"]
        self._ranges = 0
        self._depth = 0
        self._templates: dict[str, Body] = {}

    def parsed(self) -> Parsed:
        root, end = self._statements(top=True)
        if end.lexeme is not Lexeme.END:
            raise _error(f"unexpected {{{{{end.source}}}}}", end)
        self._add("", root, end)
        return Parsed(root, self._templates)

    # Statements

    def _statements(self, *, top: bool = False) -> tuple[Body, Token]:
        """Up to `end`, `else` or the end of the source, which is not allowed unless at the `top`."""
        body: list[Statement] = []
        while True:
            token = self._next()
            if token.lexeme is Lexeme.TEXT:
                body.append(Text(token.at, token.source))
                continue
            if token.lexeme is not Lexeme.OPEN:
                if token.lexeme is Lexeme.END and top:
                    return tuple(body), token
                _unexpected(token, "" if token.lexeme is Lexeme.END else "input")
            word = self._next_solid()
            if word.is_word("end", "else"):
                if word.source == "end":
                    self._expect(Lexeme.CLOSE, "end")
                return tuple(body), word
            body.append(self._statement(word, token.at, top))

    def _statement(self, word: Token, at: Position, top: bool) -> Statement:
        """The one whose first token inside of its braces is `word`."""
        if word.is_word("if", "with"):
            return self._branching(word.source, at)
        if word.is_word("range"):
            return self._range(at)
        if word.is_word("break", "continue"):
            return self._leaving(word, at)
        if word.is_word("template"):
            return self._template(at)
        if word.is_word("block"):
            return self._block(at)
        if word.is_word("define") and top:
            return self._define(at)
        self._waiting.append(word)
        return Action(at, self._pipeline("command", Lexeme.CLOSE))

    def _branching(self, word: str, at: Position) -> If | With:
        self._enter(at)
        known = len(self._variables)
        branches = [Branch(at, self._pipeline(word, Lexeme.CLOSE), ())]
        body, end = self._statements()
        branches = [Branch(at, branches[0].pipeline, body)]
        otherwise: Body | None = None
        while otherwise is None and end.is_word("else"):
            if self._peek_solid().is_word(word):
                following = self._next_solid().at
                pipeline = self._pipeline(word, Lexeme.CLOSE)
                body, end = self._statements()
                branches.append(Branch(following, pipeline, body))
            else:
                otherwise = self._otherwise()
        del self._variables[known:]
        self._depth -= 1
        return (If if word == "if" else With)(at, tuple(branches), otherwise)

    def _otherwise(self) -> Body:
        """What `else` without a condition leads in, including its `end`."""
        if self._peek_solid().is_word("if", "with"):
            _unexpected(self._next_solid(), "input")
        self._expect(Lexeme.CLOSE, "else")
        body, end = self._statements()
        if end.source != "end":
            raise _error("expected end; found {{else}}", end)
        return body

    def _range(self, at: Position) -> Range:
        self._enter(at)
        known = len(self._variables)
        pipeline = self._pipeline("range", Lexeme.CLOSE)
        self._ranges += 1
        body, end = self._statements()
        self._ranges -= 1
        otherwise = self._otherwise() if end.is_word("else") else None
        del self._variables[known:]
        self._depth -= 1
        return Range(at, pipeline, body, otherwise)

    def _leaving(self, word: Token, at: Position) -> Break | Continue:
        self._expect(Lexeme.CLOSE, f"{{{{{word.source}}}}}")
        if not self._ranges:
            raise _error(f"{{{{{word.source}}}}} outside {{{{range}}}}", word)
        return (Break if word.source == "break" else Continue)(at)

    def _template(self, at: Position) -> Template:
        name = self._name("template clause")
        if self._peek_solid().lexeme is Lexeme.CLOSE:
            self._next_solid()
            return Template(at, name, None)
        return Template(at, name, self._pipeline("template clause", Lexeme.CLOSE))

    def _block(self, at: Position) -> Block:
        name = self._name("block clause")
        pipeline = self._pipeline("block clause", Lexeme.CLOSE)
        return Block(at, name, pipeline, self._definition(name, "block clause", at))

    def _define(self, at: Position) -> Define:
        name = self._name("define clause")
        self._expect(Lexeme.CLOSE, "define clause")
        return Define(at, name, self._definition(name, "define clause", at))

    def _definition(self, name: str, context: str, at: Position) -> Body:
        """A body that knows no variables and no loops of what is around it."""
        self._enter(at)
        around = self._variables, self._ranges
        self._variables, self._ranges = ["$"], 0
        body, end = self._statements()
        if end.source != "end":
            raise _error(f"unexpected {{{{else}}}} in {context}", end)
        self._variables, self._ranges = around
        self._depth -= 1
        self._add(name, body, end)
        return body

    def _add(self, name: str, body: Body, end: Token) -> None:
        known = self._templates.get(name)
        if known is None or _is_empty(known):
            self._templates[name] = body
        elif not _is_empty(body):
            raise _error(f"multiple definition of template {quoted(name)}", end)

    def _name(self, context: str) -> str:
        token = self._expect(Lexeme.STRING, context)
        return _read(unquoted, token)

    # Pipelines

    def _pipeline(self, context: str, end: Lexeme) -> Pipeline:
        """Up to and with the token `end`."""
        at = self._peek_solid().at
        variables, assigns = self._declarations(context)
        commands: list[Command] = []
        while (token := self._next_solid()).lexeme is not end:
            if token.lexeme not in _OPERANDS and not token.is_word("nil"):
                _unexpected(token, context)
            self._waiting.append(token)
            commands.append(self._command(token.at))
        if not commands:
            raise _error(f"missing value for {context}", token)
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], Constant | Dot | Nil):
                raise GoTemplateError(f"non executable command in pipeline stage {stage}", *command.at)
        return Pipeline(at, variables, assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`, and whether it was `=`."""
        names: list[str] = []
        while self._peek_solid().lexeme is Lexeme.VARIABLE:
            variable, after = self._next_solid(), self._next()
            following = self._next() if after.lexeme is Lexeme.SPACE else after
            is_comma = following.lexeme is Lexeme.OTHER and following.source == ","
            if not is_comma and following.lexeme not in (Lexeme.DECLARE, Lexeme.ASSIGN):
                self._waiting += [following] if following is after else [following, after]
                self._waiting.append(variable)
                break
            names.append(variable.source)
            self._variables.append(variable.source)
            if not is_comma:
                return tuple(names), following.lexeme is Lexeme.ASSIGN
            self._check_comma(context, names, following)
        return tuple(names), False

    def _check_comma(self, context: str, names: list[str], comma: Token) -> None:
        if context != "range" or len(names) > 1:
            raise _error(f"too many declarations in {context}", comma)
        following = self._peek_solid()
        if following.lexeme not in (Lexeme.VARIABLE, Lexeme.CLOSE, Lexeme.RIGHT):
            raise _error("range can only initialize variables", following)

    def _command(self, at: Position) -> Command:
        """Operands with spaces between them, up to a `|`, which is read, or to what closes the pipeline."""
        operands: list[Operand] = []
        while True:
            self._peek_solid()
            operand = self._operand()
            operands += [] if operand is None else [operand]
            token = self._next()
            if token.lexeme is Lexeme.SPACE:
                continue
            if token.lexeme in (Lexeme.CLOSE, Lexeme.RIGHT):
                self._waiting.append(token)
            elif token.lexeme is not Lexeme.PIPE:
                _unexpected(token, "operand")
            return Command(at, tuple(operands))

    def _operand(self) -> Operand | None:
        """A term with the fields behind it; None when no term begins here."""
        term = self._term()
        names: list[str] = []
        while term is not None and self._peek().lexeme is Lexeme.FIELD:
            names.append(self._next().source[1:])
        if term is None or not names:
            return term
        if isinstance(term, Field):
            return Field(term.at, (*term.names, *names))
        if isinstance(term, Variable):
            return Variable(term.at, term.name, tuple(names))
        if isinstance(term, Function | Pipeline):
            return Chain(term.at, term, tuple(names))
        raise GoTemplateError(f"unexpected . after term {quoted(spelled(term))}", *term.at)

    def _term(self) -> Operand | None:
        token = self._next_solid()
        match token.lexeme:
            case Lexeme.WORD:
                if token.source not in self._functions:
                    raise _error(f"function {quoted(token.source)} not defined", token)
                return Function(token.at, token.source)
            case Lexeme.DOT:
                return Dot(token.at)
            case Lexeme.FIELD:
                return Field(token.at, (token.source[1:],))
            case Lexeme.VARIABLE:
                if token.source not in self._variables:
                    raise _error(f"undefined variable {quoted(token.source)}", token)
                return Variable(token.at, token.source, ())
            case Lexeme.LEFT:
                return self._parenthesised(token.at)
            case lexeme if lexeme in _CONSTANTS:
                return Constant(token.at, _constant(token), token.source)
            case _ if token.is_word("nil"):
                return Nil(token.at)
            case _:
                self._waiting.append(token)
                return None

    def _parenthesised(self, at: Position) -> Pipeline:
        self._enter(at)
        pipeline = self._pipeline("parenthesized pipeline", Lexeme.RIGHT)
        self._depth -= 1
        return replace(pipeline, at=at)

    def _enter(self, at: Position) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise GoTemplateError(f"actions are nested more than {MAX_NESTING} deep", *at)

    # Tokens

    def _next(self) -> Token:
        return self._waiting.pop() if self._waiting else next(self._tokens)

    def _peek(self) -> Token:
        token = self._next()
        self._waiting.append(token)
        return token

    def _next_solid(self) -> Token:
        """The next token that is no space."""
        token = self._next()
        return self._next() if token.lexeme is Lexeme.SPACE else token

    def _peek_solid(self) -> Token:
        """Reads over a space, and looks at what follows."""
        token = self._next_solid()
        self._waiting.append(token)
        return token

    def _expect(self, lexeme: Lexeme, context: str) -> Token:
        token = self._next_solid()
        if token.lexeme is not lexeme:
            _unexpected(token, context)
        return token


def _constant(token: Token) -> bool | int | float | str:
    if token.lexeme is Lexeme.BOOL:
        return token.source == "true"
    if token.lexeme is Lexeme.STRING:
        return _read(unquoted, token)
    return _read(character if token.lexeme is Lexeme.CHARACTER else number, token)


def _read(reader: Callable[[str], _Value], token: Token) -> _Value:
    try:
        return reader(token.source)
    except Fault as fault:
        raise _error(str(fault), token) from None


def _is_empty(body: Body) -> bool:
    """Nothing but space and definitions."""
    return all(
        isinstance(node, Define) or (isinstance(node, Text) and not node.text.strip(_WHITE)) for node in body
    )


def _unexpected(token: Token, context: str = "") -> NoReturn:
    raise _error(f"unexpected {token} in {context}" if context else f"unexpected {token}", token)


def _error(message: str, token: Token) -> GoTemplateError:
    return GoTemplateError(message, *token.at)
