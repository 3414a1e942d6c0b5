"""halftone import: float networks made elsewhere become checkpoints that compute the same.
usage: test_import.py HALFTONE"""
import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("cli", "qmodel"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402

import safetensors_numpy  # noqa: E402
from harness import (Skip, close, contains, csv_classes, csv_regression, equal,  # noqa: E402
                     experiment, idx_images, main, no_temporary_files, path, read, run, test, write)

CODES = {"float16": "F16", "float32": "F32", "float64": "F64", "int8": "I8", "int64": "I64",
         "uint16": "BF16"}


def safetensors(name, tensors):
    """Writes NAME in the order given; uint16 stands for bfloat16."""
    header, body = {}, b""
    for key, value in tensors.items():
        value = np.ascontiguousarray(value)
        data = value.tobytes()
        header[key] = {"dtype": CODES[value.dtype.name], "shape": list(value.shape),
                       "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    write(name, struct.pack("<Q", len(text)) + text + body)


def bfloat16(x):
    return (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


R = np.random.RandomState(1)


def linear(inputs, outputs):
    return (R.randn(outputs, inputs) / inputs**0.5).astype(np.float32), \
        R.randn(outputs).astype(np.float32)


def norm(n):
    """gain (some negative, one 0), offset, mean, variance"""
    gain = (R.randn(n) + 0.5).astype(np.float32)
    gain[1], gain[2] = 0, -abs(gain[2])
    return [gain] + [R.randn(n).astype(np.float32), R.randn(n).astype(np.float32),
                     (R.rand(n) + 0.1).astype(np.float32)]


PARTS = ("weight", "bias", "running_mean", "running_var")


def named(module, values):
    return {"%s.%s" % (module, part): v for part, v in zip(PARTS, values)}


def forward(x, layers, epsilon=1e-5):
    """layers: (w, b), or (gain, offset, mean, variance), or a function; in double precision."""
    for layer in layers:
        if callable(layer):
            x = layer(x)
            continue
        v = [np.asarray(a, np.float64) for a in layer]
        x = x @ v[0].T + v[1] if len(v) == 2 else \
            (x - v[2]) / np.sqrt(v[3] + epsilon) * v[0] + v[1]
    return x


def relu(x):
    return np.maximum(x, 0)


csv_regression("points", n=300)
LINE = "standardize: false, validation: 1, test: 200"


def line(name, layers="[{dense: 6}, relu, {dense: 5}, relu, {dense: 1}]", **more):
    return experiment(name, "points.yaml", layers, dataset=LINE, quant="{weights: {bits: 8}}",
                      train="{epochs: 2}", **more)


def parameters(checkpoint):
    run("export", checkpoint, "--to", "safetensors", "--out", "back.safetensors")
    return safetensors_numpy.load(path("back.safetensors"))[0]


def same(a, b, what=""):
    equal(np.asarray(a, np.float32).tobytes(), np.asarray(b, np.float32).tobytes(), what)


THREE = [linear(2, 6), linear(6, 5), linear(5, 1)]


@test("PyTorch's Sequential: numbers in natural order, every parameter bit for bit")
def _():
    e = line("seq")
    tensors = {}
    for module, values in zip(("net.10", "net.2", "net.0"), reversed(THREE)):
        tensors.update(named(module, values))
    safetensors("seq.safetensors", tensors)
    rows = run("import", "seq.safetensors", e, "--out", "seq.h5", "-o", "json").json()
    equal([(r["parameter"], r["tensor"], r["shape"], r["type"]) for r in rows][:3],
          [("dense1.weight", "net.0.weight", "6x2", "F32"), ("dense1.bias", "net.0.bias", "6", "F32"),
           ("dense2.weight", "net.2.weight", "5x6", "F32")])
    back = parameters("seq.h5")
    for i, (w, b) in enumerate(THREE, 1):
        same(back["dense%d.weight" % i], w)
        same(back["dense%d.bias" % i], b)
    twins = [linear(2, 2) for _ in range(3)]  # only the order tells them apart
    safetensors("twins.safetensors", {**named("10", twins[2]), **named("2", twins[1]),
                                      **named("0", twins[0]), **named("12", linear(2, 1))})
    run("import", "twins.safetensors", line("twins", "[{dense: 2}, relu, {dense: 2}, relu, {dense: 2}, "
                                            "relu, {dense: 1}]"), "--out", "twins.h5", "--quiet")
    back = parameters("twins.h5")
    for i, (w, b) in enumerate(twins, 1):
        same(back["dense%d.weight" % i], w, "of equal shapes")
    again = run("import", "seq.safetensors", e, "--out", "again.h5", "--quiet")
    equal(again.err, "")
    equal(read("seq.h5"), read("again.h5"), "equal bytes")
    no_temporary_files(".")


@test("F16, BF16 and F64 are converted; others, NaN and infinity are exit 4, with the name")
def _():
    e = line("types", "[{dense: 1}]")
    w, b = linear(2, 1)
    for code, value, wanted in (("f16", w.astype(np.float16), w.astype(np.float16)),
                                ("f64", w.astype(np.float64) / 3, w.astype(np.float64) / 3),
                                ("bf16", bfloat16(w), (bfloat16(w).astype(np.uint32) << 16).view(
                                    np.float32))):
        safetensors("t.safetensors", {"weight": value, "bias": b})
        run("import", "t.safetensors", e, "--out", code + ".h5", "--quiet")
        same(parameters(code + ".h5")["dense1.weight"], wanted, code)
    for value, said in ((w.astype(np.int8), "is of type I8"), (w * np.nan, "is not finite"),
                        (w.astype(np.float64) * 1e300, "is not finite in float32")):
        safetensors("t.safetensors", {"weight": value, "bias": b})
        r = run("import", "t.safetensors", e, "--out", "no.h5", code=4)
        contains(r.err, "t.safetensors: weight", said)
    assert not os.path.exists(path("no.h5"))


@test("batch normalization: bias in front of it, gains that are negative or 0")
def _():
    layers = "[{dense: 6}, batchnorm, relu, {dense: 5}, batchnorm, relu, {dense: 3}]"
    e = experiment("bn", "table.yaml", layers, quant="{weights: {bits: 8}}", train="{epochs: 1}",
                   dataset="standardize: false, test: 100")
    csv_classes("table", n=200)
    (w1, b1), (w2, b2), (w3, b3) = linear(4, 6), linear(6, 5), linear(5, 3)
    n1, n2 = norm(6), norm(5)
    safetensors("bn.safetensors", {
        **named("bn1", n1), **named("bn2", n2), **named("fc1", (w1, b1)), **named("fc2", (w2,)),
        **named("fc3", (w3, b3)), "bn1.num_batches_tracked": np.array(7, np.int64)})
    r = run("import", "bn.safetensors", e, "--out", "bn.h5")
    contains(r.out, "subtracted from running_mean", "fc2.weight")
    contains(r.err, "does not say the epsilon", "accuracy of the imported network on the test part")
    t = parameters("bn.h5")
    assert min(t["dense1_batchnorm.weight"].min(), t["dense2_batchnorm.weight"].min()) > 0
    x = R.randn(500, 4)
    wanted = forward(x, [(w1, b1), n1, relu, (w2, 0 * b2), n2, relu, (w3, b3)])
    got = forward(x, [(t["dense1.weight"], np.zeros(6)), [t["dense1_batchnorm." + p] for p in PARTS],
                      relu, (t["dense2.weight"], np.zeros(5)),
                      [t["dense2_batchnorm." + p] for p in PARTS], relu,
                      (t["dense3.weight"], t["dense3.bias"])])
    assert np.abs(got - wanted).max() < 1e-5, np.abs(got - wanted).max()
    safetensors("bn.safetensors", {**named("a", (w1, b1)), **named("b", n1[:3] + [-n1[3]]),
                                   **named("c", (w2, b2)), **named("d", n2), **named("e", (w3, b3))})
    contains(run("import", "bn.safetensors", e, "--out", "no.h5", code=4).err,
             "b.running_var: variance 0 is negative")


@test("names that say nothing: the shapes decide; halftone's own names decide over the order")
def _():
    e = line("shapes")
    safetensors("s.safetensors", {**named("hidden", THREE[1]), **named("input", THREE[0]),
                                  **named("output", THREE[2])})
    run("import", "s.safetensors", e, "--out", "s.h5", "--quiet")
    same(parameters("s.h5")["dense2.weight"], THREE[1][0])
    square = [linear(2, 2), linear(2, 2), linear(2, 1)]
    safetensors("own.safetensors", {**named("z", square[0]), **named("a", square[1]),
                                    **named("m", square[2])})
    e = line("own", "[{dense: 2, name: z}, relu, {dense: 2, name: a}, relu, {dense: 1, name: m}]")
    run("import", "own.safetensors", e, "--out", "own.h5", "--quiet")
    same(parameters("own.h5")["z.weight"], square[0][0])
    run("export", "own.h5", "--to", "safetensors", "--out", "round.safetensors")
    run("import", "round.safetensors", e, "--out", "own2.h5", "--quiet")
    same(parameters("own2.h5")["a.weight"], square[1][0])


@test("--map: layers, lone matrices, parts; what is wrong with it")
def _():
    e = line("map")
    safetensors("m.safetensors", {"w1": THREE[0][0], "b1": THREE[0][1], **named("enc", THREE[1]),
                                  **named("dec", THREE[2]), **named("other", linear(9, 9))})
    contains(run("import", "m.safetensors", e, "--out", "m.h5", code=2).err,
             "no weights for dense1, 2 -> 6", "the model wants: dense1 2 -> 6", "the file has:",
             "w1 6x2", "--map")
    r = run("import", "m.safetensors", e, "--out", "m.h5", "--map", "dense1=w1,dense1.bias=b1",
            code=2)
    contains(r.err, "the model has no place for other.bias, 9")
    run("import", "m.safetensors", e, "--out", "m.h5", "--quiet", "--map",
        "dense1=w1,dense1.bias=b1,dense2=enc,dense3=dec.weight")
    t = parameters("m.h5")
    same(t["dense1.bias"], THREE[0][1])
    same(t["dense3.bias"], THREE[2][1])
    for text, said in (("dense9=w1", "did you mean 'dense"), ("dense1=w2", "did you mean 'w1'?"),
                       ("dense1", "expected LAYER=NAME"), ("dense1=enc", "enc.weight is 5x6, which is "
                        "not dense1.weight of 2 -> 6"), ("dense1.gamma=w1", "has no 'dense1.gamma'")):
        contains(run("import", "m.safetensors", e, "--out", "no.h5", "--map", text, code=2).err, said)


@test("a start for training and for quantization without it; the checkpoint is one like others")
def _():
    e = line("start")
    safetensors("start.safetensors", {**named("0", THREE[0]), **named("2", THREE[1]),
                                      **named("4", THREE[2])})
    run("import", "start.safetensors", e, "--out", "start.h5", "--quiet")
    for more in (["train.epochs=0", "quant.calibration_batches=4"], ["train.epochs=1", "train.learning_rate=1e-9"]):
        r = run("train", e, "train.from=start.h5", *more, "-o", "json").json()[0]
        equal(r["mismatched_outputs"], 0)
        floating = run("train", e, "quant=null", "train.epochs=0", "train.from=start.h5", "-o",
                       "json").json()[0]["score"]
        close(r["score"], floating, 0.02 * (1 + abs(floating)), "8 bits are close to float32")
    run("export", "start.h5", "--to", "onnx", "--out", "start.onnx")
    contains(run("inspect", "start.h5").out, "parameters/dense1.weight")
    contains(run("import", "start.safetensors", e, code=2).err, "--out must say")
    run("train", e, "--quiet")
    r = run("import", "start.safetensors", e, "--out", "runs/start/checkpoints/best.h5", code=2)
    contains(r.err, "checkpoint of a training")
    contains(run("import", "points.csv", e, "--out", "x.h5", code=2).err, ".safetensors or .onnx")
    run("import", "none.safetensors", e, "--out", "x.h5", code=5)
    contains(run("import", "start.safetensors", e, "model.layers=[{dense: 3}]", "--out", "x.h5",
                 code=2).err, "error:")


def graph_of(nodes, tensors, **more):
    """An ONNX file of these nodes (op, inputs, output, attributes); None without python3-onnx."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise Skip("python3-onnx is missing")
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1])]
    initializers = [v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(v, k)
                    for k, v in tensors.items()]
    graph = helper.make_graph([helper.make_node(op, i, [o], **a) for op, i, o, a in nodes], "g",
                              inputs, outputs, initializers)
    return helper.make_model(graph).SerializeToString()


def gemms(**attributes):
    return [("Gemm", ["x", "w0", "b0"], "h0", attributes), ("Relu", ["h0"], "r0", {}),
            ("Gemm", ["r0", "w1", "b1"], "h1", attributes), ("Relu", ["h1"], "r1", {}),
            ("Gemm", ["r1", "w2", "b2"], "y", attributes)]


@test("ONNX: Gemm of both orientations, MatMul and Add, Transpose, Constant, float_data")
def _():
    from_onnx = line("onnx")
    w = {"w%d" % i: v[0] for i, v in enumerate(THREE)}
    b = {"b%d" % i: v[1] for i, v in enumerate(THREE)}
    flipped = {k: np.ascontiguousarray(v.T) for k, v in w.items()}
    matmuls = []
    for i, x in enumerate(("x", "r0", "r1")):
        matmuls += [("MatMul", [x, "w%d" % i], "p%d" % i, {}),
                    ("Add", ["p%d" % i, "b%d" % i][::1 - 2 * (i % 2)], "s%d" % i, {}),
                    ("Relu", ["s%d" % i], "r%d" % i, {})]
    turned = [("Transpose", ["v0"], "w0", {"perm": [1, 0]})] + matmuls
    cases = {"trans": (gemms(transB=1), {**w, **b}), "plain": (gemms(), {**flipped, **b}),
             "matmul": (matmuls, {**flipped, **b}),
             "turned": (turned, {**flipped, **b, "v0": w["w0"], "w0": None})}
    for name, (nodes, tensors) in cases.items():
        tensors = {k: v for k, v in tensors.items() if v is not None}
        write(name + ".onnx", graph_of(nodes, tensors))
        run("import", name + ".onnx", from_onnx, "--out", name + ".h5", "--quiet")
        back = parameters(name + ".h5")
        for i in range(3):
            same(back["dense%d.weight" % (i + 1)], w["w%d" % i], name)
            same(back["dense%d.bias" % (i + 1)], b["b%d" % i], name)
    from onnx import TensorProto, helper, numpy_helper
    typed = {**w, **b, "w1": helper.make_tensor("w1", TensorProto.FLOAT, [5, 6], w["w1"].ravel()),
             "w2": helper.make_tensor("w2", TensorProto.DOUBLE, [1, 5], w["w2"].ravel())}
    constant = {k: v for k, v in typed.items() if k != "w0"}
    write("c.onnx", graph_of([("Constant", [], "w0", {"value": numpy_helper.from_array(w["w0"])})] +
                             gemms(transB=1), constant))
    run("import", "c.onnx", from_onnx, "--out", "c.h5", "--quiet")
    for i in range(3):
        same(parameters("c.h5")["dense%d.weight" % (i + 1)], w["w%d" % i])


@test("ONNX: what would compute something else is refused")
def _():
    e = line("refuse")
    w = {"w%d" % i: v[0] for i, v in enumerate(THREE)}
    b = {"b%d" % i: v[1] for i, v in enumerate(THREE)}

    def said(nodes, tensors, code=4):
        write("bad.onnx", graph_of(nodes, tensors))
        return run("import", "bad.onnx", e, "--out", "no.h5", code=code).err
    good = {**w, **b}
    contains(said(gemms(transB=1, alpha=2.0), good), "transA, alpha or beta is set")
    contains(said(gemms(transB=1), {k: v for k, v in good.items() if k != "w1"}),
             "Gemm that gives h1: its weight is computed")
    contains(said(gemms(transB=1), {**good, "w1": w["w1"].astype(np.int8)}), "w1 is of type int8")
    contains(said(gemms(), good), "b0 is 6, expected 2")
    contains(said(gemms(transB=1) + [("Conv", ["q", "k"], "c", {})],
                  {**good, "k": np.zeros((1, 1, 3, 3), np.float32)}, 2), "no place for k, 1x1x3x3")
    from onnx import TensorProto, helper
    away = helper.make_tensor("w1", TensorProto.FLOAT, [5, 6], w["w1"].ravel())
    away.data_location = TensorProto.EXTERNAL
    contains(said(gemms(transB=1), {**good, "w1": away}), "w1: its data is in another file")
    write("bad.onnx", read("points.csv"))
    contains(run("import", "bad.onnx", e, "--out", "no.h5", code=4).err, "is it ONNX?")
    normed = gemms(transB=1)[:1] + [("BatchNormalization", ["h0", "g", "o", "m", "v"], "n0",
                                     {"epsilon": 1e-3}), ("Relu", ["n0"], "r0", {})] + \
        gemms(transB=1)[2:]
    parts = dict(zip("gomv", norm(6)))
    contains(said(normed, {**good, **parts}, 2), "no place for g, 6")
    e = line("refuse", "[{dense: 6}, batchnorm, relu, {dense: 5}, relu, {dense: 1}]")
    contains(said(normed, {**good, **parts}, 2), "has epsilon 0.001, the experiment's 1e-05")
    assert not os.path.exists(path("no.h5"))
    e = line("refuse", "[{dense: 6}, {batchnorm: {epsilon: 1e-3}}, relu, {dense: 5}, relu, {dense: 1}]")
    run("import", "bad.onnx", e, "--out", "eps.h5", "--quiet")


@test("PyTorch itself: its state_dict and its ONNX export score as the module does")
def _():
    try:
        import torch
    except ImportError:
        raise Skip("python3-torch is missing")
    idx_images("pics", n=400, test=300)
    e = experiment("torch", "pics.yaml", "[{dense: 24}, batchnorm, relu, {dense: 16}, gelu, {dense: 4}]",
                   train="{epochs: 1}")
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 24), torch.nn.BatchNorm1d(24), torch.nn.ReLU(), torch.nn.Linear(24, 16),
        torch.nn.GELU(), torch.nn.Linear(16, 4))

    def images(part, n):
        pixels = np.frombuffer(read("pics-%s-images" % part)[16:], np.uint8).reshape(n, 64)
        labels = np.frombuffer(read("pics-%s-labels" % part)[8:], np.uint8)
        return torch.tensor(pixels.astype(np.float32) / 255), torch.tensor(labels.astype(np.int64))
    x, labels = images("train", 400)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        net[1].weight[3] *= -1
        x, labels = images("test", 300)
        y = net(x)
        accuracy = float((y.argmax(1) == labels).double().mean())
    assert 0.4 < accuracy <= 1, accuracy
    safetensors("torch.safetensors", {k: v.numpy() for k, v in net.state_dict().items()})
    torch.onnx.export(net, torch.zeros(1, 64), path("torch.onnx"),
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    for file in ("torch.safetensors", "torch.onnx"):
        run("import", file, e, "--out", file + ".h5", "--quiet")
        r = run("train", e, "name=" + file[6:], "quant=null", "train.epochs=0",
                "train.from=%s.h5" % file, "-o", "json").json()[0]
        equal(r["score"], accuracy, file)
        t = parameters(file + ".h5")
        got = forward(x.numpy().astype(np.float64), [
            (t["dense1.weight"], np.zeros(24)), [t["dense1_batchnorm." + p] for p in PARTS], relu,
            (t["dense2.weight"], t["dense2.bias"]),
            lambda v: torch.nn.functional.gelu(torch.tensor(v)).numpy(),
            (t["dense3.weight"], t["dense3.bias"])])
        assert np.abs(got - y.numpy()).max() < 1e-4, np.abs(got - y.numpy()).max()
        q = run("train", e, "train.epochs=0", "quant.weights.bits=8", "quant.calibration_batches=4",
                "train.from=%s.h5" % file, "-o", "json").json()[0]
        equal(q["mismatched_outputs"], 0)
        close(q["integer_score"], accuracy, 0.02, "PTQ to 8 bits")


main()
