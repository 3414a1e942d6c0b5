"""Autoencoders: data without labels, and anomalies by their reconstruction error."""
import struct

from harness import *

LAYERS = "[{dense: 12}, relu, {dense: %d}]"
TRAIN = "{epochs: 12, batch: 16, learning_rate: 1e-2}"


def images(name):
    """Pictures of an IDX file, as values from 0 to 1."""
    data = read(name)
    n, rows, columns = struct.unpack(">III", data[4:16])
    size = rows * columns
    return [[b / 255 for b in data[16 + i * size:16 + (i + 1) * size]] for i in range(n)]


def naive_auc(scores, positive):
    """Every anomaly against every normal sample; a tie is half a win."""
    won = pairs = 0
    for s, p in zip(scores, positive):
        for t, q in zip(scores, positive):
            if p and not q:
                pairs += 1
                won += 1 if s > t else 0.5 if s == t else 0
    return won / pairs


@test("anomalies: AUC and reconstruction error are those of the shipped model's outputs")
def _():
    idx_images("odd", n=300, side=8, test=120, noise=20)
    experiment("odd-exp", "odd.yaml", LAYERS % 64, train=TRAIN, quant="{weights: {bits: 4}}",
               dataset="target: input, anomaly_classes: [grey]")
    r = run("train", "odd-exp.yaml", "-o", "json").json()[0]
    equal(r["mismatched_outputs"], 0)
    equal(r["outputs_compared"], 120 * 64, "anomalies are compared, too")
    anomaly = [k == CLASS_NAMES.index("grey") for k in read("odd-test-labels")[8:]]
    said = run("predict", "runs/odd-exp/model.h5", "odd-test-images", "-o", "json").json()
    errors = [sum((p["output_%d" % j] - x[j]) ** 2 for j in range(64))
              for p, x in zip(said, images("odd-test-images"))]
    close(r["anomaly_auc"], naive_auc(errors, anomaly), 1e-9, "AUC")
    assert 0.8 < r["anomaly_auc"] <= 1, r
    normal = [e for e, a in zip(errors, anomaly) if not a]
    close(r["reconstruction_error"], sum(normal) / len(normal) / 64, 1e-6, "error")
    e = run("eval", "runs/odd-exp/model.h5", "-o", "json").json()[0]
    equal(e["anomaly_auc"], r["anomaly_auc"])
    equal(e["reconstruction_error"], r["reconstruction_error"])
    # The other parts have no anomalies: 300 samples without the grey ones.
    grey = sum(k == 3 for k in read("odd-train-labels")[8:])
    parts = [run("eval", "runs/odd-exp/model.h5", "--split", s, "-o", "json").json()[0]
             for s in ("train", "validation")]
    equal(sum(p["samples"] for p in parts), 300 - grey)
    equal([p["anomaly_auc"] for p in parts], [None, None])
    contains(run("train", "odd-exp.yaml", "name=shown").out, "AUC", "%.4f" % r["anomaly_auc"])


@test("anomalies in compare: float32 and integer AUC, in every format")
def _():
    rows = run("compare", "odd-exp.yaml", "--bits", "32,8", "-o", "json").json()
    for key in ("float_anomaly_auc", "reconstruction_error"):
        for r in rows:
            assert 0 < r[key]["mean"] <= 1, (key, r)
    equal(rows[0]["float_anomaly_auc"], rows[1]["float_anomaly_auc"])
    equal((rows[0]["integer_anomaly_auc"]["mean"], rows[0]["integer_anomaly_auc"]["n"]), (None, 0))
    shipped = run("eval", "runs/odd-exp/w8a8-seed1/model.h5", "-o", "json").json()[0]
    equal(rows[1]["integer_anomaly_auc"]["mean"], shipped["anomaly_auc"])
    contains(run("compare", "odd-exp.yaml", "--bits", "32,8", "--resume").out, "anomaly AUC")
    csv_classes("plain")
    experiment("plain-exp", "plain.yaml", "[{dense: 3}]")
    r = run("compare", "plain-exp.yaml", "--bits", "8")
    assert "AUC" not in r.out and "squared" not in r.out, r.out


@test("what does not fit is refused: class names, the target, a test part of one kind")
def _():
    def refused(code, *overrides, anomalies="[grey]", target="input"):
        experiment("bad", "odd.yaml", LAYERS % 64,
                   dataset="target: %s, anomaly_classes: %s" % (target, anomalies))
        return run("check", "bad.yaml", *overrides, code=code).err
    contains(refused(2, anomalies="[gray]"), "bad.yaml:3:", "no class 'gray'", "did you mean 'grey'")
    contains(refused(2, target="labels"), "bad.yaml:3:", "data.target must be input")
    contains(refused(3, anomalies="[red, green, blue, grey]"), "no samples are left")
    # A test part without any: the file has none of class 3.
    idx_images("few", n=100, side=8, test=40, classes=4)
    labels = read("few-test-labels")
    write("few-test-labels", labels[:8] + bytes(b % 3 for b in labels[8:]))
    experiment("bad2", "few.yaml", LAYERS % 64, dataset="target: input, anomaly_classes: [grey]")
    contains(run("check", "bad2.yaml", code=3).err, "40 test samples 0 are anomalies")


@test("data without labels: CSV, IDX; only an autoencoder takes it")
def _():
    r = random.Random(1)
    rows = [[r.gauss(0, 1) for _ in range(3)] for _ in range(200)]
    write("free.csv", "a,b,c,d\n" + "".join("%.4f,%.4f,%.4f,%.4f\n" % (a, b, c, a + b)
                                            for a, b, c in rows))
    write("free.yaml", "name: free\nformat: csv\ntask: none\nfiles: [{role: table, path: free.csv}]\n")
    experiment("free-exp", "free.yaml", LAYERS % 4, train="{epochs: 60, batch: 16, learning_rate: 1e-2}",
               quant="{weights: {bits: 8}}", dataset="target: input")
    t = run("train", "free-exp.yaml", "-o", "json").json()[0]
    equal((t["score_name"], t["outputs_compared"]), ("r2", 40 * 4))
    assert t["score"] > 0.9, t
    equal(t["anomaly_auc"], None)
    contains(run("train", "free-exp.yaml", "data.target=labels", code=2).err, "free has nothing to predict",
             "data.target must be input")
    idx_images("bare", n=100, side=8, test=40)
    lines = [l for l in read("bare.yaml").decode().splitlines() if "labels" not in l]
    write("bare.yaml", "\n".join(lines).replace("classification", "none") + "\n")
    experiment("bare-exp", "bare.yaml", LAYERS % 64, dataset="target: input")
    equal(run("train", "bare-exp.yaml", "-o", "json").json()[0]["outputs_compared"], 40 * 64)
    run("check", "bare-exp.yaml")
    for text in (read("odd.yaml").decode().replace("classification", "none"),
                 "name: odd\nformat: csv\ntask: none\nfiles: [{role: labels, path: free.csv}]\n"):
        write("extra.yaml", text)
        experiment("extra-exp", "extra.yaml", LAYERS % 64, dataset="target: input")
        contains(run("check", "extra-exp.yaml", code=2).err, "task none")


main()
