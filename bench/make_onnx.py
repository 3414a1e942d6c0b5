"""Writes the networks that ONNX Runtime is measured on: random weights, batch size open.

usage: make_onnx.py OUT.onnx int8|float 784,256,256,256,10
       make_onnx.py OUT.onnx identity 10

int8: weights with one scale for each output and int32 biases, bytes between the layers, written as
pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime turns into integer kernels.
"""
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.random = [], [], numpy.random.default_rng(1)

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(numpy.asarray(value), name))
        return name

    def add(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def quantized_weights(g, i, inputs, outputs):
    codes = g.random.integers(-127, 128, (inputs, outputs)).astype(numpy.int8)
    scale = g.constant(f"scale{i}", numpy.full(outputs, 0.2 / 127 / inputs ** 0.5, numpy.float32))
    zero = g.constant(f"zero{i}", numpy.zeros(outputs, numpy.int8))
    bias_scale = g.constant(f"bias_scale{i}", numpy.full(outputs, 1e-5, numpy.float32))
    bias_zero = g.constant(f"bias_zero{i}", numpy.zeros(outputs, numpy.int32))
    bias = g.constant(f"bias{i}", g.random.integers(-99, 99, outputs).astype(numpy.int32))
    return [g.add("DequantizeLinear", [g.constant(f"weights{i}", codes), scale, zero],
                  f"real_weights{i}", axis=1),
            g.add("DequantizeLinear", [bias, bias_scale, bias_zero], f"real_bias{i}", axis=0)]


def float_weights(g, i, inputs, outputs):
    weights = g.random.normal(0, inputs ** -0.5, (inputs, outputs)).astype(numpy.float32)
    return [g.constant(f"weights{i}", weights),
            g.constant(f"bias{i}", g.random.normal(0, 0.1, outputs).astype(numpy.float32))]


def quantize(g, value, i):
    codes = g.add("QuantizeLinear", [value, "step", "zero"], f"codes{i}")
    return g.add("DequantizeLinear", [codes, "step", "zero"], f"real{i}")


def network(g, widths, quantized):
    value, last = "x", len(widths) - 2
    if quantized:
        g.constant("step", numpy.float32(1 / 255))
        g.constant("zero", numpy.uint8(0))
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        if quantized:
            value = quantize(g, value, i)
        weights = (quantized_weights if quantized else float_weights)(g, i, inputs, outputs)
        value = g.add("Gemm", [value, *weights], "y" if i == last else f"sum{i}")
        if i != last:
            value = g.add("Relu", [value], f"relu{i}")


def main():
    path, kind, widths = sys.argv[1], sys.argv[2], [int(w) for w in sys.argv[3].split(",")]
    g = Graph()
    if kind == "identity":
        g.add("Identity", ["x"], "y")
    else:
        network(g, widths, kind == "int8")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
             for name, width in (("x", widths[0]), ("y", widths[-1]))]
    model = helper.make_model(helper.make_graph(g.nodes, kind, value[:1], value[1:], g.constants),
                              opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    onnx.save(model, path)


main()
