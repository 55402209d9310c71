"""Quantisation as a collection or one of its vectors asks for it.

REST's union of ``{"scalar": …}``, ``{"product": …}``, ``{"binary": …}`` and ``{"turbo": …}`` is one struct of which
exactly one field is set: it reads, names the place of an error and writes back without help.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from vdb.config import Memory

CompressionRatio = Literal["x4", "x8", "x16", "x32", "x64"]
BinaryQuantizationEncoding = Literal["one_bit", "two_bits", "one_and_half_bits"]
BinaryQuantizationQueryEncoding = Literal["default", "binary", "scalar4bits", "scalar8bits"]
TurboQuantBitSize = Literal["bits1", "bits1_5", "bits2", "bits4"]
Disabled = Literal["Disabled"]


class ScalarQuantizationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One byte a component. ``quantile`` is the share of values inside the range, the whole range where None."""

    type: Literal["int8"]
    quantile: Annotated[float, msgspec.Meta(ge=0.5, le=1)] | None = None
    always_ram: bool | None = None
    memory: Memory | None = None


class ProductQuantizationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A codebook per group of components; ``compression`` is float32 bytes to code bytes."""

    compression: CompressionRatio
    always_ram: bool | None = None
    memory: Memory | None = None


class BinaryQuantizationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bit a component: its sign."""

    always_ram: bool | None = None
    memory: Memory | None = None
    encoding: BinaryQuantizationEncoding | None = None
    query_encoding: BinaryQuantizationQueryEncoding | None = None


class TurboQuantQuantizationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Read so that it can be refused by name."""

    always_ram: bool | None = None
    memory: Memory | None = None
    bits: TurboQuantBitSize | None = None


QuantizationMethod = (
    ScalarQuantizationConfig | ProductQuantizationConfig | BinaryQuantizationConfig | TurboQuantQuantizationConfig
)


class QuantizationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Exactly one field is set; ``method`` is its value, for ``match``."""

    exactly_one: ClassVar[bool] = True

    scalar: ScalarQuantizationConfig | None = None
    product: ProductQuantizationConfig | None = None
    binary: BinaryQuantizationConfig | None = None
    turbo: TurboQuantQuantizationConfig | None = None

    def __post_init__(self) -> None:
        if sum(method is not None for method in (self.scalar, self.product, self.binary, self.turbo)) != 1:
            raise ValueError("Expected exactly one of `scalar`, `product`, `binary`, `turbo`")

    @property
    def method(self) -> QuantizationMethod:
        method = self.scalar or self.product or self.binary or self.turbo
        assert method is not None
        return method

    @property
    def in_memory(self) -> bool | None:
        """True where the codes must stay in memory, False where they may not, None where the vectors' place decides."""
        if self.method.memory is not None:
            return self.method.memory != "cold"
        return self.method.always_ram


QuantizationConfigDiff = QuantizationConfig | Disabled


def updated_quantization(
    current: QuantizationConfig | None, update: QuantizationConfigDiff | None
) -> QuantizationConfig | None:
    """What a PATCH leaves: None keeps, ``Disabled`` removes, a method replaces the whole of the former one."""
    if update is None:
        return current
    return update if isinstance(update, QuantizationConfig) else None
