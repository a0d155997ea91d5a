"""Frozen, checked, nested settings: what every configuration of idf/config.py rests on."""

import difflib
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

FREE = "a training may go on with another value"


class UserError(Exception):
    """A mistake the user can mend: one sentence that says what, where, and the remedy.

    Jupyter shows the sentence alone; the console command prints it and exits with 2.
    """

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


def names(value: Any) -> Any:
    """Names as "a, b", besides a list; for a tuple's BeforeValidator."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return _tuple(value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def numbers(value: Any) -> Any:
    """One number, or several as "2,4", besides a list."""
    if isinstance(value, int):
        return (value,)
    if isinstance(value, str) and all(part.strip().isdigit() for part in value.split(",")):
        return tuple(int(part) for part in value.split(","))
    return _tuple(value)


class Settings(BaseModel):
    """A frozen set of settings; each field stands beside its constraint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def changed(self, **overrides) -> Self:
        """A copy with other values, named as in load_config and checked like them."""
        values = self.model_dump()
        for name, value in overrides.items():
            _put(type(self), values, name, value)
        return _checked(type(self), values)

    def identity(self) -> dict:
        """What makes this training another one: every field that is not FREE."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            part = getattr(self, name)
            if FREE in field.metadata:
                del values[name]
            elif isinstance(part, Settings):
                values[name] = part.identity()
        return values

    def differences(self) -> dict:
        """{"part.name": value} of what differs from the defaults, the paper's."""
        out = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                out |= {f"{name}.{inner}": v for inner, v in value.differences().items()}
            elif value != field.default:
                out[name] = value
        return out


def load(model: type[Settings], preset: str, tables: list[dict], overrides: dict) -> Any:
    """A model from a preset's tables and overrides, each checked by name, type and range."""
    values = model(preset=preset).model_dump()
    for settings in (*tables, overrides):
        for name, value in settings.items():
            _put(model, values, name, value)
    return _checked(model, values)


def flat(overrides: dict) -> dict:
    """With the settings of a notebook's dict `overrides` among the others."""
    inner = overrides.get("overrides", {})
    if not isinstance(inner, dict):
        raise UserError(
            f"overrides={_shown(inner)} must be settings by their names, like "
            '{"poisoner.eps": 0.03}.'
        )
    outer = {name: value for name, value in overrides.items() if name != "overrides"}
    for name in inner:
        if name in outer or name == "preset":
            raise UserError(f"{name} is no matter of overrides: set {name} itself.")
    return outer | inner


def _put(model: type[Settings], values: dict, name: str, value: Any) -> None:
    """Sets values[part][name] for "part.name", for a part's table, or for a name of its own."""
    name = str(name)
    part, _, inner = name.partition(".")
    parts = parts_of(model)
    if part in parts and isinstance(value, Settings):
        value = value.model_dump()
    if part in parts and not inner and isinstance(value, dict):
        for key, one in value.items():
            _put(parts[part], values[part], key, one)
    elif part in parts and inner in parts[part].model_fields:
        values[part][inner] = value
    elif name in model.model_fields:
        values[name] = value
    else:
        homes = [one for one, of in parts.items() if name in of.model_fields]
        if len(homes) != 1:
            raise UserError(_unknown(model, name, homes))
        values[homes[0]][name] = value


def parts_of(model: type[Settings]) -> dict[str, type[Settings]]:
    """The parts of a model of settings, by name."""
    fields = model.model_fields.items()
    return {
        name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    }


def setting_names(model: type[Settings]) -> list[str]:
    """Every setting's full name, like "poisoner.eps"."""
    parts = parts_of(model)
    inner = [f"{part}.{name}" for part, of in parts.items() for name in of.model_fields]
    return [name for name in model.model_fields if name not in parts] + inner


def _unknown(model: type[Settings], name: str, homes: list[str]) -> str:
    if homes:
        full = " or ".join(f"{home}.{name}" for home in homes)
        return f"{name} is a setting of several parts: say {full}."
    known = setting_names(model)
    leaf = name.rpartition(".")[2]
    leaves = [one.rpartition(".")[2] for one in known]
    close = difflib.get_close_matches(leaf, leaves, n=3)
    guesses = [one for one in known if one.rpartition(".")[2] in close]
    if guesses:
        return f"Unknown setting {_shown(name)}: did you mean {' or '.join(guesses[:4])}?"
    return f"Unknown setting {_shown(name)}: the settings are {', '.join(known)}."


def _checked(model: type[Settings], values: dict) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentence(model, error)) from None


def _shown(value: Any) -> str:
    """A wrong value, a long one in part."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-10:]}"


def _sentence(model: type[Settings], error: ValidationError) -> str:
    """The first fault in one sentence: which setting, its value, what is wrong, the remedy."""
    fault = error.errors()[0]
    if fault["type"] == "value_error" and not fault["loc"]:
        return f"{fault['ctx']['error']}."
    name = ".".join(str(step) for step in fault["loc"] if isinstance(step, str))
    owner = parts_of(model)[fault["loc"][0]] if fault["loc"][0] in parts_of(model) else model
    field = owner.model_fields.get(str(fault["loc"][-1]))
    hint = f" ({field.description})" if field and field.description else ""
    if field and get_args(field.annotation) and fault["type"] == "literal_error":
        choices = ", ".join(map(str, get_args(field.annotation)))
        return f"{name}={_shown(fault['input'])} is not supported: use one of {choices}."
    wrong = (
        fault["msg"].removeprefix("Input ").removeprefix("Value ").replace("valid tuple", "list")
    )
    return f"{name}={_shown(fault['input'])} {wrong}{hint}."
