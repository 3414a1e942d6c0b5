"""Programs that use the installed library, as their authors would: built by CMake and by pkg-config,
and the Python module, all from a folder with a space in its name. Their outputs are the command's.

usage: test_programs.py HALFTONE BUILD_DIR SOURCE_DIR, by a Python that has NumPy or not
"""
import csv
import glob
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
sys.dont_write_bytecode = True

from harness import (Skip, contains, csv_classes, csv_regression, environment, equal, experiment,  # noqa: E402
                     main, path, read, run, test, write)

BUILD, SOURCE = sys.argv[2], sys.argv[3]


def sh(*args, code=0, cwd=None, input=None, **env):
    p = subprocess.run(args, cwd=cwd or path(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       input=input, env=environment(**env), timeout=100, check=False)
    text = p.stdout.decode("utf-8", "replace")
    equal(p.returncode, code, " ".join(args) + "\n" + text)
    return text


def installed(pattern):
    found = glob.glob(path("root") + "/**/" + pattern, recursive=True)
    equal(bool(found), True, "installed " + pattern)
    return found[0]


def points():
    """Rows of the training data, without labels; what the command says of them."""
    lines = read("points.csv").decode().splitlines()
    rows = [line.rsplit(",", 1)[0] for line in lines]
    write("rows.csv", "\n".join(rows) + "\n")
    shown = list(csv.DictReader(run("predict", "runs/try/model.h5", "rows.csv", "-o",
                                    "csv").out.splitlines()))
    return rows[1:], shown


def matches(out, shown):
    """NAME,OUTPUT,...: every digit that a float32 has."""
    lines = [line.split(",") for line in out.splitlines()]
    equal(len(lines), len(shown))
    for line, wanted in zip(lines, shown):
        equal(line[0], wanted["name"])
        for j, value in enumerate(line[1:]):
            equal("%.9g" % float(wanted["output_%d" % j]), value)


@test("meson install puts library, headers, pkg-config file, CMake package and Python module")
def _():
    sh("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", path("root"))
    for name in ("libhalftone.so", "libhalftone.so.0", "halftone.pc", "halftoneConfig.cmake",
                 "halftoneConfigVersion.cmake", "halftone/halftone.h", "halftone.py"):
        installed(name)
    csv_classes("points")
    run("train", experiment("try", "points.yaml", "[{dense: 8}, relu, {dense: 3}]"), "--quiet")


@test("only names that begin with ht_ leave the library")
def _():
    if not shutil.which("nm"):
        raise Skip("no nm")
    names = [line.split()[-1] for line in
             sh("nm", "-D", "--defined-only", installed("libhalftone.so")).splitlines()]
    equal([n for n in names if not n.startswith("ht_")], [], "names")
    contains(" ".join(names), "ht_predictor_open", "ht_version")


@test("the example builds by CMake's find_package, and gives the command's outputs")
def _():
    if not shutil.which("cmake"):
        raise Skip("no cmake")
    shutil.copytree(os.path.join(SOURCE, "examples", "predict"), path("by cmake"))
    prefix = os.path.dirname(os.path.dirname(installed("bin/halftone")))
    sh("cmake", "-S", "by cmake", "-B", "by cmake/build", "-DCMAKE_PREFIX_PATH=" + prefix,
       CFLAGS="-Wall -Wextra -Werror")
    sh("cmake", "--build", "by cmake/build")
    rows, shown = points()
    matches(sh(path("by cmake/build/predict"), "runs/try/model.h5",
               input="\n".join(rows).encode()), shown)
    text = read("by cmake/CMakeLists.txt").decode()
    for wanted, message in (("0.2", "0.1.0"), ("0.1.7", "0.1.0"), ("1", "0.1.0")):
        write("newer/CMakeLists.txt", text.replace("find_package(halftone 0.1 ",
                                                   "find_package(halftone %s " % wanted))
        contains(sh("cmake", "-S", "newer", "-B", "newer/build", "-DCMAKE_PREFIX_PATH=" + prefix,
                    code=1), message)
        shutil.rmtree(path("newer"))


@test("the example builds by make and pkg-config, and says what is wrong")
def _():
    if not shutil.which("make"):
        raise Skip("no make")
    shutil.copytree(os.path.join(SOURCE, "examples", "predict"), path("by make"))
    pc = installed("halftone.pc")
    # What meson writes for a prefix with a space in it.
    prefix = os.path.dirname(os.path.dirname(installed("bin/halftone")))
    lines = ["prefix=" + prefix.replace(" ", "\\ ") if line.startswith("prefix=") else line
             for line in open(pc, encoding="utf-8").read().splitlines()]
    write("pc/halftone.pc", "\n".join(lines) + "\n")
    sh("make", "-C", "by make", "CFLAGS=-Wall -Wextra -Werror", PKG_CONFIG_PATH=path("pc") + ":" +
       os.environ.get("PKG_CONFIG_PATH", ""))
    libraries = {"LD_LIBRARY_PATH": os.path.dirname(installed("libhalftone.so"))}
    program = path("by make/predict")
    rows, shown = points()
    matches(sh(program, "runs/try/model.h5", input="\n".join(rows).encode(), **libraries), shown)
    contains(sh(program, "points.csv", code=4, **libraries), "points.csv")
    contains(sh(program, "runs/try/model.h5", code=3, input=b"1 2 oops 4", **libraries),
             "a row is 4 numbers")


@test("the Python module is found, finds its library, and gives the command's outputs")
def _():
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise Skip("this Python has no numpy")
    rows, shown = points()
    out = sh(sys.executable, "-c", "import halftone, sys\n"
             "model = halftone.Model('runs/try/model.h5')\n"
             "rows = [[float(v) for v in line.split(',')] for line in sys.stdin]\n"
             "for y, c in zip(model.predict(rows), model.classify(rows)):\n"
             "    print(','.join([model.classes[c]] + ['%.9g' % v for v in y]))\n",
             input="\n".join(rows).encode(),
             PYTHONPATH=os.path.dirname(installed("halftone.py")))
    matches(out, shown)


@test("targets come back in their unit")
def _():
    csv_regression("line")
    run("train", experiment("line-exp", "line.yaml", "[{dense: 8}, tanh, {dense: 1}]"), "--quiet")
    if not os.path.exists(path("by cmake/build/predict")):
        raise Skip("no cmake")
    write("two.csv", "a,b\n0.5,-0.5\n-0.25,0.75\n")
    shown = run("predict", "runs/line-exp/model.h5", "two.csv", "-o", "json").json()
    out = sh(path("by cmake/build/predict"), "runs/line-exp/model.h5",
             input=b"0.5 -0.5\n-0.25,0.75\n").split()
    for value, wanted in zip(out, shown):
        assert abs(float(value) - wanted["output_0"]) < 1e-4, (out, shown)


main()
