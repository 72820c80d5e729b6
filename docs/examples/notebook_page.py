"""Runs `digits.py` cell by cell and keeps its cells, with what they print, in `docs/notebook.md`.

Run it after `make demo`, in the same folder: `.venv/bin/python docs/examples/notebook_page.py`.
"""

import contextlib
import io
import re
import shutil
from pathlib import Path

EXAMPLE = Path(__file__).with_name("digits.py")
PAGE = EXAMPLE.parents[1] / "notebook.md"
MARKER = "<!-- Below: docs/examples/notebook_page.py writes it. -->\n"
_FIGURE = re.compile(r'savefig\("([^"]+)"')
_CELL = re.compile(r"^# %%(?P<words> \[markdown\])?\n", re.MULTILINE)


def cells_of(text: str) -> list[tuple[bool, str]]:
    """Whether each cell is code, and its text; what stands above the first is left out."""
    marks = list(_CELL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    cells = [(not mark["words"], text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)]
    return [(code, body if code else re.sub(r"^# ?", "", body, flags=re.MULTILINE)) for code, body in cells]


def page_of(text: str) -> str:
    """The cells as Markdown, each with what it prints."""
    names: dict[str, object] = {"__name__": "__main__"}
    parts = []
    for code, body in cells_of(text):
        if not code:
            parts.append(body)
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(body, EXAMPLE.name, "exec"), names)  # noqa: S102 - our own example
        parts.append(f"```python\n{body}\n```")
        lines = [line.rstrip() for line in printed.getvalue().replace(f"{Path.cwd()}/", "").rstrip().splitlines()]
        parts += ["\n".join(["```text", *lines, "```"])] if lines else []
        parts += [f"![{name}]({name})" for name in _FIGURE.findall(body)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Writes the page anew below its marker, and its figures beside it."""
    head, _, _ = PAGE.read_text().partition(MARKER)
    text = EXAMPLE.read_text()
    PAGE.write_text(head + MARKER + "\n" + page_of(text))
    for name in _FIGURE.findall(text):
        shutil.move(name, PAGE.parent / name)


if __name__ == "__main__":
    main()
