from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from coding_assistant.inference.value_faults import requirement


class Form(BaseModel):
    number: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0, lt=1.5)
    size: Annotated[int, Field(ge=512)] | Literal["auto"] = 512
    word: Literal["on", "off"] = "on"
    is_wanted: bool = False
    text: str = Field(default="x", min_length=1)
    own: str = ""

    @field_validator("own")
    @classmethod
    def _refuse(cls, value: str) -> str:
        raise ValueError(f"{value} is nothing of ours")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("number", 0, "it must be at least 1"),
        ("number", 10, "it must be at most 9"),
        ("number", "x", "it must be a whole number"),
        ("number", 1.5, "it must be a whole number"),
        ("share", 0, "it must be more than 0"),
        ("share", 2, "it must be less than 1.5"),
        ("share", "x", "it must be a number"),
        ("size", 5, "it must be at least 512, or auto"),
        ("word", "maybe", "it must be on or off"),
        ("is_wanted", "perhaps", "it must be true or false"),
        ("text", 5, "it must be text"),
        ("text", "", "it must be not empty"),
        ("own", "that", "that is nothing of ours"),
    ],
)
def test_a_refusal_says_what_would_be_right(field: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate({field: value})

    assert requirement(caught.value.errors()) == said
