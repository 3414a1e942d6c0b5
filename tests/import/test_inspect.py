"""halftone inspect: any file that halftone writes. usage: test_inspect.py HALFTONE"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("cli", "qmodel"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402

import safetensors_numpy  # noqa: E402
from harness import SANITIZED, contains, equal, experiment, idx_images, main, path, read, run, test, write  # noqa: E402

idx_images("pics", n=300, test=60)
GRIDS = {"four": "{weights: {bits: 4}}", "eight": "{weights: {bits: 8}}",
         "binary": "{weights: {bits: 1, grid: binary}}",
         "book": "{weights: {bits: 3, grid: codebook}}",
         "affine": "{weights: {bits: 5, grid: affine, granularity: tensor}}",
         "float16": "{weights: {bits: 16}}"}
if SANITIZED:
    GRIDS = {name: GRIDS[name] for name in ("four", "book", "float16")}
for name, quant in GRIDS.items():
    run("train", experiment(name, "pics.yaml", "[{dense: 30}, relu, {dense: 4}]", quant=quant,
                            train="{epochs: 1}"), "--quiet")


def stored(name):
    """For each layer: how often each level is there, its scales, bytes; by NumPy from safetensors."""
    run("export", "runs/" + name, "--to", "safetensors", "--quiet")
    tensors, metadata = safetensors_numpy.load(path(name + ".safetensors"))
    for w in sorted(k for k in tensors if k.endswith("/weight")):
        rows, columns = map(int, metadata[w + ":shape"].split("x"))
        bits, layer = int(metadata[w + ":bits"]), w[:-len("/weight")]
        counts = {}
        if layer + "/level" in tensors:
            stream = np.unpackbits(tensors[w], bitorder="little")[:rows * columns * bits]
            codes = stream.reshape(-1, bits) @ (1 << np.arange(bits))
            levels, n = np.unique(tensors[layer + "/level"][codes], return_counts=True)
            counts = dict(zip(levels.tolist(), n.tolist()))
        yield layer[10:], rows * columns, counts, tensors[layer + "/scale"], tensors[w].nbytes


@test("counts of levels, scales and bytes are those of the file, on every grid")
def _():
    for name in GRIDS:
        rows = run("inspect", "runs/%s/model.h5" % name, "-o", "json").json()[1:]
        for row, (layer, n, counts, scales, size) in zip(rows, stored(name)):
            equal(row["layer"], layer)
            equal((row["bytes"], row["float_bytes"]), (size, 4 * n), name)
            equal((row["scale_min"], row["scale_max"], row["scales"]),
                  (float(scales.min()), float(scales.max()), len(scales)), name)
            if name == "float16":
                equal(row["level_counts"], None)
                continue
            shown = {int(a): int(b) for a, b in (p.split(":") for p in row["level_counts"].split())}
            equal({k: v for k, v in shown.items() if v}, counts, name)
            equal((sum(shown.values()), len(shown)), (n, row["levels"]), name)
            equal((min(shown), max(shown), len(counts)),
                  (row["level_min"], row["level_max"], row["levels_used"]), name)
            bars = row["histogram"]
            assert len(bars) == len(shown) if len(shown) <= 32 else 16 < len(bars) <= 32, bars
            equal("█" in bars, True)


@test("for people: four tables that fit 80 columns")
def _():
    for name in GRIDS:
        out = run("inspect", "runs/" + name).out
        equal(out.count("\n\n"), 3)
        assert max(len(line) for line in out.splitlines()) <= 80, out
    contains(run("inspect", "runs/four").out, "float32", "levels", "codes")


@test("checkpoints, folders without a model, safetensors, ONNX; what is none of them is exit 4")
def _():
    contains(run("inspect", "runs/four/checkpoints/best.h5").out, "parameters/dense1.weight")
    run("train", "four.yaml", "name=real", "quant=null", "--quiet")
    contains(run("inspect", "runs/real").out, "parameters/dense1.weight")
    rows = run("inspect", "four.safetensors", "-o", "json").json()
    weight = next(r for r in rows if r["tensor"] == "layers/00_dense1/weight")
    equal((weight["type"], weight["bits"], weight["grid"], weight["bytes"]), ("U8", 4, "narrow", 960))
    scale = next(r for r in rows if r["tensor"] == "layers/00_dense1/scale")
    tensors, _ = safetensors_numpy.load(path("four.safetensors"))
    equal((scale["min"], scale["max"]), (float(tensors[scale["tensor"]].min()),
                                         float(tensors[scale["tensor"]].max())))
    for kind in ("onnx", "qonnx"):
        run("export", "runs/four", "--to", kind, "--quiet")
    contains(run("inspect", "four.onnx").out, "dense1.weight", "int4", "30x64")
    contains(run("inspect", "four.qonnx.onnx").out, "dense1.weight", "float", "64x30")
    for name in ("cut.safetensors", "cut.onnx"):
        write(name, read(name.replace("cut", "four"))[:-5])
        contains(run("inspect", name, code=4).err, name)


main()
