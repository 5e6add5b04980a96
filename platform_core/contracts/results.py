"""What hooks answer: verdicts, operations, rankings, what was drawn, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from platform_core.contracts.blobs import Blob
from platform_core.contracts.fields import Id, Label, Money, Result, RuleId

Decision = Literal["allow", "review", "deny"]
REASONS_MAX: Final = 8
OPERATIONS_MAX: Final = 20
RENDERED_BYTES_MAX: Final = 2 * 1024 * 1024


class Reason(Result):
    """Why a verdict is not allow: a rule of the plugin's, and a sentence for the merchant's staff."""

    rule_id: RuleId
    text: Annotated[str, Field(min_length=1, max_length=200)]


class Verdict(Result):
    """Answer of a `check_` hook. Several plugins' are merged: deny before review before allow, all reasons kept."""

    decision: Decision
    score: Annotated[int, Field(ge=0, le=100)] = 0
    """How sure the plugin is that something is wrong."""
    reasons: Annotated[tuple[Reason, ...], Field(max_length=REASONS_MAX, strict=False)] = ()

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.decision != "allow" and not self.reasons:
            raise ValueError("a verdict of review or deny names at least one reason")
        return self

    @classmethod
    def allow(cls, *, score: int = 0) -> Self:
        """Nothing is wrong."""
        return cls(decision="allow", score=score)

    @classmethod
    def review(cls, rule_id: str, text: str, *, score: int = 50) -> Self:
        """A person should look first."""
        return cls(decision="review", score=score, reasons=(Reason(rule_id=rule_id, text=text),))

    @classmethod
    def deny(cls, rule_id: str, text: str, *, score: int = 100) -> Self:
        """It must not happen."""
        return cls(decision="deny", score=score, reasons=(Reason(rule_id=rule_id, text=text),))


class Discount(Result):
    """Take money off one line, or off the order when `line_id` is None."""

    type: Literal["discount"] = "discount"
    line_id: Id | None = None
    amount_minor: Annotated[int, Field(gt=0)]
    """In the basket's currency; no line may fall below zero."""
    funder: Annotated[str, Field(max_length=64)] = "merchant"
    """Who pays for it; another than the merchant needs an authorisation."""
    rule_id: RuleId
    label: Label
    """Shown on the receipt."""


class RefuseBenefit(Result):
    """Refuse a benefit that the basket asks for, such as a coupon that does not apply."""

    type: Literal["refuse"] = "refuse"
    reference: Id
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


BasketOperation = Annotated[Discount | RefuseBenefit, Field(discriminator="type")]


class BasketOperations(Result):
    """Answer of `amend_basket`. The platform applies each operation, checks bounds and recomputes all totals."""

    operations: Annotated[tuple[BasketOperation, ...], Field(max_length=OPERATIONS_MAX, strict=False)] = ()


class Ranking(Result):
    """Answer of a `choose_` hook: ids that were offered, the best first, none twice. Those left out come last."""

    ids: Annotated[tuple[Id, ...], Field(max_length=200, strict=False)]

    @model_validator(mode="after")
    def _names_none_twice(self) -> Self:
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("a ranking names no id twice")
        return self

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """This order."""
        return cls(ids=tuple(ids))


class Rendered(Result):
    """Answer of a `render_` hook. What it shows is compared with the ledger: a wrong total is not used."""

    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?$", max_length=80)]
    blob: Annotated[Blob, Field(max_length=RENDERED_BYTES_MAX)]
    total: Money | None = None
    """The total that the document shows."""
    number: Annotated[str, Field(max_length=64)] | None = None
    """The document number that it shows."""


class Acknowledgement(Result):
    """Answer of an `on_` hook: it is done, and must not come again."""

    type: Literal["done"] = "done"


class RetryLater(Result):
    """Answer of an `on_` hook: not now, ask again."""

    type: Literal["retry_later"] = "retry_later"
    after_s: Annotated[int, Field(ge=1, le=3600)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]


DONE: Final = Acknowledgement()
Acknowledged = Acknowledgement | RetryLater
