"""Layers that compute each element by itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from trtnn.errors import ArgumentError
from trtnn.reference.layers.common import Function, by_member, in_float32
from trtnn.reference.registry import layer


@layer("ACTIVATION")
def activation(layer: Any) -> Function:
    alpha, beta = layer.alpha, layer.beta

    def selu(x: torch.Tensor) -> torch.Tensor:
        return beta * torch.where(x > 0, x, alpha * x.expm1())

    def gelu_erf(x: torch.Tensor) -> torch.Tensor:  # torch's own kernel has two digits below -3
        return 0.5 * x * (1 + (math.sqrt(0.5) * x).erf())

    table = {
        "RELU": torch.relu,
        "SIGMOID": torch.sigmoid,
        "TANH": torch.tanh,
        "LEAKY_RELU": lambda x: F.leaky_relu(x, alpha),
        "ELU": in_float32(lambda x: F.elu(x, alpha)),
        "SELU": in_float32(selu),
        "SOFTSIGN": in_float32(F.softsign),
        "CLIP": in_float32(lambda x: x.clamp(alpha, beta)),  # ends may be beyond float16
        "HARD_SIGMOID": in_float32(lambda x: (alpha * x + beta).clamp(0, 1)),
        "GELU_ERF": in_float32(gelu_erf),
        "GELU_TANH": in_float32(lambda x: F.gelu(x, approximate="tanh")),
    }
    return by_member("activation", layer.type, table)


def _divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    _expect_no_zero(b)
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _floor_divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    _expect_no_zero(b)
    return torch.floor_divide(a, b)


def _expect_no_zero(divisor: torch.Tensor) -> None:
    if not divisor.is_floating_point() and not divisor.all():
        raise ArgumentError("a division of integers by 0", "torch raises an error too; an engine gives some number")


@layer("ELEMENTWISE")
def elementwise(layer: Any) -> Function:
    table = {
        "SUM": torch.add,
        "SUB": torch.sub,
        "PROD": torch.mul,
        "DIV": _divide,
        "FLOOR_DIV": _floor_divide,
        "POW": in_float32(torch.pow),
        "MAX": torch.maximum,
        "MIN": torch.minimum,
        "AND": torch.logical_and,
        "OR": torch.logical_or,
        "XOR": torch.logical_xor,
        "EQUAL": torch.eq,
        "GREATER": torch.gt,
        "LESS": torch.lt,
    }
    return by_member("operation", layer.op, table)


@layer("UNARY")
def unary(layer: Any) -> Function:
    table = {
        "EXP": in_float32(torch.exp),
        "LOG": in_float32(torch.log),
        "SQRT": in_float32(torch.sqrt),
        "RECIP": in_float32(torch.reciprocal),
        "SIN": in_float32(torch.sin),
        "COS": in_float32(torch.cos),
        "TAN": in_float32(torch.tan),
        "SINH": in_float32(torch.sinh),
        "COSH": in_float32(torch.cosh),
        "ASIN": in_float32(torch.asin),
        "ACOS": in_float32(torch.acos),
        "ATAN": in_float32(torch.atan),
        "ASINH": in_float32(torch.asinh),
        "ACOSH": in_float32(torch.acosh),
        "ATANH": in_float32(torch.atanh),
        "ERF": in_float32(torch.erf),
        "NEG": torch.neg,
        "ABS": torch.abs,
        "SIGN": torch.sign,
        "CEIL": torch.ceil,
        "FLOOR": torch.floor,
        "ROUND": torch.round,
        "NOT": torch.logical_not,
        "ISINF": torch.isinf,
        "ISNAN": torch.isnan,
    }
    return by_member("operation", layer.op, table)


@layer("SELECT")
def select(layer: Any) -> Function:
    return torch.where


@layer("CAST")
def cast(layer: Any) -> Function:
    dtype = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool}.get(
        layer.to_type.name
    ) or getattr(torch, layer.to_type.name.lower())
    return lambda x: x.to(dtype)


@layer("IDENTITY")
def identity(layer: Any) -> Function:
    return lambda x: x
