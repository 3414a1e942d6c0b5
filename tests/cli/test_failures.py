"""When things go wrong: divergence, full disk, no permission, bad data, bad experiments."""
import os
import random
import re
import resource
import subprocess
import time

from harness import *

csv_classes("toy")
LAYERS = "[{dense: 16}, batchnorm, relu, {dense: 3}]"
EXPERIMENT = experiment("fail", "toy.yaml", LAYERS, train="{epochs: 4, batch: 16}")
run("train", EXPERIMENT)
NOBODY = 65534


# --- divergence ---

@test("a learning rate far too high: exit 6 with epoch and step, and a way out")
def _():
    csv_regression("line", n=300)
    experiment("wild", "line.yaml", "[{dense: 16}, relu, {dense: 16}, relu, {dense: 1}]",
               quant="null", train="{epochs: 30, batch: 8, optimizer: sgd, momentum: 0.9, "
               "learning_rate: 100, schedule: constant}")
    r = run("train", "wild.yaml", "-o", "json", code=6)
    contains(r.err, "diverged", "epoch 1", "step", "learning_rate", "no checkpoint")
    equal(r.out, "")
    assert not os.path.exists(path("runs/wild/result.json"))


@test("divergence later: the last good checkpoint is named, loads, and holds finite numbers")
def _():
    # The rate doubles in a long warm-up until it is too much.
    r = run("train", "wild.yaml", "name=later", "train.warmup=30", "train.learning_rate=60",
            "run.checkpoint_minutes=0.00001", code=6)
    contains(r.err, "last good checkpoint", "runs/later/checkpoints/last.h5")
    assert "epoch 1," not in r.err.split("diverged")[1], r.err
    rows = run("inspect", "runs/later/checkpoints/last.h5", "-o", "json").json()
    for row in rows:
        for key in ("min", "mean", "max"):
            assert row[key] is not None and abs(row[key]) < 1e38, row
    again = run("train", "wild.yaml", "name=later", "train.warmup=30", "train.learning_rate=60",
                "run.checkpoint_minutes=0.00001", "--resume", code=6)
    contains(again.err, "diverged")


@test("quantized networks too: exit 6 or a finite end, never a checkpoint that does not load")
def _():
    for optimizer in ("sgd", "adam", "adamw"):
        r = run("train", EXPERIMENT, "name=qwild", "train.learning_rate=100",
                "train.optimizer=" + optimizer, "train.schedule=constant", "train.weight_decay=50",
                "train.epochs=15", "run.checkpoint_minutes=0.00001", code=(0, 6))
        if r.code == 6:
            contains(r.err, "diverged")
        if os.path.exists(path("runs/qwild/checkpoints/last.h5")):
            run("train", EXPERIMENT, "name=qwild2", "train.from=runs/qwild/checkpoints/last.h5",
                "train.epochs=1", code=(0, 6))  # it loads; huge weights may overflow at once


# --- the operating system refuses ---

def limited(size):
    def apply():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return apply


@test("files cannot grow: exit 5 (not SIGXFSZ); what was there stays; no temporary files")
def _():
    before = files_below("runs/fail")
    for size in (1, 700, 3000, 6000):
        r = run("train", EXPERIMENT, "name=small%d" % size, code=5, preexec_fn=limited(size))
        contains(r.err, "cannot write")
        if os.path.exists(path("runs/small%d" % size)):
            no_temporary_files("runs/small%d" % size)
    write("kept.h5", "earlier bytes")
    run("export", "runs/fail", "--out", "kept.h5", code=5, preexec_fn=limited(3000))
    equal(read("kept.h5"), b"earlier bytes")
    equal(files_below("runs/fail"), before)
    equal([n for n in os.listdir(ROOT) if ".tmp" in n], [])


@test("a full disk in the middle of a run: exit 5, the last whole checkpoint stays and goes on")
def _():
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small file system")
    disk = folder("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", disk],
                      stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("cannot mount a tmpfs here")
    try:
        args = ["train", EXPERIMENT, "run.dir=disk", "train.epochs=400",
                "run.checkpoint_minutes=0.00005"]
        p = start(*args)
        deadline = time.monotonic() + 60
        while not os.path.exists(path("disk/fail/checkpoints/previous.h5")):
            assert time.monotonic() < deadline and p.poll() is None
            time.sleep(0.002)
        with open(path("disk/ballast"), "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
            out, err = p.communicate(timeout=60)
            os.unlink(path("disk/ballast"))
        check_sane(p.returncode, err.decode())
        equal(p.returncode, 5, err.decode()[-500:])
        contains(err.decode(), "No space left", "disk/fail")
        no_temporary_files("disk/fail")
        run("inspect", "disk/fail/checkpoints/last.h5")
        run(*args, "--resume", "-q")
        shown = read("disk/fail/metrics.jsonl").decode().splitlines()
        equal([json.loads(line)["epoch"] for line in shown], list(range(1, 401)))
        run(*args, "-q")
        for name in ("model.h5", "checkpoints/best.h5", "metrics.jsonl"):
            assert read("disk/fail", name) == read("disk/fail.1", name), name
    finally:
        subprocess.run(["umount", disk], check=True)


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@test("a folder that may not be written: exit 5 with its name")
def _():
    locked = folder("locked")
    os.chmod(locked, 0o555)
    kwargs = {}
    if os.geteuid() == 0:
        os.chmod(ROOT, 0o755)
        try:
            subprocess.run([COMMAND, "--version"], preexec_fn=as_nobody, check=True,
                           stdout=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            raise Skip("another user cannot run the command here")
        kwargs["preexec_fn"] = as_nobody
    r = run("train", EXPERIMENT, "run.dir=locked/runs", code=5, **kwargs)
    contains(r.err, "locked")
    r = run("export", "runs/fail", "--out", "locked/m.h5", code=5, **kwargs)
    contains(r.err, "locked/m.h5")
    equal(os.listdir(locked), [])


@test("a path under a file, or a folder that is not there: exit 5 with its name")
def _():
    write("plain-file", "x")
    contains(run("train", EXPERIMENT, "run.dir=plain-file/runs", code=5).err, "plain-file")
    contains(run("export", "runs/fail", "--out", "plain-file/m.h5", code=5).err, "plain-file")
    contains(run("export", "runs/fail", "--out", "no/such/m.h5", code=5).err, "no/such")
    contains(run("export", "runs/fail", "--out", ".", code=5).err, ".")
    equal(read("plain-file"), b"x")


@test("a path that is too long is refused, not cut")
def _():
    for length in (900, 1020, 1100, 5000):
        long = "/".join(["d" * 100] * (length // 101) + ["e" * (length % 101 or 1)])
        r = run("train", EXPERIMENT, "run.dir=" + long, code=(0, 2, 5))
        if r.code == 0:
            assert os.path.exists(path(long, "fail", "model.h5")), length
        r = run("export", "runs/fail", "--out", long + ".h5", code=(0, 2, 5))
        if r.code == 0:
            assert os.path.exists(path(long + ".h5")), length
        run("inspect", long + ".none", code=(2, 4, 5))
        run("predict", "runs/fail/model.h5", long + ".none", code=(2, 3, 5))


# --- data ---

@test("bad values in a CSV: exit 3 with file, row and column")
def _():
    good = read("toy.csv").decode().splitlines()
    for bad, what in (("nan", "nan"), ("inf", "inf"), ("1e99", "1e99"), ("", ""), ("abc", "abc")):
        lines = list(good)
        cells = lines[17].split(",")
        cells[2] = bad
        lines[17] = ",".join(cells)
        write("toy-bad.csv", "\n".join(lines) + "\n")
        write("toy-bad.yaml", read("toy.yaml").decode().replace("toy.csv", "toy-bad.csv"))
        r = run("train", EXPERIMENT, "data.name=toy-bad.yaml", "name=bad", code=3)
        contains(r.err, "toy-bad.csv", "f2", what)
        assert "17" in r.err or "18" in r.err, r.err
        assert not os.path.exists(path("runs/bad"))
    write("toy-bad.csv", "\n".join(good[:20] + ["1,2,3"] + good[20:]) + "\n")
    contains(run("train", EXPERIMENT, "data.name=toy-bad.yaml", code=3).err, "toy-bad.csv")


@test("predict: other widths, text, NaN, nothing at all: exit 3 with file and row")
def _():
    model = "runs/fail/model.h5"
    for text, parts in (("1,2,3\n", ["features"]), ("1,2,3,4,5\n", ["features"]),
                        ("1,2,3,4\n1,2,3\n", ["2"]), ("1,2,3,4\n1,nan,3,4\n", ["2", "nan"]),
                        ("1,2,3,4\n1,two,3,4\n", ["2", "two"]), ("", [])):
        write("in.csv", text)
        r = run("predict", model, "in.csv", code=3)
        contains(r.err, "in.csv", *parts)
        equal(r.out, "")
    write("in.csv", bytes(range(256)) * 20)
    run("predict", model, "in.csv", code=3)
    run("predict", model, ROOT, code=(3, 5))
    write("in.csv", "1,2,3,4\n")
    equal(len(run("predict", model, "in.csv", "in.csv", "-o", "json").json()), 2)


@test("a descriptor that is not there: exit 3 with its name")
def _():
    contains(run("train", EXPERIMENT, "data.name=gone.yaml", code=3).err, "data.name", "gone.yaml")


# --- experiments ---

@test("empty, binary and huge experiment files: exit 2")
def _():
    for data in (b"", b"\n\n", b"\x00" * 100, bytes(range(256)) * 8, b"\xff\xfe" * 50, b"[" * 5000,
                 b"{a: " * 3000, b"a: &x [*x]\n", b"name: x\n" * 3, b"x: " + b"y" * 2000000,
                 b"--- 1\n--- 2\n", b"- a\n- b\n", b"name: [1, 2]\ndata: 7\nmodel: no\n"):
        write("odd.yaml", data)
        for command in ("check", "train"):
            r = run(command, "odd.yaml", code=2)
            contains(r.err, "odd.yaml")
            equal(r.out, "")


@test("150 random mutations of a good experiment: only exit 0, 2 or 3, never a crash or a hang")
def _():
    good = read(EXPERIMENT).decode()
    good += "variants: [{name: a, quant: null}, {name: b, train: {epochs: 2}}]\n"
    rng = random.Random(7)
    tokens = ["0", "-1", "1e30", "1e-30", "nan", "[]", "{}", "null", "~", "true", "99999999999999",
              "{dense: 3}", "relu", "first", "*a", "&a", "|", ":", ",", "'", "\t", "\x00", "é", "#",
              "32", "1", "9", "affine", "lsq", "binary", "{", "}", "[", "]", "- ", "\n", "data", "0.5"]
    codes = {}
    for i in range(150):
        text = good
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            numbers = [m.start() for m in re.finditer(r"\d+", text)]
            kind = rng.randrange(8)
            at = rng.choice(numbers) if kind > 3 and numbers else rng.randrange(len(text))
            if kind == 0:
                text = text[:at] + text[at + rng.randrange(1, 12):]
            elif kind == 1:
                text = text[:at] + rng.choice(tokens) + text[at:]
            elif kind > 3:
                text = text[:at] + rng.choice("0123456789-.") + text[at + rng.randrange(2):]
            elif kind == 2:
                text = text[:at] + rng.choice(tokens) + text[at + rng.randrange(1, 8):]
            else:
                other = rng.randrange(len(text))
                text = text[:at] + text[other:other + rng.randrange(1, 30)] + text[at:]
        write("mutant.yaml", text if i else good)
        r = run("check", "mutant.yaml", "-q", code=None, timeout=60)
        assert r.code in (0, 2, 3), "exit code %d for\n%s\n%r" % (r.code, text, r)
        if r.code != 0:
            assert r.err.strip(), text
        codes[r.code] = codes.get(r.code, 0) + 1
    print("# exit codes:", codes)
    assert codes.get(0) and codes.get(2), codes


main()
