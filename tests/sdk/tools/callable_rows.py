"""Rows by the kind of callable, and of its parameters."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from sdk.tools.rows import INT, NULL, NUMBER, TEXT, Table, any_of, said, some, thing

from agentkit._context import RunContext
from agentkit._tool import tool

if TYPE_CHECKING:
    from nowhere import Frame

row = Table()


@row({})
def no_parameters(): ...


@row({"a": INT, "b": TEXT}, says="Waits.", returns=TEXT)
async def asynchronous(a: int, b: str) -> str:
    """Waits."""


@row({"a": INT, "b": INT | {"default": 2}, "c": INT, "d": INT | {"default": 4}})
def positional_only_and_keyword_only(a: int, b: int = 2, /, *, c: int, d: int = 4): ...


@row({"a": TEXT, "rest": some(INT)}, optional=["rest"])
def positionals(a: str, *rest: int): ...


@row({"a": TEXT}, more=NUMBER)
def keywords(a: str, **more: float): ...


@row({"args": some({})}, optional=["args"], more=True)
def untyped_variadic(*args, **kwargs): ...


@row({}, more=thing({"text": TEXT}))
def only_keywords_of_a_model(**queries: Query): ...


class Query(BaseModel):
    text: str


QUERY = {"text": TEXT}


@row(QUERY)
def one_model(query: Query): ...


@row(QUERY, says="Looks.")
def one_model_and_the_context(context: RunContext, query: Query):
    """Looks."""


@row({"query": {"anyOf": [thing(QUERY), NULL], "default": None}})
def one_model_that_is_optional(query: Query | None = None): ...


@row({"queries": some(thing(QUERY))})
def list_of_one_model(queries: list[Query]): ...


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str


@row(QUERY, more=True)
def one_open_model(query: Open): ...


class Renamed(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper)
    text: str


@row({"TEXT": TEXT})
def one_model_with_aliases(query: Renamed): ...


@row({"a": INT})
def context_first(context: RunContext, a: int): ...


@row({"a": INT})
async def context_of_a_type(a: int, context: RunContext[dict[str, int]]): ...


@row({"a": INT})
def context_that_is_optional(a: int, *, context: RunContext[Any] | None = None): ...


@row({"a": INT})
def context_annotated(context: Annotated[RunContext[int], "hidden"], a: int): ...


@row({}, says="Tells.")
def only_the_context(context: RunContext):
    """Tells."""


@row(
    dict.fromkeys(
        ["schema", "json", "copy", "model_config", "self", "cls", "p0", "_private", "__dunder__"], INT
    )
)
def names_of_pydantic(
    schema: int,
    json: int,
    copy: int,
    model_config: int,
    self: int,
    cls: int,
    p0: int,
    _private: int,
    __dunder__: int,
): ...


@row({"from": TEXT, "class": INT | {"default": 1}, "either": INT})
def aliases(
    from_: Annotated[str, Field(alias="from")],
    class_: int = Field(1, alias="class"),
    other: int = Field(validation_alias=AliasChoices("either", "or")),
): ...


@row({"naïve": TEXT, "日": INT})
def names_that_are_not_ascii(naïve: str, 日: int): ...


class Shop:
    """Sells."""

    def __init__(self, name: str) -> None:
        self.name = name

    def sell(self, what: str, price: float = 1.0) -> str:
        """Sells one."""
        return f"{self.name} {what} {price}"

    @classmethod
    def open(cls, name: str):
        """Opens one."""

    @staticmethod
    def tax(price: float):
        """Of a price."""

    @tool
    def decorated(self, what: str):
        """Sells too."""

    @tool
    @classmethod
    def decorated_class(cls, name: str):
        """Opens too."""

    @classmethod
    @tool
    def class_decorated(cls, name: str):
        """Opens as well."""

    @staticmethod
    @tool
    def static_decorated(price: float):
        """Of it."""

    @tool
    @staticmethod
    def decorated_static(price: float):
        """Of that."""

    async def __call__(self, order: str, context: RunContext) -> None:
        """Takes an order."""


SHOP = Shop("shop")
row({"what": TEXT, "price": NUMBER | {"default": 1.0}}, says="Sells one.", returns=TEXT)(SHOP.sell)
row({"name": TEXT}, says="Opens one.")(Shop.open)
row({"price": NUMBER}, says="Of a price.")(Shop.tax)
row({"what": TEXT}, says="Sells too.")(SHOP.decorated)
row({"name": TEXT}, says="Opens too.")(Shop.decorated_class)
row({"name": TEXT}, says="Opens as well.")(Shop.class_decorated)
row({"price": NUMBER}, says="Of it.")(Shop.static_decorated)
row({"price": NUMBER}, says="Of that.")(Shop.decorated_static)
row({"order": TEXT}, says="Takes an order.", returns=NULL)(SHOP)


def _send(key: str, text: str, *, retries: int = 3, context: RunContext) -> bool:
    """Sends.

    Args:
        key: secret
        text: what
    """
    return True


SENT = {"text": said(TEXT, "what"), "retries": INT | {"default": 3}}
BOOLEAN = {"type": "boolean"}
row(SENT, says="Sends.", returns=BOOLEAN)(functools.partial(_send, "key"))
row({"text": said(TEXT, "what")}, says="Sends.", returns=BOOLEAN)(
    functools.partial(functools.partial(_send, "key"), retries=1)
)


@row({"a": INT}, says="Cached.")
@functools.cache
def wrapped(a: int):
    """Cached."""


@row({"a": INT}, make=tool(name="named"))
def _named(a: int): ...


row({"a": {}, "b": {"default": 2}}, make=tool(name="double"))(lambda a, b=2: a * b)


@row({"a": INT}, returns=some(thing(QUERY)))
def returns_models(a: int) -> list[Query]: ...


@row({"a": INT}, returns=any_of(INT, NULL))
def returns_a_union(a: int) -> int | None: ...


@row({"a": INT})
def returns_anything(a: int) -> Any: ...


@row({"a": INT})
def returns_what_has_no_schema(a: int) -> object: ...


@row({"a": INT})
def returns_what_only_a_type_checker_knows(a: int) -> Frame: ...


def _inside() -> None:
    class Local(BaseModel):
        text: str

    @row({"a": thing(QUERY), "b": INT}, make=tool)
    def defined_inside_a_function(a: Local, b: int): ...


_inside()
