"""Rows by the type of a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypeVar,
    Union,
)
from uuid import UUID

from pydantic import AnyUrl, BaseModel, ConfigDict, EmailStr, Field, RootModel, field_validator  # noqa: F401
from sdk.tools.rows import BOOL, INT, NULL, NUMBER, TEXT, Table, any_of, said, some, thing
from typing_extensions import TypedDict

row = Table()
T = TypeVar("T")


@row({"a": TEXT, "b": INT, "c": NUMBER, "d": BOOL, "e": NULL})
def scalars(a: str, b: int, c: float, d: bool, e: None): ...


@row({"a": {}, "b": {}})
def anything(a: Any, b): ...


@row({"a": INT | {"default": 3}, "b": TEXT | {"default": "x"}, "c": NUMBER | {"default": 0.5}})
def defaults(a: int = 3, b: str = "x", c: float = 0.5): ...


@row({"a": any_of(INT, NULL), "b": any_of(TEXT, NULL, default=None), "c": any_of(INT, NULL, default=None)})
def optionals(a: Optional[int], b: str | None = None, c: int = None): ...  # noqa: RUF013, UP045


@row({"a": any_of(INT, TEXT), "b": any_of(INT, TEXT), "c": any_of(INT, some(INT), NULL)})
def unions(a: int | str, b: Union[int, str], c: int | list[int] | None): ...  # noqa: UP007


@row({"a": some(TEXT, default=[]), "b": {"type": "object", "additionalProperties": INT, "default": {}}})
def mutable_defaults(a: list[str] = [], b: dict[str, int] = {}): ...  # noqa: B006


@row({"a": {}, "b": INT}, optional=["a", "b"])
def defaults_that_json_cannot_say(a: Any = object(), b: int = object()): ...  # noqa: B008


@row({"a": some(INT), "b": some(TEXT, default=["x"])}, optional=["a"])
def default_factories(
    a: Annotated[list[int], Field(default_factory=list)],
    b: list[str] = Field(["x"]),  # noqa: B008
): ...


@row({"a": INT | {"minimum": 1, "maximum": 7}, "b": NUMBER | {"exclusiveMinimum": 0, "multipleOf": 0.5}})
def bounds(a: Annotated[int, Field(ge=1, le=7)], b: Annotated[float, Field(gt=0, multiple_of=0.5)]): ...


@row({"a": TEXT | {"minLength": 1, "maxLength": 9}, "b": TEXT | {"pattern": "^[a-z]+$"}})
def lengths(
    a: Annotated[str, Field(min_length=1, max_length=9)], b: Annotated[str, Field(pattern="^[a-z]+$")]
): ...


@row(
    {"a": said(INT | {"minimum": 1, "default": 2}, "how many"), "b": TEXT | {"default": "x", "maxLength": 3}}
)
def fields_as_defaults(
    a: int = Field(2, ge=1, description="how many"), b: str = Field("x", max_length=3)
): ...


@row({"a": said(TEXT, "the city"), "b": said(INT | {"examples": [3]}, "how many")})
def descriptions(
    a: Annotated[str, "the city"], b: Annotated[int, Field(description="how many", examples=[3])]
): ...


@row(
    {
        "a": TEXT | {"enum": ["c", "f"]},
        "b": INT | {"enum": [1, 2]},
        "c": TEXT | {"const": "x"},
        "d": {"enum": ["a", 1]},
    }
)
def literals(a: Literal["c", "f"], b: Literal[1, 2], c: Literal["x"], d: Literal["a", 1]): ...


class Colour(Enum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Unit(StrEnum):
    C = "c"
    F = "f"


COLOUR = said(TEXT | {"enum": ["red", "blue"]}, "What it looks like.")


@row({"a": COLOUR, "b": INT | {"enum": [1, 2]}, "c": TEXT | {"enum": ["c", "f"], "default": "c"}})
def enums(a: Colour, b: Level, c: Unit = Unit.C): ...


@row({"a": COLOUR, "b": some(COLOUR), "c": any_of(COLOUR, NULL, default=None)})
def one_enum_in_several_places(a: Colour, b: list[Colour], c: Colour | None = None): ...


@row({"a": said(TEXT | {"enum": ["red", "blue"], "default": "red"}, "the paint\nWhat it looks like.")})
def described_enum(a: Annotated[Colour, "the paint"] = Colour.RED): ...


@row({"a": some(INT), "b": some(some(TEXT)), "c": some({}), "d": some({}), "e": some(INT), "f": some(TEXT)})
def lists(a: list[int], b: list[list[str]], c: list, d: list[Any], e: Sequence[int], f: Iterable[str]): ...


@row({"a": some(TEXT, minItems=1, maxItems=3), "b": some(INT | {"minimum": 0})})
def bounded_lists(
    a: Annotated[list[str], Field(min_length=1, max_length=3)], b: list[Annotated[int, Field(ge=0)]]
): ...


@row(
    {
        "a": {"type": "object", "additionalProperties": NUMBER},
        "b": {"type": "object", "additionalProperties": True},
        "c": {"type": "object", "additionalProperties": some(INT)},
        "d": {"type": "object", "additionalProperties": INT},
    }
)
def dicts(a: dict[str, float], b: dict, c: Mapping[str, list[int]], d: dict[int, int]): ...


@row({"a": {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": ["red", "blue"]}}})
def keys_of_an_enum(a: dict[Literal["red", "blue"], int]): ...


@row(
    {"a": some(INT, uniqueItems=True), "b": some(TEXT, uniqueItems=True), "c": some(INT, uniqueItems=True)},
    checked=["uniqueItems"],
)
def sets(a: set[int], b: frozenset[str], c: set[int]): ...


@row({"a": some(TEXT | {"enum": ["c", "f"]}, uniqueItems=True)})
def set_of_few(a: set[Unit]): ...


@row(
    {
        "a": {"type": "array", "prefixItems": [INT, TEXT], "minItems": 2, "maxItems": 2},
        "b": some(INT),
        "c": {"type": "array", "maxItems": 0, "minItems": 0},
    }
)
def tuples(a: tuple[int, str], b: tuple[int, ...], c: tuple[()]): ...


class Place(NamedTuple):
    latitude: float
    name: str = "here"


@row(
    {
        "a": {
            "type": "array",
            "prefixItems": [said(NUMBER, "latitude"), said(TEXT | {"default": "here"}, "name")],
            "minItems": 1,
            "maxItems": 2,
        }
    }
)
def named_tuple(a: Place): ...


class Query(BaseModel):
    """What to look for."""

    text: Annotated[str, Field(max_length=50)]
    limit: int = Field(10, ge=1, description="at most")


QUERY = said(
    thing({"text": TEXT | {"maxLength": 50}, "limit": said(INT | {"minimum": 1, "default": 10}, "at most")}),
    "What to look for.",
)


@row({"query": QUERY, "loud": BOOL | {"default": False}})
def nested_model(query: Query, loud: bool = False): ...


@row(
    {"a": {"$ref": "#/$defs/Query"}, "b": some({"$ref": "#/$defs/Query"})},
    **{"$defs": {"Query": QUERY}},
)
def one_model_in_two_places(a: Query, b: list[Query]): ...


@dataclass
class Point:
    x: int
    y: float = 1.5
    tags: list[str] = field(default_factory=list)


POINT = thing({"x": INT, "y": NUMBER | {"default": 1.5}, "tags": some(TEXT)}, optional=["tags"])


@row({"a": POINT, "b": INT})
def plain_dataclass(a: Point, b: int): ...


@row({"a": POINT})
def only_a_dataclass(a: Point): ...


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    title: Required[str]
    default: int


@row(
    {
        "a": thing({"title": TEXT, "year": INT}, optional=["year"]),
        "b": thing({"title": TEXT, "default": INT}, optional=["default"]),
    }
)
def typed_dicts(a: Movie, b: Loose): ...


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


CAT = thing({"kind": TEXT | {"const": "cat"}, "lives": INT | {"default": 9}})
DOG = thing({"kind": TEXT | {"const": "dog", "default": "dog"}, "name": TEXT}) | {
    "required": ["name", "kind"]
}


@row({"a": {"oneOf": [CAT, DOG]}, "b": INT})
def discriminated_union(a: Annotated[Cat | Dog, Field(discriminator="kind")], b: int): ...


@row({"a": any_of(CAT, DOG | {"required": ["name"]})})
def plain_union_of_models(a: Cat | Dog): ...


class Node(BaseModel):
    value: int
    children: list[Node] = []


NODE = thing({"value": INT, "children": some({"$ref": "#/$defs/Node"}, default=[])})


@row({"a": {"$ref": "#/$defs/Node"}, "b": INT}, **{"$defs": {"Node": NODE}})
def recursive_model(a: Node, b: int): ...


@row(NODE["properties"], **{"$defs": {"Node": NODE}})
def only_a_recursive_model(a: Node): ...


class Left(BaseModel):
    right: Right | None = None


class Right(BaseModel):
    left: Left | None = None


LEFT = {"$ref": "#/$defs/Left"}
RIGHT = thing({"left": any_of(LEFT, NULL, default=None)})


@row(
    {"a": LEFT, "b": INT},
    **{"$defs": {"Left": thing({"right": any_of(RIGHT, NULL, default=None)})}},
)
def models_that_hold_each_other(a: Left, b: int): ...


class Box(BaseModel, Generic[T]):
    content: T


@row({"a": thing({"content": INT}), "b": thing({"content": TEXT})})
def generic_models(a: Box[int], b: Box[str]): ...


class Names(RootModel[list[str]]):
    pass


@row({"names": some(TEXT)})
def root_model(names: Names): ...


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", title="Noise")

    title: str = Field(title="More noise")
    default: dict[str, str] = {"title": "kept"}


@row(
    {
        "a": thing(
            {
                "title": TEXT,
                "default": {"type": "object", "additionalProperties": TEXT, "default": {"title": "kept"}},
            },
            more=False,
        ),
        "b": INT,
    }
)
def properties_called_as_keywords_are(a: Strict, b: int): ...


@row(
    {
        "a": TEXT | {"format": "date"},
        "b": TEXT | {"format": "date-time"},
        "c": TEXT | {"format": "time"},
        "d": TEXT | {"format": "duration"},
        "e": TEXT | {"format": "date", "default": "2030-01-02"},
    }
)
def times(a: date, b: datetime, c: time, d: timedelta, e: date = date(2030, 1, 2)): ...


@row(
    {
        "a": TEXT | {"format": "binary"},
        "b": TEXT | {"format": "uuid"},
        "c": TEXT | {"format": "path"},
        "d": TEXT | {"format": "uri", "minLength": 1},
        "e": TEXT | {"format": "ipv4"},
        "f": TEXT | {"format": "path", "default": "."},
    }
)
def texts_with_a_form(a: bytes, b: UUID, c: Path, d: AnyUrl, e: IPv4Address, f: Path = Path()): ...


@row({"a": any_of(NUMBER, TEXT)})
def decimal(a: Decimal): ...


UserId = NewType("UserId", int)


@row({"a": INT, "b": {}, "c": INT})
def names_of_types(a: UserId, b: T, c: Annotated[UserId, object()]): ...
