"""Rows by what a docstring says."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field
from sdk.tools.rows import INT, TEXT, Table, said

row = Table()
DESCRIBED = {
    "city": said(TEXT, "Where it is."),
    "days": said(INT | {"default": 3}, "How many, at most a week."),
}


@row(DESCRIBED, says="The weather of a city.")
def google(city: str, days: int = 3):
    """The weather of a city.

    Args:
        city: Where it is.
        days: How many,
            at most a week.
    """


@row(DESCRIBED, says="The weather of a city.")
def google_with_types(city: str, days: int = 3):
    """The weather of a city.

    Args:
        city (str): Where it is.
        days (int, optional): How many, at most a week.
    """


@row(DESCRIBED, says="The weather of a city.\nFor any city.")
def google_without_a_blank_line(city: str, days: int = 3):
    """The weather of a city.
    For any city.
    Args:
        city: Where it is.
        days: How many, at most a week.
    """


@row(DESCRIBED, says="")
def google_without_a_summary(city: str, days: int = 3):
    """
    Args:
        city: Where it is.
        days: How many, at most a week.
    """


@row(
    DESCRIBED,
    says="The weather of a city.\n\nIt is a forecast.\n\nReturns: Degrees, as text.\n\nNote: Only in Norway.",
)
def google_with_all_sections(city: str, days: int = 3):
    """The weather of a city.

    It is a forecast.

    Arguments:
        city: Where it is.

    Keyword Args:
        days: How many, at most a week.

    Returns:
        Degrees, as text.

    Raises:
        ValueError: for a city that is none.

    Note:
        Only in Norway.

    Examples:
        >>> weather("Oslo")
    """


@row(DESCRIBED, says="The weather of a city.")
def numpy(city: str, days: int = 3):
    """The weather of a city.

    Parameters
    ----------
    city : str
        Where it is.
    days : int, default 3
        How many,
        at most a week.
    """


@row(
    {"a": said(INT, "A number."), "b": said(INT, "A number."), "c": INT},
    says="The sum.\n\nReturns: What they make.",
)
def numpy_with_names_in_one_line(a: int, b: int, c: int):
    """The sum.

    Parameters
    ----------
    a, b
        A number.

    Returns
    -------
    int
        What they make.
    """


@row(DESCRIBED, says="The weather of a city.\n\nIt is a forecast.")
def sphinx(city: str, days: int = 3):
    """The weather of a city.

    It is a forecast.

    :param city: Where it is.
    :param int days: How many,
        at most a week.
    :raises ValueError: for a city that is none.
    """


@row(DESCRIBED, says="The weather of a city.\n\nReturns: Degrees.")
def sphinx_with_types(city: str, days: int = 3):
    """The weather of a city.

    :param city: Where it is.
    :type city: str
    :param days: How many, at most a week.
    :type days: int
    :returns: Degrees.
    :rtype: str
    """


@row({"city": TEXT}, says="The weather of a city.")
def summary_alone(city: str):
    """The weather of a city."""


@row({"city": TEXT})
def no_docstring(city: str): ...


@row({"city": TEXT}, says="Usage:\n    first this\n\nThen: that")
def no_sections(city: str):
    """Usage:
        first this

    Then: that
    """


LONG = "One. " * 400


def _long(text: str): ...


_long.__doc__ = f"{LONG.strip()}\n\nArgs:\n    text: {LONG}\n"
row({"text": said(TEXT, LONG.strip())}, says=LONG.strip())(_long)


@row({"city": said(TEXT, "Where it is.\nAs people call it.")}, says="Weather.")
def paragraphs_of_a_parameter(city: str):
    """Weather.

    Args:
        city: Where
            it is.

            As people
            call it.
    """


@row({"a": said(TEXT, "annotated"), "b": said(TEXT, "field"), "c": said(TEXT, "default")}, says="Three.")
def annotations_count_more(
    a: Annotated[str, "annotated"],
    b: Annotated[str, Field(description="field")],
    c: str = Field(description="default"),
):
    """Three.

    Args:
        a: docstring
        b: docstring
        c: docstring
        d: of a parameter that there is not
    """


@row(
    {"rest": {"type": "array", "items": INT, "description": "Numbers."}},
    optional=["rest"],
    more=said(TEXT, "Names."),
    says="Many.",
)
def variadic(*rest: int, **others: str):
    """Many.

    Args:
        *rest: Numbers.
        **others: Names.
    """


class Query(BaseModel):
    """Something to look for."""

    text: str


@row({"text": TEXT}, says="A search.", description="What.\nSomething to look for.")
def description_of_the_only_model(query: Query):
    """A search.

    Args:
        query: What.
    """


@row(
    {
        "query": said(
            {"type": "object", "properties": {"text": TEXT}, "required": ["text"]},
            "What.\nSomething to look for.",
        ),
        "n": INT,
    },
    says="A search.",
)
def parameter_and_model_described(query: Query, n: int):
    """A search.

    Args:
        query: What.
    """
