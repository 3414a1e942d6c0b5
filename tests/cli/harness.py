"""What the black-box tests of the command share: TAP output, a temporary folder with a space in its
name, running the command, and small made-up data.

A test script is called with the path of the command as its argument:
    @test("what must hold")
    def _(): ...
    main()
"""
import atexit
import gzip
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback

COMMAND = os.path.abspath(sys.argv[1])


def _fast_folder():
    """Memory, where there is enough of it: every save syncs, and a busy disk takes its time."""
    try:
        s = os.statvfs("/dev/shm")
        if s.f_bavail * s.f_frsize > 400 << 20 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    except OSError:
        pass
    return None


ROOT = tempfile.mkdtemp(prefix="half tone-", dir=_fast_folder())
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
_tests = []


class Skip(Exception):
    pass


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return "exit code %d\n--- stdout\n%s\n--- stderr\n%s" % (
            self.code, self.out[-3000:], self.err[-3000:])


# Each start of a process with sanitizers takes long; they look for other faults than tests that
# compare bytes many times over.
SANITIZED = "ASAN_OPTIONS" in os.environ


def environment(**more):
    env = dict(os.environ, HOME=ROOT, HALFTONE_DATA=os.path.join(ROOT, "fetched"),
               LC_ALL="C.UTF-8")
    env.pop("XDG_DATA_HOME", None)
    env.update(more)
    return env


def check_sane(code, err):
    """No crash, no sanitizer report, whatever the test expects otherwise."""
    if code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL):
        raise AssertionError("the command died by signal %d:\n%s" % (-code, err[-3000:]))
    if "Sanitizer" in err or "runtime error:" in err:
        raise AssertionError("sanitizer report:\n" + err[-6000:])


def run(*args, code=0, cwd=None, timeout=120, stdout=subprocess.PIPE, input=None, **kwargs):
    """Runs the command; `code`: the exit code that must come (or a tuple, or None for any)."""
    env = environment(**kwargs.pop("env", {}))
    p = subprocess.run([COMMAND] + [str(a) for a in args], cwd=cwd or ROOT, stdout=stdout,
                       stderr=subprocess.PIPE, input=input, timeout=timeout, env=env, **kwargs)
    out = (p.stdout or b"").decode("utf-8", "replace")
    err = p.stderr.decode("utf-8", "replace")
    check_sane(p.returncode, err)
    r = Result(p.returncode, out, err)
    if code is not None and r.code not in (code if isinstance(code, tuple) else (code,)):
        raise AssertionError("halftone %s: expected exit code %s, got %r"
                             % (" ".join(str(a) for a in args), code, r))
    return r


def start(*args, cwd=None, **kwargs):
    return subprocess.Popen([COMMAND] + [str(a) for a in args], cwd=cwd or ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
                            **kwargs)


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: got %r, expected %r" % (what or "values", got, expected))


def close(got, expected, tolerance, what=""):
    if abs(got - expected) > tolerance:
        raise AssertionError("%s: got %r, expected %r" % (what or "values", got, expected))


def contains(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError("%r is not in:\n%s" % (part, text[-3000:]))


def path(*names):
    return os.path.join(ROOT, *names)


def folder(name):
    os.makedirs(path(name), exist_ok=True)
    return path(name)


def read(*names):
    with open(path(*names), "rb") as f:
        return f.read()


def write(name, data):
    full = path(name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
    return full


def files_below(name):
    """Every file with its bytes."""
    found = {}
    for base, _, names in os.walk(path(name)):
        for n in names:
            full = os.path.join(base, n)
            with open(full, "rb") as f:
                found[os.path.relpath(full, path(name))] = f.read()
    return found


def no_temporary_files(name):
    left = [n for n in files_below(name) if ".tmp" in n]
    equal(left, [], "temporary files left behind")


# --- data ---

CLASS_NAMES = ["red", "green", "blue", "grey"]


def csv_classes(name, n=300, features=4, classes=3, seed=1, spread=0.8, text=True):
    """Clusters: class k lies around +-k. A header, text labels in the last column."""
    r = random.Random(seed)
    lines = [",".join(["f%d" % j for j in range(features)] + ["label"])]
    for i in range(n):
        k = i % classes
        x = [r.gauss((1 if j % 2 else -1) * k, spread) for j in range(features)]
        lines.append(",".join("%.5f" % v for v in x) + "," + (CLASS_NAMES[k] if text else str(k)))
    write(name + ".csv", "\n".join(lines) + "\n")
    base = os.path.basename(name)
    write(name + ".yaml", "name: %s\nformat: csv\ntask: classification\n"
          "files:\n  - {role: table, path: %s.csv}\n" % (base, base))


def csv_regression(name, n=600, seed=1):
    """y = 50 + 10 (2a - b), with a little noise."""
    r = random.Random(seed)
    lines = ["a,b,y"]
    for _ in range(n):
        a, b = r.uniform(-1, 1), r.uniform(-1, 1)
        lines.append("%.5f,%.5f,%.5f" % (a, b, 50 + 10 * (2 * a - b) + r.gauss(0, 0.1)))
    write(name + ".csv", "\n".join(lines) + "\n")
    write(name + ".yaml", "name: %s\nformat: csv\ntask: regression\n"
          "files:\n  - {role: table, path: %s.csv}\n" % (name, os.path.basename(name)))


def idx(name, shape, data):
    header = struct.pack(">BBBB", 0, 0, 8, len(shape)) + b"".join(struct.pack(">I", s) for s in shape)
    packed = header + data
    write(name, gzip.compress(packed, 1) if name.endswith(".gz") else packed)


def idx_images(name, n=500, side=8, classes=4, seed=1, test=100, suffix="",
               mislabeled=0.0, noise=120):
    """A bright square in one corner (the class), noise elsewhere."""
    r = random.Random(seed)
    for part, count in (("train", n), ("test", test)):
        pixels, labels = bytearray(), bytearray()
        for i in range(count):
            k = r.randrange(classes)
            labels.append(r.randrange(classes) if r.random() < mislabeled else k)
            image = bytearray(r.randrange(noise) for _ in range(side * side))
            for y in range(side // 2):
                for x in range(side // 2):
                    at = (y + (k // 2) * (side // 2)) * side + x + (k % 2) * (side // 2)
                    image[at] = 60 + r.randrange(100)
            pixels += image
        idx("%s-%s-images%s" % (name, part, suffix), (count, side, side), bytes(pixels))
        idx("%s-%s-labels%s" % (name, part, suffix), (count,), bytes(labels))
    base = os.path.basename(name)
    write(name + ".yaml", "name: %s\nformat: idx\ntask: classification\n"
          "image_rows: %d\nimage_columns: %d\nclasses: [%s]\nfiles:\n" % (
              base, side, side, ", ".join(CLASS_NAMES[:classes])) + "".join(
              "  - {role: %s_%s, path: %s-%s-%s%s}\n" % (part, role, base, part, what, suffix)
              for part in ("train", "test")
              for role, what in (("features", "images"), ("labels", "labels"))))


def experiment(name, data, layers, quant="{weights: {bits: 4}}", train="{epochs: 3, batch: 32}",
               seed=1, more="", dataset="", run="{dir: runs}"):
    """Writes NAME.yaml beside the data; returns its name."""
    write(name + ".yaml", "name: %s\nseed: %d\ndata: {name: %s%s}\nmodel: {layers: %s}\n"
          "quant: %s\ntrain: %s\nrun: %s\n%s" % (
              os.path.basename(name), seed, data, dataset and ", " + dataset, layers, quant, train,
              run, more))
    return name + ".yaml"


# --- TAP ---

def test(what):
    def add(function):
        _tests.append((what, function))
        return function
    return add


def main():
    failed = False
    print("1..%d" % len(_tests), flush=True)
    for number, (what, function) in enumerate(_tests, 1):
        try:
            function()
            print("ok %d - %s" % (number, what), flush=True)
        except Skip as reason:
            print("ok %d - %s # SKIP %s" % (number, what, reason), flush=True)
        except Exception:
            failed = True
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            print("not ok %d - %s" % (number, what), flush=True)
    sys.exit(1 if failed else 0)
