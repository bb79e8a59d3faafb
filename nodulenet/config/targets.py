"""What is learned (targets) and what is evaluated (the hard label)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictStr, model_validator

from nodulenet.config.section import Section

Values = Annotated[list[StrictFloat | StrictStr], Field(min_length=1)]


class LabelRule(Section):
    """Turns a column of ratings or words into labels; rows that fit neither side have no label."""

    column: str = Field(description="column of the findings table that holds the rating")
    negative: Values = Field(
        description="two numbers are a closed range [low, high], so [1, 2] takes a median of 1.5; "
        "anything else is a list of values",
    )
    positive: Values = Field(description="as `negative`")


class SoftTarget(Section):
    """Learns a rating as a probability: 0 up to `low`, 1 from `high` on, between in proportion.

    Findings that have the rating but no hard label are trained on, never evaluated.
    """

    kind: Literal["soft"]
    column: str = Field(description="column of the findings with the rating, a number")
    low: float = Field(description="ratings up to it are 0")
    high: float = Field(description="ratings from it on are 1")

    @model_validator(mode="after")
    def _rises(self) -> SoftTarget:
        if not self.low < self.high:
            raise ValueError(f"low={self.low:g} must be below high={self.high:g}")
        return self


class ClassTarget(Section):
    """Learns several classes of a column.

    The probability that is evaluated is that of the positive classes, given that it is one of the
    positive or negative ones. Findings of a class that is neither are trained on, never evaluated.
    """

    kind: Literal["classes"]
    column: str = Field(description="column of the findings")
    classes: list[Values] = Field(
        min_length=3, description="values of each class, written as in `label_rule`"
    )
    negative: list[int] = Field(min_length=1, description="numbers of the negative classes, from 0")
    positive: list[int] = Field(min_length=1, description="numbers of the positive classes")

    @model_validator(mode="after")
    def _numbers_are_classes(self) -> ClassTarget:
        wrong = [n for n in (*self.negative, *self.positive) if not 0 <= n < len(self.classes)]
        if wrong or set(self.negative) & set(self.positive):
            raise ValueError(
                f"negative={self.negative} and positive={self.positive} must be different numbers "
                f"from 0 to {len(self.classes) - 1}"
            )
        return self


Target = Annotated[SoftTarget | ClassTarget, Field(discriminator="kind")]
