"""The command line itself: commands, options, exit codes, streams and output formats."""
import csv
import io
import os
import pty
import re
import subprocess

from harness import *

csv_classes("toy")
LAYERS = "[{dense: 12}, relu, {dense: 3}]"
EXPERIMENT = experiment("toy-exp", "toy.yaml", LAYERS, dataset="validation: 0.2")
COMMANDS = ["train", "compare", "export", "import", "eval", "predict", "inspect", "check", "bits", "bench", "data"]
run("train", EXPERIMENT)
MODEL = "runs/toy-exp/model.h5"


@test("help names every command, and each command has its own")
def _():
    text = run("--help").out
    contains(text, *COMMANDS)
    equal(run("-h").out, text)
    for c in COMMANDS:
        r = run(c, "--help")
        contains(r.out, "usage: halftone " + c, "--output", "--quiet")
        equal(r.err, "")


@test("--version is one line on stdout")
def _():
    r = run("--version")
    assert re.fullmatch(r"halftone \d+\.\d+\.\d+\n", r.out), r.out


@test("no command is a usage error, told on stderr")
def _():
    r = run(code=2)
    equal(r.out, "")
    contains(r.err, "usage: halftone")


@test("did-you-mean for commands, options, keys and datasets")
def _():
    for args, near in ((["trian", EXPERIMENT], "'train'"),
                       (["train", EXPERIMENT, "--resum"], None),  # a prefix is accepted
                       (["train", EXPERIMENT, "--dry-runn"], "'--dry-run'"),
                       (["compare", EXPERIMENT, "--sedes", "2"], "'--seeds'"),
                       (["check", EXPERIMENT, "train.epoch=3"], "'epochs'"),
                       (["check", EXPERIMENT, "data.name=fashion-mnits"], "fashion-mnist"),
                       (["data", "check", "iriss"], "iris")):
        if near:
            r = run(*args, code=2)
            contains(r.err, "did you mean", near)
            equal(r.out, "", " ".join(args))


@test("every did-you-mean also works for formats and splits")
def _():
    contains(run("export", "runs/toy-exp", "--to", "onxx", code=2).err, "'onnx'")
    contains(run("eval", MODEL, "--split", "tset", code=2).err, "test")
    contains(run("check", EXPERIMENT, "-o", "jsno", code=2).err, "json")


@test("config errors show file, line, column and caret")
def _():
    write("bad.yaml", "name: bad\ndata: {name: toy.yaml}\nmodel: {layers: [{dense: 3}]}\n"
          "train: {epochz: 3, batch: no}\n")
    r = run("check", "bad.yaml", code=2)
    contains(r.err, "bad.yaml:4:9: error:", "'epochs'", "^", "bad.yaml:4:27")
    equal(r.out, "")


@test("usage errors: missing and superfluous arguments, bad numbers")
def _():
    for args in (["train"], ["compare"], ["export"], ["eval"], ["predict", MODEL], ["inspect"],
                 ["check"], ["import"], ["import", "a.onnx"], ["inspect", MODEL, MODEL], ["data"], ["data", "check"],
                 ["data", "nonsense"], ["compare", EXPERIMENT, "--seeds", "0"],
                 ["compare", EXPERIMENT, "--seeds", "many"], ["compare", EXPERIMENT, "-j", "x"],
                 ["compare", EXPERIMENT, "--bits", "9"], ["compare", EXPERIMENT, "--bits", ""],
                 ["compare", EXPERIMENT, "--bits", "8,"], ["compare", EXPERIMENT, "--bits", "4,4"],
                 ["compare", EXPERIMENT, "--seeds"], ["train", EXPERIMENT, "novalue"],
                 ["train", EXPERIMENT, "-x"]):
        r = run(*args, code=2)
        equal(r.out, "", " ".join(args))
        assert r.err.strip(), args
    assert not os.path.exists(path("runs/toy-exp.1")), "a usage error moved a run"


@test("bench infer measures every network, width and batch")
def _():
    rows = run("bench", "infer", "-o", "json", timeout=300, env={"HALFTONE_THREADS": "2"}).json()
    equal({(r["layers"], r["bits"], r["batch"], r["threads"]) for r in rows},
          {(layers, bits, batch, threads)
           for layers in ("784-256-256-256-10", "784-1024-1024-1024-10")
           for bits in (8, 4, 2, 1) for batch in (1, 64, 256) for threads in (1, 2)})
    for r in rows:
        assert r["us_per_batch"] > 0, r
        assert abs(r["samples_per_s"] * r["us_per_batch"] / (1e6 * r["batch"]) - 1) < 1e-9, r


@test("options stand before or after the arguments")
def _():
    expected = run("check", EXPERIMENT, "-o", "json").out
    equal(run("check", "-o", "json", EXPERIMENT).out, expected)
    equal(run("check", "--output=json", EXPERIMENT, "seed=1").out, expected)
    equal(run("check", EXPERIMENT, "seed=1", "--output", "json").out, expected)


def cells(markdown_or_csv, kind):
    if kind == "csv":
        return list(csv.reader(io.StringIO(markdown_or_csv)))
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown_or_csv.splitlines()
            if line.startswith("|")]
    return [[c.strip() for c in row] for row in rows]


def agree(args, text_key):
    """json, jsonl and csv hold the same; the table and Markdown show every row."""
    array = run(*args, "-o", "json").json()
    assert isinstance(array, list) and array, array
    equal([json.loads(line) for line in run(*args, "-o", "jsonl").out.splitlines()], array, "jsonl")
    table = cells(run(*args, "-o", "csv").out, "csv")
    equal(len(table), len(array) + 1, "csv rows")
    for row, entry in zip(table[1:], array):
        for key, cell in zip(table[0], row):
            if key not in entry:
                continue  # {mean, std, n} are columns of their own
            value = entry[key]
            if value is None:
                equal(cell, "", key)
            elif isinstance(value, bool):
                equal(cell, str(value).lower(), key)
            elif isinstance(value, (int, float)):
                equal(float(cell), float(value), key)
            elif isinstance(value, str):
                equal(cell, value, key)
    for fmt in ("md", "table"):
        text = run(*args, "-o", fmt).out
        for entry in array:
            contains(text, str(entry[text_key]))
    equal(run(*args).out, run(*args, "-o", "table").out, "the default is table")
    rows = cells(run(*args, "-o", "md").out, "md")
    equal(len({len(r) for r in rows}), 1, "Markdown columns")


@test("table, json, jsonl, csv and md agree: check")
def _():
    agree(["check", EXPERIMENT], "layer")


@test("table, json, jsonl, csv and md agree: eval, inspect, predict, data list, export")
def _():
    agree(["eval", MODEL], "name")
    agree(["inspect", MODEL], "layer")
    agree(["inspect", "runs/toy-exp/checkpoints/last.h5"], "tensor")
    write("rows.csv", "0,0,0,0\n1,-1,1,-1\n")
    agree(["predict", MODEL, "rows.csv"], "row")
    agree(["data", "list"], "name")
    agree(["data", "check", "toy.yaml"], "name")
    agree(["export", "runs/toy-exp", "--to", "hdf5", "--out", "x.h5"], "file")


@test("--quiet: nothing on stderr, the data still on stdout; errors are still told")
def _():
    for args in (["train", EXPERIMENT, "name=quiet"], ["check", EXPERIMENT], ["inspect", MODEL],
                 ["train", EXPERIMENT, "name=quiet"], ["train", EXPERIMENT, "--dry-run"],
                 ["compare", EXPERIMENT, "name=quiet2", "--bits", "4"],
                 ["export", "runs/toy-exp", "--out", "q.h5"]):
        for option in ("--quiet", "-q"):
            r = run(*args, option, "-o", "json")
            equal(r.err, "", " ".join(args))
            assert r.json()
    assert run("check", "-q", EXPERIMENT, "train.epoch=3", code=2).err


@test("talk is on stderr, and without a terminal has no escapes or carriage returns")
def _():
    r = run("train", EXPERIMENT, "name=talk", "-o", "json")
    r.json()
    contains(r.err, "epoch 3/3")
    assert "\x1b" not in r.err and "\r" not in r.err and "\x1b" not in r.out, r


def on_terminal(*args, **env):
    master, slave = pty.openpty()
    p = subprocess.Popen([COMMAND] + list(args), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=slave,
                         stderr=slave, env=environment(TERM="xterm-256color", **env))
    os.close(slave)
    text = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        text += chunk
    os.close(master)
    equal(p.wait(), 0, "exit code on a terminal")
    return text.decode()


@test("NO_COLOR leaves no colours on a terminal; the bar is removed at the end")
def _():
    text = on_terminal("train", EXPERIMENT, "name=tty", "train.epochs=30", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*m", text), repr(text)
    contains(text, "run folder:", "tty")
    on_terminal("check", EXPERIMENT)


@test("--dry-run trains nothing")
def _():
    r = run("train", EXPERIMENT, "name=dry", "--dry-run", "-o", "json")
    equal([row["layer"] for row in r.json()], ["dense1", "dense2"])
    assert not os.path.exists(path("runs/dry"))


@test("check tells shapes, parameters and bits; memory is talk")
def _():
    r = run("check", EXPERIMENT, "-o", "json")
    rows = r.json()
    equal([(x["shape"], x["parameters"], x["weight_bits"]) for x in rows],
          [("4 -> 12", 60, 4), ("12 -> 3", 39, 4)])
    contains(r.err, "is valid", "memory")
    equal([x["weight_bits"] for x in run("check", EXPERIMENT, "quant=null", "-o", "json").json()],
          [32, 32])


@test("a missing file is told by its name: experiment, model, input, run")
def _():
    for args, codes in ((["train", "nowhere.yaml"], (2, 5)), (["check", "nowhere.yaml"], (2, 5)),
                        (["eval", "nowhere.h5"], (4, 5)), (["inspect", "nowhere.h5"], (4, 5)),
                        (["predict", MODEL, "nowhere.csv"], (3, 5)),
                        (["export", "nowhere"], (4, 5))):
        r = run(*args, code=codes)
        contains(r.err, "nowhere")
        equal(r.out, "")


@test("a missing dataset is exit 3 with where it was looked for and how to get it")
def _():
    experiment("absent", "absent-data.yaml", LAYERS)
    write("absent-data.yaml", "name: absent-data\nformat: csv\ntask: classification\n"
          "files: [{role: table, path: not-there.csv}]\nfetch: {apt: some-package}\n")
    for command in ("train", "check"):
        r = run(command, "absent.yaml", code=3)
        contains(r.err, "not-there.csv", "halftone data fetch", "apt-get install some-package")
    assert not os.path.exists(path("runs/absent")), "a folder was made for nothing"


@test("help and check of the command line need no dataset")
def _():
    for c in COMMANDS:
        run(c, "--help", env={"HALFTONE_DATA": "/nonexistent", "HOME": "/nonexistent"})
    names = {row["name"] for row in run("data", "list", "-o", "json").json()}
    assert {"fashion-mnist", "iris"} <= names, names


@test("stdout closed or full is exit 5")
def _():
    for args in (["check", EXPERIMENT], ["--help"], ["--version"], ["inspect", MODEL],
                 ["data", "list", "-o", "csv"], ["train", "--help"], ["help", "config"],
                 ["eval", MODEL], ["train", EXPERIMENT, "name=full"],
                 ["compare", EXPERIMENT, "name=full", "--bits", "4"]):
        with open("/dev/full", "wb") as full:
            r = run(*args, code=5, stdout=full)
        contains(r.err, "cannot write")
        p = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", COMMAND] + args, cwd=ROOT,
                           stderr=subprocess.PIPE, env=environment())
        check_sane(p.returncode, p.stderr.decode())
        equal(p.returncode, 5, "%s with stdout closed: %s" % (" ".join(args), p.stderr.decode()))
    run("inspect", "runs/full/model.h5")  # the training was not for nothing


@test("a pipe that closes early is exit 5, not a death by signal")
def _():
    read_end, write_end = os.pipe()
    os.close(read_end)
    r = run("help", "config", code=5, stdout=write_end)
    os.close(write_end)
    contains(r.err, "cannot write")


@test("stderr closed: files and results are as ever")
def _():
    for args in (["train", EXPERIMENT, "name=mute"],
                 ["compare", EXPERIMENT, "name=mute2", "--bits", "4"]):
        p = subprocess.run(["/bin/sh", "-c", '"$@" 2>&-', "sh", COMMAND] + args + ["-o", "json"],
                           cwd=ROOT, stdout=subprocess.PIPE, env=environment())
        equal(p.returncode, 0)
        equal(json.loads(p.stdout)[0]["mismatched_outputs"], 0)
    run("inspect", "runs/mute/checkpoints/last.h5")


@test("an unknown HALFTONE_ISA is exit 2 before any training")
def _():
    for args in (["train", EXPERIMENT, "name=isa"], ["eval", MODEL]):
        contains(run(*args, code=2, env={"HALFTONE_ISA": "abacus"}).err, "abacus")
    assert not os.path.exists(path("runs/isa"))


@test("a HALFTONE_THREADS that is no number of threads is exit 2")
def _():
    for args in (["eval", MODEL], ["predict", MODEL, "rows.csv"], ["bench", "infer"],
                 ["train", EXPERIMENT, "name=threads"], ["train", EXPERIMENT]):
        before = sorted(os.listdir(path("runs")))
        for bad in ("0", "65", "many", "2 "):
            contains(run(*args, code=2, env={"HALFTONE_THREADS": bad}).err, "HALFTONE_THREADS")
        equal(sorted(os.listdir(path("runs"))), before, "nothing is moved aside")
    score = run("eval", MODEL, "-o", "json", env={"HALFTONE_THREADS": "1"}).json()
    equal(run("eval", MODEL, "-o", "json", env={"HALFTONE_THREADS": "3"}).json(), score)
    equal(run("eval", MODEL, "-o", "json").json(), score)


@test("help config and help dataset print the reference")
def _():
    contains(run("help", "config").out, "start_epoch", "learning_rate")
    contains(run("help", "dataset").out, "role", "sha256")
    run("help", "nonsense", code=2)


main()
