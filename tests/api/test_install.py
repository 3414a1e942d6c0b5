"""Installs halftone, builds the example against it by pkg-config, trains with it. TAP.

usage: test_install.py BUILD_DIR SOURCE_DIR
"""
import os, random, shlex, subprocess, sys, tempfile

build, source = sys.argv[1], sys.argv[2]
number = 0


def check(condition, name, output=""):
    global number
    number += 1
    print(f"{'ok' if condition else 'not ok'} {number} - {name}")
    if not condition:
        print("# " + output.replace("\n", "\n# "))


def run(*args, **kwargs):
    r = subprocess.run(args, capture_output=True, text=True, **kwargs)
    return r.returncode, r.stdout + r.stderr


print("1..9")
# No space in this name: pkg-config does not quote a sysroot that has one.
with tempfile.TemporaryDirectory(prefix="halftone-install-") as tmp:
    code, out = run("meson", "install", "-C", build, "--no-rebuild", "--destdir", tmp + "/root")
    check(code == 0, "meson install", out)
    prefix = None
    for folder, _, files in os.walk(tmp + "/root"):
        if "halftone.pc" in files:
            pc = folder
        if "halftone" in files and folder.endswith("/bin"):
            prefix = os.path.dirname(folder)
    env = dict(os.environ, PKG_CONFIG_PATH=pc + ":" + os.environ.get("PKG_CONFIG_PATH", ""))
    code, out = run(prefix + "/bin/halftone", "--version")
    check(code == 0 and out.startswith("halftone "), "the installed command runs", out)
    code, flags = run("pkg-config", "--define-variable=prefix=" + prefix, "--cflags", "--libs", "halftone", env=env)
    check(code == 0, "pkg-config finds halftone", flags)
    cc = shlex.split(os.environ.get("CC", "cc"))
    extra = shlex.split(os.environ.get("HALFTONE_EXAMPLE_FLAGS", ""))
    code, out = run(*cc, "-std=c11", "-Wall", "-Wextra", "-Werror", *extra,
                    source + "/examples/train_and_export.c", *shlex.split(flags), "-o",
                    tmp + "/example", env=env)
    check(code == 0, "the example builds against it", out)

    random.seed(1)
    with open(tmp + "/points.csv", "w") as f:
        f.write("x,y,side\n")
        for _ in range(400):
            x, y = random.gauss(0, 1), random.gauss(0, 1)
            f.write(f"{x:.4f},{y:.4f},{'above' if y > x else 'below'}\n")
    with open(tmp + "/points.yaml", "w") as f:
        f.write("name: points\nformat: csv\nfiles: [{role: table, path: points.csv}]\n")
    with open(tmp + "/try.yaml", "w") as f:
        f.write("name: try\ndata: {name: points.yaml}\n"
                "model: {layers: [{dense: 8}, relu, {dense: 2}]}\n"
                "quant: {weights: {bits: 4}}\ntrain: {epochs: 10, batch: 16}\n")
    libs = ":".join({os.path.dirname(os.path.join(d, n)) for d, _, fs in os.walk(prefix) for n in fs
                     if n.startswith("libhalftone.so")})
    env["LD_LIBRARY_PATH"] = libs + ":" + env.get("LD_LIBRARY_PATH", "")
    code, out = run(tmp + "/example", "try.yaml", "seed=3", cwd=tmp, env=env)
    check(code == 0 and " 0 outputs differ" in out and "a row of zeros is" in out,
          "the example trains, exports and predicts", out)
    check(os.path.getsize(tmp + "/exported.h5") > 0, "the exported model is there")
    code, out = run(*cc, "-std=c11", "-Wall", "-Wextra", "-Werror", *extra, "-pthread",
                    source + "/examples/predict_from_threads.c", *shlex.split(flags), "-o",
                    tmp + "/threads", env=env)
    check(code == 0, "the example with threads builds against it", out)
    code, out = run(tmp + "/threads", "exported.h5", "6", cwd=tmp, env=env)
    check(code == 0 and "6 threads" in out and ": 0 of them got other" in out,
          "threads share one model", out)
    code, out = run(tmp + "/example", "try.yaml", "train.epoch=3", cwd=tmp, env=env)
    check(code == 2 and "did you mean 'epochs'" in out, "a config error reaches the caller", out)
