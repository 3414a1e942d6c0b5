"""Every experiment of this source tree is valid, with all its variants, and docs/results.md says what it gave.

usage: test_experiments.py SOURCE_DIR HALFTONE

Where a dataset is not installed, `check` stops after the file itself; that is enough here.
"""
import glob
import os
import subprocess
import sys

root, halftone = sys.argv[1:]
failed = 0


def fail(what):
    global failed
    failed += 1
    print(what)


files = sorted(glob.glob(os.path.join(root, 'experiments', '*.yaml')))
with open(os.path.join(root, 'docs', 'results.md'), encoding='utf-8') as f:
    results = f.read()
for path in files:
    name = os.path.basename(path)
    done = subprocess.run([halftone, 'check', path], capture_output=True, text=True)
    missing_data = done.returncode == 3 and 'was not found' in done.stderr
    if done.returncode != 0 and not missing_data:
        fail(f'{name}: exit code {done.returncode}\n{done.stderr}')
    if f'experiments/{name}' not in results:
        fail(f'docs/results.md does not name experiments/{name}')
if len(files) < 2:
    fail('no experiments found')
sys.exit(1 if failed else 0)
