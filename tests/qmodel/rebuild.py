"""Rebuilds a network from a model file with NumPy and h5py (of a safetensors file: NumPy) alone, from
what docs/file-format.md says, and runs it: rebuild.py MODEL INPUTS OUTPUTS [MODEL INPUTS OUTPUTS ...]
(raw little-endian float32). Integer steps are
int64, every float step is one np.float32 operation."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import safetensors_numpy  # noqa: E402

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


def find_rows(x, node):
    """Scale and zero point of each row of x, by docs/numerics.md, section 11."""
    lo, hi = int(attribute(node, "lo")), int(attribute(node, "hi"))
    least = np.maximum(np.minimum(x.min(axis=1), f32(0)), f32(-(2.0**64)))
    most = np.minimum(np.maximum(x.max(axis=1), f32(0)), f32(2.0**64))
    zero_point = np.zeros(len(x), np.int64)
    if text(attribute(node, "grid")) == "affine":
        scale = (most - least) / f32(hi - lo)
        fits = scale >= f32(2.0**-30)
        zero_point[fits] = np.rint(f32(lo) - least[fits] / scale[fits])
    else:
        scale = np.maximum(most, -least) / f32(hi)
    return np.maximum(scale, f32(2.0**-30)), zero_point


def quantize_rows(x, node):
    """level - zero point of each row, and the rows' scales."""
    scale, zero_point = find_rows(x, node)
    lo = f32(int(attribute(node, "lo"))) - zero_point.astype(f32)
    hi = f32(int(attribute(node, "hi"))) - zero_point.astype(f32)
    u = np.clip(x / scale[:, None], lo[:, None], hi[:, None])
    q = np.floor(u) if text(attribute(node, "rounding")) == "floor" else np.rint(u)
    return q.astype(np.int64), scale


def ordered_products(x, weight):
    """x . weight^T in the one order: 16 lanes over blocks of 512, lanes, blocks."""
    pad = -x.shape[1] % 16
    x, weight = np.pad(x, ((0, 0), (0, pad))), np.pad(weight, ((0, 0), (0, pad)))
    total = np.zeros((len(x), len(weight)), f32)
    for block in range(0, x.shape[1], 512):
        lanes = np.zeros((len(x), len(weight), 16), f32)
        for k in range(block, min(block + 512, x.shape[1]), 16):
            lanes += x[:, None, k : k + 16] * weight[None, :, k : k + 16]
        for width in (8, 4, 2, 1):
            lanes = lanes[:, :, :width] + lanes[:, :, width:]
        total += lanes[:, :, 0]
    return total


def activate(y, output):
    name = text(attribute(output, "activation"))
    if name in ("relu", "relu6"):
        y = np.where(y < 0, f32(0), y)
    if name == "relu6":
        y = np.where(y > 6, f32(6), y)
    if name == "leaky_relu":
        y = np.where(y > 0, y, f32(attribute(output, "slope")) * y)
    assert name in ("none", "relu", "relu6", "leaky_relu"), name
    return y


def unpack(node, level):
    rows, columns = (int(n) for n in text(attribute(node, "shape")).split("x"))
    bits = int(attribute(node, "bits"))
    if text(attribute(node, "grid")) == "float16":
        return np.frombuffer(node[:].tobytes(), "<f2").reshape(rows, columns).astype(f32)
    stream = np.unpackbits(node[:].astype(np.uint8), bitorder="little")
    assert not stream[rows * columns * bits :].any(), "pad bits"
    codes = stream[: rows * columns * bits].reshape(-1, bits) @ (1 << np.arange(bits))
    return level[codes].reshape(rows, columns).astype(np.int64)


def pass_on(x, node, kind):
    """Real values as the next layer takes them: levels, or (whole numbers, scales), or as they are."""
    if kind == "codes":
        return quantize(x / f32(attribute(node, "scale")), node)
    return quantize_rows(x, node) if kind == "dynamic" else x


def layer(group, a, source, kind):
    """a: what pass_on gives. Returns the same for the next layer, and where it is described."""
    output = group["output"]
    to = text(attribute(output, "kind"))
    weight = unpack(group["weight"], group["level"][:] if "level" in group else None)
    size = int(group["weight"].attrs.get("group", 0))
    if size:  # one scale for `size` inputs of a row, the last group may be shorter
        scales = group["group_scale"][:].astype(np.int64).reshape(len(weight), -1)
        weight *= np.repeat(scales, size, axis=1)[:, : weight.shape[1]]
        assert np.abs(weight).max() <= 127
    if "zero_point" in group:
        weight -= group["zero_point"][:].astype(np.int64).reshape(-1, 1)
    if kind != "codes":
        row = f32(1)
        if kind == "dynamic":
            sums = (a[0] @ weight.T).astype(f32)
            row = a[1][:, None]
        else:
            sums = ordered_products(a, weight.astype(f32))
        y = sums * (row * group["scale"][:].astype(f32)) + group["real_bias"][:].astype(f32)
        return pass_on(activate(y, output), output, to), output
    acc = (a - int(attribute(source, "zero_point"))) @ weight.T + group["bias"][:].astype(np.int64)
    assert np.abs(acc).max() < 2**31
    multiplier = f32(attribute(source, "scale")) * group["scale"][:].astype(f32)
    if to != "codes":
        return pass_on(activate(acc.astype(f32) * multiplier, output), output, to), output
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
    kind = text(source.attrs.get("kind", "codes"))
    a = pass_on(x, source, kind)
    for name in sorted(file["layers"]):
        a, source = layer(file["layers"][name], a, source, kind)
        kind = text(attribute(file["layers"][name]["output"], "kind"))
    if kind == "real":
        return a
    level = (a - int(attribute(source, "zero_point"))).astype(f32)
    return f32(attribute(source, "scale")) * level


def transform(file, raw):
    """Raw values, as in the training data, to what the network takes."""
    pixels = int(attribute(file["input"], "pixel_range"))
    x = raw.astype(f32)
    if pixels == 255:
        x = x / f32(255)
    elif pixels == -1:
        x = x / f32(127.5) - f32(1)
    if "mean" in file["input"]:
        x = (x - file["input/mean"][:]) / file["input/std"][:]
    return x


def open_model(model):
    if model.endswith(".safetensors"):
        file = safetensors_numpy.open_file(model)
    else:
        import h5py
        file = h5py.File(model, "r")
    assert text(file.attrs["format"]) == "halftone model"
    return file


def rebuild(model, inputs, outputs):
    file = open_model(model)
    x = np.fromfile(inputs, dtype="<f4").reshape(-1, int(file["input"].attrs["features"]))
    y = run(file, x)
    assert y.dtype == f32
    y.astype("<f4").tofile(outputs)


if __name__ == "__main__":
    for at in range(1, len(sys.argv), 3):
        rebuild(*sys.argv[at : at + 3])
