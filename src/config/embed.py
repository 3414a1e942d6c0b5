"""Writes the dataset descriptors as C arrays: embed.py OUTPUT.c NAME.yaml..."""
import os
import sys


def main():
    output, paths = sys.argv[1], sorted(sys.argv[2:], key=os.path.basename)
    names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    lines = ['#include "config/builtin.h"', ""]
    for i, path in enumerate(paths):
        with open(path, "rb") as file:
            data = file.read()
        lines.append(f"static const unsigned char text_{i}[] = {{")
        for start in range(0, len(data), 20):
            lines.append("    " + ",".join(str(byte) for byte in data[start:start + 20]) + ",")
        lines += ["    0};", ""]
    lines.append(f"const size_t ht_builtin_count = {len(names)};")
    lines.append("const char *const ht_builtin_names[] = {")
    lines += [f'    "{name}",' for name in names] + ["    0};"]
    lines.append("const struct ht_builtin_text ht_builtin_texts[] = {")
    lines += [f"    {{text_{i}, sizeof text_{i} - 1}}," for i in range(len(names))]
    lines += ["    {0, 0}};", ""]
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


main()
