"""Writes pieces of C code as C strings: embed.py OUTPUT.c NAME.c..."""
import os
import sys


def main():
    lines = ['#include "export/c_parts.h"', ""]
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        name = os.path.splitext(os.path.basename(path))[0]
        lines.append(f"const char ht_c_piece_{name}[] =")
        for line in text.splitlines():
            quoted = line.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'    "{quoted}\\n"')
        lines += ["    ;", ""]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


main()
