"""Every file of this source tree that the documentation names exists.

usage: test_paths.py SOURCE_DIR
"""
import os
import re
import sys

root = sys.argv[1]
PLACES = 'src|tests|tools|include|experiments|datasets|examples|docs|bench'
PATH = re.compile(rf'(?<![\w/.<])(?:{PLACES})/[\w./<>*{{}}-]*[\w/]')
LINK = re.compile(r'\]\(([^)#:]+)(?:#[^)]*)?\)')


def places(name, text):
    """(written, path) of what one page names; placeholders such as op_<name>.c,
    and what npm installs, are left out."""
    for match in PATH.finditer(text):
        following = text[match.end():match.end() + 1]
        if not re.search(r'[<>*{}]|NAME|node_modules', match.group()) and following not in ('<', '*', '{'):
            yield match.group(), os.path.join(root, match.group())
    for match in LINK.finditer(text):
        yield match.group(1), os.path.join(root, os.path.dirname(name), match.group(1))


pages = [p for p in os.listdir(root) if p.endswith('.md')]
pages += ['docs/' + p for p in os.listdir(os.path.join(root, 'docs')) if p.endswith('.md')]
found = missing = 0
for page in sorted(pages):
    with open(os.path.join(root, page), encoding='utf-8') as f:
        text = f.read()
    for written, path in places(page, text):
        found += 1
        if not os.path.exists(path):
            missing += 1
            line = text.count('\n', 0, text.index(written)) + 1
            print(f'{page}:{line}: {written} does not exist')
if found < 20:
    missing += 1
    print(f'only {found} paths found: the search is broken')
sys.exit(1 if missing else 0)
