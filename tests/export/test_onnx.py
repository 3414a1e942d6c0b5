"""ONNX and QONNX files: what is in them, and that they compute what the integer model computes, in
NumPy. usage: test_onnx.py HALFTONE WRITE_RANDOM"""
import glob
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402
import onnx  # noqa: E402

import onnx_numpy  # noqa: E402
from harness import (contains, csv_regression, equal, experiment, folder, idx_images, main,  # noqa: E402
                     no_temporary_files, path, read, run, test)

WRITE_RANDOM = os.path.abspath(sys.argv[2])
INT8_OPSET, INT4_OPSET, INT2_OPSET = 13, 21, 25
NARROW = {onnx_numpy.INT2, onnx_numpy.UINT2, onnx_numpy.INT4, onnx_numpy.UINT4}


def random_networks(kind, first, count):
    """(name, model, input rows, what must come, shape) of each; the writer's talk."""
    where = folder("random-" + kind)
    p = subprocess.run([WRITE_RANDOM, where, str(first), str(count), kind], check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
    cases = []
    for file in sorted(glob.glob(os.path.join(where, "*.json"))):
        name = os.path.basename(file)[:-5]
        with open(file, encoding="utf-8") as f:
            shape = json.load(f)
        cases.append((name, onnx.load(os.path.join(where, name + ".onnx")), rows(where, name, shape),
                      floats(where, name, shape["outputs"]), shape))
    return cases, p.stdout.decode()


def rows(where, name, shape):
    bytes_file = os.path.join(where, name + ".in.u8")
    if os.path.exists(bytes_file):
        return np.fromfile(bytes_file, np.uint8).reshape(-1, shape["features"])
    return np.fromfile(os.path.join(where, name + ".in.f32"), "<f4").reshape(-1, shape["features"])


def floats(where, name, columns):
    for suffix in (".out.f32", ".near.f32"):
        if os.path.exists(os.path.join(where, name + suffix)):
            return np.fromfile(os.path.join(where, name + suffix), "<f4").reshape(-1, columns)
    raise AssertionError(name)


def opset(model):
    return {o.domain: o.version for o in model.opset_import}[""]


def types(model):
    return {t.data_type for t in model.graph.initializer}


def check_versions(model):
    """The oldest version that has the types and blocks which are used. No name is there twice."""
    narrow = types(model)
    blocks = any(a.name == "block_size" for n in model.graph.node for a in n.attribute)
    wanted = (INT2_OPSET if narrow & {onnx_numpy.INT2, onnx_numpy.UINT2} else
              INT4_OPSET if blocks or narrow & NARROW else INT8_OPSET)
    equal(opset(model), wanted, "opset")
    equal(model.ir_version, {INT8_OPSET: 7, INT4_OPSET: 10, INT2_OPSET: 13}[wanted], "IR version")
    names = [t.name for t in model.graph.initializer] + [n.output[0] for n in model.graph.node]
    equal(len(names), len(set(names)), "names")
    if wanted == INT8_OPSET:
        onnx.checker.check_model(model, full_check=True)


@test("random integer networks of every grid and activation give the same bits")
def _():
    cases, _ = random_networks("onnx", 1, 120)
    equal(len(cases), 120, "networks")
    operators, stored = set(), set()
    for name, model, x, wanted, shape in cases:
        y = onnx_numpy.run(model, x)["output"]
        equal(y.dtype, np.float32)
        equal(int((y.view(np.uint32) != wanted.view(np.uint32)).sum()), 0, name + ": bits that differ")
        check_versions(model)
        products = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMulInteger")]
        equal(len(products), shape["layers"], name + ": integer products")
        operators |= {n.op_type for n in model.graph.node}
        stored |= types(model)
    # Every kind of step was there.
    equal(operators & {"MatMulInteger", "Gather", "Floor", "Ceil", "Clip", "Gemm"},
          {"MatMulInteger", "Gather", "Floor", "Ceil", "Clip", "Gemm"})
    equal(stored, {onnx_numpy.FLOAT, onnx_numpy.INT32, *onnx_numpy.NARROW, onnx_numpy.INT8,
                   onnx_numpy.UINT8})


@test("random networks of levels, with scales of rows or known ones, give the same bits")
def _():
    cases, _ = random_networks("exact", 1, 100)
    equal(len(cases), 100, "networks")
    operators, dynamic = set(), 0
    for name, model, x, wanted, _ in cases:
        y = onnx_numpy.run(model, x)["output"]
        equal(int((y.view(np.uint32) != wanted.view(np.uint32)).sum()), 0, name + ": bits that differ")
        check_versions(model)
        operators |= {n.op_type for n in model.graph.node}
        dynamic += "ReduceMin" in {n.op_type for n in model.graph.node}
    equal(operators & {"ReduceMin", "ReduceMax", "Where", "LeakyRelu", "MatMulInteger", "Gemm"},
          {"ReduceMin", "ReduceMax", "Where", "LeakyRelu", "MatMulInteger", "Gemm"})
    assert dynamic > 30, dynamic


@test("random networks with real values in them are within the bound of their roundings")
def _():
    cases, _ = random_networks("modes", 1, 100)
    equal(len(cases), 100, "networks")
    seen, tight = set(), 0
    for name, model, x, wanted, shape in cases:
        bound = np.fromfile(os.path.join(folder("random-modes"), name + ".bound.f32"), "<f4")
        with np.errstate(over="ignore"):
            off = np.abs(onnx_numpy.run(model, x)["output"] - wanted)
        bound = bound.reshape(wanted.shape)
        assert (off <= bound).all(), (name, (off / bound).max())
        tight += bound.max() < 1e-4 * np.abs(wanted).max()
        check_versions(model)
        seen |= types(model) & {onnx_numpy.FLOAT16, onnx_numpy.INT4, onnx_numpy.INT2}
        seen |= {a.name for n in model.graph.node for a in n.attribute if a.name == "block_size"}
    equal(seen, {onnx_numpy.FLOAT16, onnx_numpy.INT4, onnx_numpy.INT2, "block_size"})
    assert tight > 20, tight


@test("levels of the last layer leave as codes, and stand for the outputs")
def _():
    seen = 0
    for name, model, x, wanted, _ in random_networks("onnx", 1, 40)[0]:
        out = onnx_numpy.run(model, x)
        if "codes" not in out:
            continue
        last = {t.name: onnx_numpy.tensor(t) for t in model.graph.initializer}
        real = last["output.scale"] * (out["codes"].astype(int) - int(last["output.zero_point"]))
        equal(real.astype(np.float32).tolist(), wanted.tolist(), name)
        seen += 1
    assert seen > 5, seen


@test("float32 networks with every activation, but for rounding")
def _():
    for name, model, x, wanted, _ in random_networks("float", 1, 14)[0]:
        np.testing.assert_allclose(onnx_numpy.run(model, x)["output"], wanted, rtol=1e-4, atol=1e-5,
                                   err_msg=name)
        check_versions(model)


@test("QONNX: Quant nodes over real weights give the outputs of the integer model")
def _():
    """A sum on the border of two levels may fall to either side. BipolarQuant takes 0 to +1 where
    halftone takes it to -1, and random tables are no functions: such networks are only looked at."""
    cases, refusals = random_networks("qonnx", 1, 120)
    compared = differ = 0
    for name, model, x, wanted, shape in cases:
        quants = [n for n in model.graph.node if n.domain == "qonnx.custom_op.general"]
        equal({n.op_type for n in quants} <= {"Quant", "BipolarQuant"}, True, name)
        weights = [n for n in model.graph.node if n.op_type == "MatMul"]
        equal(len(weights), shape["layers"], name)
        assert all(w.input[1] in {q.output[0] for q in quants} for w in weights), name
        onnx.checker.check_model(model)
        initial = {t.name for t in model.graph.initializer}
        if any(q.op_type == "BipolarQuant" and q.input[0] not in initial for q in quants) or any(
                n.op_type in ("Tanh", "Sigmoid", "Erf", "Clip") for n in model.graph.node):
            continue
        y = onnx_numpy.run(model, x, np.float64)["output"]
        reach = np.abs(wanted).max() + 1e-6
        differ += int((np.abs(y - wanted) > 1e-5 * reach).sum())
        compared += wanted.size
    assert compared > 10000, compared
    assert differ < 1e-3 * compared, (differ, compared)
    contains(refusals, "QONNX has no Quant for activations on grid zero_free",
             "the table of leaky_relu, not its formula")
    equal(len(cases) + refusals.count("\n"), 120)


def trained(name, weight_bits, more="", activation="relu"):
    if not os.path.exists(path("images.yaml")):
        idx_images("images", n=300, test=80)
    e = experiment(name, "images.yaml", "[{dense: 12}, batchnorm, %s, {dense: 4}]" % activation,
                   quant=more or "{weights: {bits: %d}}" % weight_bits, train="{epochs: 1}")
    run("train", e, "--quiet")
    return "runs/" + name


def images():
    """The test images: rows of bytes."""
    return np.frombuffer(read("images-test-images")[16:], np.uint8).reshape(80, 64)


@test("trained networks of every activation, as ONNX and as QONNX")
def _():
    for activation in ("relu6", "tanh", "sigmoid", "gelu", "leaky_relu"):
        source = trained(activation, 4, activation=activation)
        shown = run("predict", source + "/model.h5", "images-test-images", "-o", "json").json()
        wanted = np.array([[r["output_%d" % j] for j in range(4)] for r in shown])
        run("export", source, "--to", "onnx", "--out", "a.onnx")
        y = onnx_numpy.run(onnx.load(path("a.onnx")), images().astype(np.float32))["output"]
        equal(y.astype(float).tolist(), wanted.tolist(), activation)
        if activation == "leaky_relu":
            contains(run("export", source, "--to", "qonnx", code=2).err, "the table of leaky_relu")
            continue
        run("export", source, "--to", "qonnx", "--out", "a.onnx")
        y = onnx_numpy.run(onnx.load(path("a.onnx")), images().astype(np.float64), np.float64)
        off = np.abs(y["output"] - wanted) / np.abs(wanted).max()
        assert (off > 1e-5).mean() < 0.02 and off.max() < 0.02, (activation, off.max())


@test("trained networks of other modes: what is stored, and what is said of them")
def _():
    real = "{weights: {bits: %s}, activations: {bits: 32}}"
    for name, quant, stored, agreement in (
            ("only4", real % 4, onnx_numpy.INT4, "but for rounding"),
            ("group4", real % "4, granularity: group, group: 16", onnx_numpy.INT4, "but for rounding"),
            ("half", "{weights: {bits: 16}}", onnx_numpy.FLOAT16, "but for rounding"),
            ("rows", "{weights: {bits: 2}, activations: {range: dynamic}}", onnx_numpy.INT2,
             "bit for bit"),
            ("mixed", "{weights: {bits: 8}, activations: {bits: 32}, layers: "
             "{last: {weights: {bits: 4}}, first: {activations: {bits: 8}}}}", onnx_numpy.INT8,
             "nearly all")):
        source = trained(name, 0, quant)
        shown = run("predict", source + "/model.h5", "images-test-images", "-o", "json").json()
        wanted = np.array([[r["output_%d" % j] for j in range(4)] for r in shown])
        r = run("export", source, "--to", "onnx", "-o", "json").json()[0]
        equal((r["agreement"], r["mismatched_outputs"]), (agreement, 0), name)
        model = onnx.load(path(name + ".onnx"))
        check_versions(model)
        assert stored in types(model), name
        y = onnx_numpy.run(model, images().astype(np.float32))["output"].astype(float)
        if agreement == "bit for bit":
            equal(y.tolist(), wanted.tolist(), name)
        elif agreement == "but for rounding":
            np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max(),
                                       err_msg=name)
        contains(run("export", source, "--to", "qonnx", code=2).err, "qonnx cannot hold a model")
    about = {p.key: p.value for p in onnx.load(path("rows.onnx")).metadata_props}
    equal((about["arithmetic"], about["weight_bits"], about["activation_bits"]),
          ("dynamic", "2 2", "8 8"))


@test("export: the line about parity, equal bytes, names and descriptions")
def _():
    source = trained("four", 4)
    r = run("export", source, "--to", "onnx", "-o", "json").json()[0]
    equal((r["format"], r["file"], r["samples"], r["mismatched_outputs"]),
          ("onnx", "four.onnx", 80, 0))
    equal(r["outputs_compared"], 320)
    run("export", source, "--to", "onnx", "--out", "again.onnx")
    equal(read("four.onnx"), read("again.onnx"), "equal bytes")
    model = onnx.load(path("four.onnx"))
    equal((model.producer_name, model.graph.name), ("halftone", "four"))
    about = {p.key: p.value for p in model.metadata_props}
    equal((about["task"], about["weight_bits"], about["activation_bits"], about["classes"]),
          ("classification", "4 4", "8 8", "red\ngreen\nblue\ngrey\n"))
    contains(about["experiment"], "epochs: 1")
    equal(float(about["test_score"]), r["fake_quant_accuracy"], "score of the test part")
    contains(model.doc_string, "four: integer network", "validation accuracy", "; test accuracy")
    names = [n.name for n in model.graph.node]
    contains(" ".join(names), "dense1/sums", "dense2/sums")
    contains(next(n for n in model.graph.node if n.name == "dense1/sums").doc_string,
             "64 inputs, 12 outputs; weights: 4 bits, grid narrow", "relu")
    no_temporary_files(".")


@test("export --input u8: image bytes are the levels, nothing is computed from them")
def _():
    run("export", trained("bytes", 8), "--to", "onnx", "--input", "u8", "--out", "bytes.onnx")
    model = onnx.load(path("bytes.onnx"))
    equal(model.graph.input[0].type.tensor_type.elem_type, onnx_numpy.UINT8)
    users = [n.op_type for n in model.graph.node if "input" in n.input]
    equal(users, ["DequantizeLinear"])


@test("export of a float32 run; what each format does not take is exit 2 and writes nothing")
def _():
    source = trained("real", 32, "null")
    r = run("export", source, "--to", "onnx", "-o", "json").json()[0]
    equal((r["outputs_compared"], r["integer_accuracy"]), (0, None))
    equal({n.op_type for n in onnx.load(path("real.onnx")).graph.node},
          {"Div", "Gemm", "BatchNormalization", "Relu"})
    for kind in ("hdf5", "qonnx"):
        r = run("export", source, "--to", kind, "--out", "no.file", code=2)
        contains(r.err, "float32 network", "onnx")
    r = run("export", "runs/four", "--to", "onyx", code=2)
    contains(r.err, "did you mean 'onnx'?", "hdf5, onnx, qonnx, safetensors, c")
    contains(run("export", "runs/four", "--input", "u8", code=2).err, "--input")
    contains(run("export", "runs/four", "--to", "onnx", "--input", "u9", code=2).err, "float, u8")
    contains(run("export", "runs/four", "--to", "onnx", "--out", "none/a.onnx", code=5).err,
             "there is no folder none")
    assert not os.path.exists(path("no.file"))


@test("regression: a second output in the unit of the targets; numbers are no bytes")
def _():
    csv_regression("points")
    run("train", experiment("line", "points.yaml", "[{dense: 8}, tanh, {dense: 1}]",
                            train="{epochs: 2}"), "--quiet")
    run("export", "runs/line", "--to", "onnx")
    out = onnx_numpy.run(onnx.load(path("line.onnx")),
                         np.array([[0.5, -0.5], [-0.25, 0.75]], np.float32))
    shown = run("predict", "runs/line/model.h5", csv_rows(), "-o", "json").json()
    for row, target in zip(shown, out["target"][:, 0]):
        assert abs(row["output_0"] - float(target)) < 1e-4, (row, target)
    contains(run("export", "runs/line", "--to", "onnx", "--input", "u8", code=2).err,
             "are numbers")


def csv_rows():
    with open(path("rows.csv"), "w", encoding="utf-8") as f:
        f.write("a,b\n0.5,-0.5\n-0.25,0.75\n")
    return "rows.csv"


main()
