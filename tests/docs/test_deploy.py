"""Runs docs/deploy.md: every file and command of the page, in its order, in an empty folder.

usage: test_deploy.py HALFTONE LIBRARY SOURCE_DIR

A block of ```sh is run by bash, which stops at the first command that fails. Any other block whose
first line is a comment with a file name is written to that file. TAP; skipped where a tool is
missing that the page asks for.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

halftone, library, source = (os.path.abspath(p) for p in sys.argv[1:])
page = os.path.join(source, "docs", "deploy.md")
NEEDED = ["node", "arm-none-eabi-gcc", "qemu-system-arm", "make"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
NAME = re.compile(r"\A(?:#|//|/\*|;) ?([\w./-]+\.\w+)\b")
DATA = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"


def missing():
    found = [what for what in (DATA,) if not os.path.exists(what)]
    found += [tool for tool in NEEDED if not shutil.which(tool)]
    if not os.path.isdir(os.path.join(source, "tests/export/node_modules/onnxruntime-node")):
        found.append("onnxruntime-node")
    try:
        import numpy
        assert numpy
    except ImportError:
        found.append("numpy")
    return found


def environment(folder):
    env = dict(os.environ, HOME=folder, TMPDIR=folder)
    os.mkdir(os.path.join(folder, "bin"))
    os.symlink(halftone, os.path.join(folder, "bin/halftone"))
    os.symlink(sys.executable, os.path.join(folder, "bin/python3"))
    env["PATH"] = os.path.join(folder, "bin") + ":" + env["PATH"]
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["PYTHONPATH"] = os.path.join(source, "python")
    env["HALFTONE_LIBRARY"] = library
    env["NODE_PATH"] = os.path.join(source, "tests/export/node_modules")
    env["HALFTONE_SOURCE"] = source
    return env


def run(script, folder, env):
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=folder, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    if done.returncode:
        raise AssertionError("exit code %d\n%s" % (done.returncode, done.stdout[-3000:]))


def walk(text, folder):
    env, number = environment(folder), 0
    for kind, body in BLOCK.findall(text):
        name = NAME.match(body)
        first = body.split("\n", 1)[0]
        try:
            if kind == "sh":
                run(body, folder, env)
            elif name:
                with open(os.path.join(folder, name.group(1)), "w", encoding="utf-8") as f:
                    f.write(body)
            else:
                raise AssertionError("a block of %s without a file name" % kind)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as e:
            print("".join("# %s\n" % line for line in str(e).splitlines()), end="")
            print("not ok - %s: %s" % (kind, first))
            return 1
        number += 1
        print("ok %d - %s: %s" % (number, kind, first))
    print("1..%d" % number)
    return 0 if number > 5 else 1


lacking = missing()
if lacking:
    print("1..0 # SKIP not here: " + ", ".join(lacking))
    sys.exit(0)
with open(page, encoding="utf-8") as f:
    text = f.read()
with tempfile.TemporaryDirectory(prefix="half tone-") as folder:
    sys.exit(walk(text, folder))
