"""Runs an exported network in NumPy: what the operators that halftone writes mean, one float32
operation after the other. Files are read with the package onnx, which need not know the narrow
types: those are unpacked here."""
import math

import numpy as np
import onnx

f32 = np.float32
FLOAT, UINT8, INT8, INT32, INT64, FLOAT16, UINT4, INT4, UINT2, INT2 = 1, 2, 3, 6, 7, 10, 21, 22, 25, 26
PLAIN = {FLOAT: "<f4", UINT8: "u1", INT8: "i1", INT32: "<i4", INT64: "<i8", FLOAT16: "<f2"}
NARROW = {UINT4: (4, False), INT4: (4, True), UINT2: (2, False), INT2: (2, True)}


def tensor(t):
    """Least significant bits first, rows not padded."""
    if t.data_type in PLAIN:
        return np.frombuffer(t.raw_data, PLAIN[t.data_type]).reshape(tuple(t.dims))
    bits, signed = NARROW[t.data_type]
    n = math.prod(t.dims)
    stream = np.unpackbits(np.frombuffer(t.raw_data, np.uint8), bitorder="little")
    assert len(stream) == (n * bits + 7) // 8 * 8 and not stream[n * bits:].any(), t.name
    values = stream[:n * bits].reshape(-1, bits) @ (1 << np.arange(bits))
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    return values.astype(np.int8 if signed else np.uint8).reshape(tuple(t.dims))


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def along(vector, axis, rank):
    """A vector that belongs to one axis, ready to broadcast."""
    return vector if vector.ndim == 0 else vector.reshape([-1 if i == axis else 1
                                                           for i in range(rank)])


def cast(a, x):
    return x.astype({FLOAT: f32, UINT8: np.uint8, INT8: np.int8, INT32: np.int32}[a["to"]])


def dequantize(a, x, scale, zero=np.int64(0)):
    axis = a.get("axis", 1)
    if "block_size" in a:
        scale = np.repeat(scale, a["block_size"], axis).take(range(x.shape[axis]), axis)
        return x.astype(scale.dtype) * scale
    whole = x.astype(np.int64) - along(zero, axis, x.ndim).astype(np.int64)
    return whole.astype(scale.dtype) * along(scale, axis, x.ndim)


def quantize(a, x, scale, zero):
    limits = np.iinfo(zero.dtype)
    level = np.rint(x / scale).astype(np.float64) + float(zero)
    return np.clip(level, limits.min, limits.max).astype(zero.dtype)


def gemm(a, x, w, bias=None):
    y = x @ (w.T if a.get("transB") else w)
    return y if bias is None else y + bias


def matmul_integer(a, x, w, zero, weight_zero):
    y = (x.astype(np.int64) - int(zero)) @ (w.astype(np.int64) - weight_zero.astype(np.int64))
    assert np.abs(y).max() < 2**31
    return y.astype(np.int32)


def quant(a, x, scale, zero, bits):
    """QONNX: round(x / scale + zero) inside the range, and back."""
    most = 2.0 ** (bits - (1 if a["signed"] else 0)) - 1
    least = -most - (0 if a["narrow"] else 1) if a["signed"] else 0
    u = np.clip(x / scale + zero, least, most)
    q = {b"ROUND": np.rint, b"FLOOR": np.floor}[a["rounding_mode"]](u)
    return (q - zero) * scale


def reduce(function):
    """The axis is an attribute until opset 17, then an input."""
    return lambda a, x, *axes: function(x, axis=tuple(axes[0] if axes else a["axes"]), keepdims=True)


def normalize(a, x, gamma, beta, mean, variance):
    return gamma * (x - mean) / np.sqrt(variance + f32(a["epsilon"])) + beta


OPERATORS = {
    "Abs": lambda a, x: np.abs(x),
    "Add": lambda a, x, y: x + y,
    "BatchNormalization": normalize,
    "BipolarQuant": lambda a, x, scale: np.where(x >= 0, scale, -scale),
    "Cast": cast,
    "Ceil": lambda a, x: np.ceil(x),
    "Clip": lambda a, x, lo, hi: np.clip(x, lo, hi),
    "DequantizeLinear": dequantize,
    "Div": lambda a, x, y: x / y,
    "Erf": lambda a, x: np.vectorize(math.erf)(x.astype(np.float64)).astype(x.dtype),
    "Floor": lambda a, x: np.floor(x),
    "Gather": lambda a, table, index: np.take(table, index, a.get("axis", 0)),
    "Gemm": gemm,
    "LeakyRelu": lambda a, x: np.where(x < 0, f32(a["alpha"]) * x, x),
    "Less": lambda a, x, y: x < y,
    "Max": lambda a, x, y: np.maximum(x, y),
    "MatMul": lambda a, x, w: x @ w,
    "MatMulInteger": matmul_integer,
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Quant": quant,
    "QuantizeLinear": quantize,
    "ReduceMax": reduce(np.max),
    "ReduceMin": reduce(np.min),
    "Relu": lambda a, x: np.maximum(x, 0),
    "Round": lambda a, x: np.rint(x),
    "Sigmoid": lambda a, x: 1 / (1 + np.exp(-x)),
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: np.tanh(x),
    "Transpose": lambda a, x: x.T,
    "Where": lambda a, c, x, y: np.where(c, x, y),
}


def run(model, x, real=f32):
    """All outputs by name. real: what floats are computed in."""
    values = {t.name: tensor(t) for t in model.graph.initializer}
    values["input"] = x
    if real is not f32:
        values = {k: v.astype(real) if v.dtype == f32 else v for k, v in values.items()}
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        y = OPERATORS[node.op_type](attributes(node), *inputs)
        assert real is not f32 or y.dtype != np.float64, node.op_type
        assert node.output[0] not in values, node.output[0]
        values[node.output[0]] = y
    return {o.name: values[o.name] for o in model.graph.output}
