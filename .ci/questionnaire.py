"""Checks docs/security/questionnaire.md: every command, file, test and part that an answer names exists, and most answers name one."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = "docs/security/questionnaire.md"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def problem(named, commands):
    """What is wrong with a name in backticks; None if it is there."""
    if named.startswith("tollgate "):
        command, *options = re.split(r" (?=--)", named)
        if command not in commands:
            return "no such command in docs/reference/commands.md"
        return None if all(option in commands[command] for option in options) else "no such option"
    if named.startswith("tests/peers/run.sh "):
        part = named.split()[1]
        return None if os.path.exists(os.path.join(ROOT, f"tests/peers/parts/{part}.py")) else "no such part"
    path, _, test = named.partition("::")
    if not os.path.isfile(os.path.join(ROOT, path)):
        return "no such file"
    if test and not re.search(rf"#\[(tokio::)?test[^\n]*\n(?:#\[[^\n]*\n|///[^\n]*\n)*(?:async )?fn {test}\(", read(path)):
        return "no such test"
    return None


def main(text=None):
    text = text if text is not None else read(PAGE)
    sections = re.split(r"^## `(tollgate[^`]*)`", read("docs/reference/commands.md"), flags=re.M)
    commands = dict(zip(sections[1::2], sections[2::2]))
    problems, answers, shown = [], 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 3 or cells[0] == "question" or set(cells[0]) == {"-"}:
            continue
        answers += 1
        shown += bool(cells[2])
        if not cells[0].endswith("?") or not cells[1]:
            problems.append(f"{number}: a question ends with `?` and has an answer")
        for named in re.findall(r"`([^`]+)`", cells[2]):
            what = problem(named, commands)
            if what:
                problems.append(f"{number}: `{named}`: {what}")
    # links are checked by book_links.py; a page whose tables were not read would check nothing
    if answers < 30 or shown < answers - 3:
        problems.append(f"{answers} answers, of which {shown} name what shows them")
    for one in problems:
        print(f"{PAGE}:{one}", file=sys.stderr)
    print(f"{PAGE}: {answers} answers, {len(problems)} problems")
    return 1 if problems else 0


def self_test():
    """The check fails for a command, a file, a test and a part that are not there, and for a page without tables."""
    row = "| Is it? | Yes | `{}` |\n"
    for wrong in ("tollgate vault unlock", "tollgate vault get --nothing", "tests/it/nothing.rs", "tests/it/leak.rs::no_such_test", "tests/peers/run.sh nothing"):
        if problem(wrong, {"tollgate vault get": "--key"}) is None:
            sys.exit(f"`{wrong}` was not noticed")
    with open(os.devnull, "w") as nowhere:
        out, err, sys.stdout, sys.stderr = sys.stdout, sys.stderr, nowhere, nowhere
        code = main(row.format("Cargo.toml"))
        sys.stdout, sys.stderr = out, err
    if code == 0:
        sys.exit("a page with one answer was not noticed")


if __name__ == "__main__":
    self_test()
    sys.exit(main())
