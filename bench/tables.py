"""Rows of results as text, Markdown and JSON."""
from measure import Summary


UNSTEADY = 1.5  # quartiles further apart than this leave no median to speak of


class Column:
    """digits: after the point; spread: the quartiles are shown, too."""

    def __init__(self, key, title, digits=None, spread=False):
        self.key, self.title, self.digits, self.spread = key, title, digits, spread

    def show(self, value):
        if value is None:
            return "-"
        if isinstance(value, Summary):
            text = self._number(value.median)
            if not self.spread:
                return text
            if value.high > UNSTEADY * value.low:
                text = "unsteady"
            return f"{text} ({self._number(value.low)}..{self._number(value.high)})"
        return str(value) if self.digits is None else self._number(value)

    def _number(self, value):
        return f"{value:,.{self.digits}f}"


def used(columns, rows):
    """Without columns that are empty in all rows."""
    return [c for c in columns if any(row.get(c.key) is not None for row in rows)]


def text(columns, rows):
    columns = used(columns, rows)
    lines = [[c.title for c in columns]]
    lines += [[c.show(row.get(c.key)) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(line, widths))).rstrip() for line in lines)


def markdown(columns, rows):
    columns = used(columns, rows)
    lines = [[c.title for c in columns], [":--"] + ["--:"] * (len(columns) - 1)]
    lines += [[c.show(row.get(c.key)) for c in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(rows):
    """For JSON."""
    return [{key: value.json() if isinstance(value, Summary) else value
             for key, value in row.items()} for row in rows]
