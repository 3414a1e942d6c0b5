"""Rebuilds a network from a model file with h5py and NumPy alone, from what docs/file-format.md
says, and runs it: rebuild.py MODEL INPUTS OUTPUTS (raw little-endian float32). Integer steps are
int64, every float step is one np.float32 operation."""
import sys

import h5py
import numpy as np

f32 = np.float32


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def attribute(node, name):
    return node.attrs[name]


def quantize(u, node):
    """u in units of the scale -> levels, by docs/numerics.md, section 2."""
    zero_point = int(attribute(node, "zero_point"))
    lo, hi = int(attribute(node, "lo")), int(attribute(node, "hi"))
    u = np.clip(u, f32(lo - zero_point), f32(hi - zero_point))
    if text(attribute(node, "grid")) in ("binary", "zero_free"):
        q = 2 * np.ceil(u.astype(np.float64) / 2) - 1
    elif text(attribute(node, "rounding")) == "floor":
        q = np.floor(u)
    else:
        q = np.rint(u)
    return q.astype(np.int64) + zero_point


def unpack(node, level):
    rows, columns = (int(n) for n in text(attribute(node, "shape")).split("x"))
    bits = int(attribute(node, "bits"))
    stream = np.unpackbits(node[:].astype(np.uint8), bitorder="little")
    assert not stream[rows * columns * bits :].any(), "pad bits"
    codes = stream[: rows * columns * bits].reshape(-1, bits) @ (1 << np.arange(bits))
    return level[codes].reshape(rows, columns).astype(np.int64)


def layer(group, a, source):
    output = group["output"]
    weight = unpack(group["weight"], group["level"][:])
    size = int(group["weight"].attrs.get("group", 0))
    if size:  # one scale for `size` inputs of a row, the last group may be shorter
        scales = group["group_scale"][:].astype(np.int64).reshape(len(weight), -1)
        weight *= np.repeat(scales, size, axis=1)[:, : weight.shape[1]]
        assert np.abs(weight).max() <= 127
    if "zero_point" in group:
        weight -= group["zero_point"][:].astype(np.int64).reshape(-1, 1)
    acc = (a - int(attribute(source, "zero_point"))) @ weight.T + group["bias"][:].astype(np.int64)
    assert np.abs(acc).max() < 2**31
    multiplier = f32(attribute(source, "scale")) * group["scale"][:].astype(f32)
    if text(attribute(output, "kind")) == "real":
        return acc.astype(f32) * multiplier, None
    multiplier = multiplier / f32(attribute(output, "scale"))
    levels = quantize(acc.astype(f32) * multiplier, output)
    if "table" not in group:
        return levels, output
    lowest = {"affine": 0, "full": -(1 << (int(attribute(output, "bits")) - 1)),
              "narrow": 1 - (1 << (int(attribute(output, "bits")) - 1))}
    first = lowest.get(text(attribute(output, "grid")), 1 - (1 << int(attribute(output, "bits"))))
    return group["table"][:].astype(np.int64)[levels - first], group["table"]


def run(file, x):
    source = file["input"]
    a = quantize(x / f32(attribute(source, "scale")), source)
    for name in sorted(file["layers"]):
        a, source = layer(file["layers"][name], a, source)
    if source is None:
        return a
    level = (a - int(attribute(source, "zero_point"))).astype(f32)
    return f32(attribute(source, "scale")) * level


def main():
    model, inputs, outputs = sys.argv[1:]
    with h5py.File(model, "r") as file:
        assert text(file.attrs["format"]) == "halftone model"
        features = int(file["input"].attrs["features"])
        x = np.fromfile(inputs, dtype="<f4").reshape(-1, features)
        y = run(file, x)
    assert y.dtype == f32
    y.astype("<f4").tofile(outputs)


main()
