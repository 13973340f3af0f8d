"""The parts that an OpenAPI document is put together from."""

from typing import Any

from marshmallow import Schema

from receiver.schemas.responses import ProblemSchema

PROBLEM = "application/problem+json"

Fragment = dict[str, Any]
"""A part of an OpenAPI document; a schema in it may be a class of ours."""


def problem(description: str, *, headers: Fragment | None = None, said: str | None = None) -> Fragment:
    """An answer that is an error; what it ``said`` for example is otherwise the description."""
    content = {PROBLEM: {"schema": ProblemSchema, "example": {"detail": said or description}}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def found(description: str, schema: type[Schema] | Fragment, example: Any, **more: Any) -> Fragment:
    """An answer in JSON."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {"description": description, "content": content, **more}


def health(status: str) -> Fragment:
    """What a health route answers."""
    properties = {"status": {"const": status}, "warning": {"type": "string"}}
    return {"type": "object", "required": ["status"], "properties": properties}


def text(description: str, content_type: str) -> Fragment:
    return {"description": description, "content": {content_type: {"schema": {"type": "string"}}}}


def header(description: str, *, required: bool = False, **schema: Any) -> Fragment:
    return {"description": description, "required": required, "schema": {"type": "string"} | schema}


def parameter(place: str, name: str, description: str, **schema: Any) -> Fragment:
    required = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, "description": description, "schema": {"type": "string"} | schema} | required
