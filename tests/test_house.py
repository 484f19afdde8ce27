"""The rules of the house, read off the sources: names, sizes, parameters, circles, sentences, and tests that can fail.

Each rule is a function from sources (a path and its text) to what breaks it. Every rule is also tried on a planted
source, so that a rule that finds nothing is a rule that looked.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import docs
import pytest

import charter

ROOT = Path(docs.ROOT)
PACKAGE = Path(charter.__file__).parent
Sources = Mapping[str, str]
Rule = Callable[[Sources], set[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

MODULE_LINES, FUNCTION_LINES, PARAMETERS, SENTENCE_WORDS = 400, 50, 6, 30
IRREGULAR = (
    "begun bent born borne bought bound bred brought built burnt caught chosen dealt done drawn driven eaten fallen "
    "fed felt flown forgotten fought found frozen given gone grown heard held hidden kept known laid learnt led left "
    "lent lost made meant met mown paid risen said seen sent shaken shown sought sold spent spoken spoilt stolen stood "
    "struck sung sunk sworn swept taken taught thought thrown told torn understood won worn woven written"
)
"""Participles without -ed. Those that read as a verb too are allowed: cut, put, set, split, spread, shut."""
NOT_PARTICIPLES = {"seed", "need", "feed", "embed", "speed", "exceed", "proceed", "succeed", "shed"}
PARTICLES = {"apart", "away", "back", "down", "for", "from", "in", "into", "of", "off", "on", "out", "over", "to", "up"}
"""``taken_up`` is as bare as ``taken``."""
PLAIN_VALUES = {"int", "float", "str", "bool", "bytes"}


@cache
def read_sources(folder: Path) -> Sources:
    """Every Python file below ``folder``: its path from there, and its text."""
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))}


@cache
def parse(text: str) -> ast.Module:
    """The syntax tree of a source."""
    return ast.parse(text)


def functions(sources: Sources) -> Iterator[tuple[str, Function]]:
    """Every function and method, also those within others."""
    for path, text in sources.items():
        for node in ast.walk(parse(text)):
            if isinstance(node, Function):
                yield path, node


def public_functions(sources: Sources) -> Iterator[tuple[str, Function]]:
    """Functions of a module and methods of a class, but no properties: these are named as values are."""
    for path, text in sources.items():
        for scope in (node for node in ast.walk(parse(text)) if isinstance(node, ast.Module | ast.ClassDef)):
            for node in scope.body:
                if isinstance(node, Function) and not node.name.startswith("_"):
                    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
                    if "property" not in decorators and ".setter" not in decorators:
                        yield path, node


def is_participle(word: str) -> bool:
    """Whether a word is a participle: regular, from the list, or on -ing."""
    regular = len(word) > 3 and word.endswith(("ed", "ing")) and word not in NOT_PARTICIPLES
    return regular or word in IRREGULAR.split()


def find_bare_participles(sources: Sources) -> set[str]:
    """Public functions named by a participle alone: a function is a verb with its object."""
    found = set()
    for path, function in public_functions(sources):
        first, *rest = function.name.split("_")
        if is_participle(first) and set(rest) <= PARTICLES:
            found.add(f"{path}:{function.name}")
    return found


def find_repeated_basenames(sources: Sources) -> set[str]:
    """File names that two packages share: a room is found by its name."""
    counted = Counter(Path(path).name for path in sources)
    return {name for name, n in counted.items() if n > 1 and not name.startswith("__")}


def find_repeated_classes(sources: Sources) -> set[str]:
    """Public classes whose name two modules share."""
    names = [node.name for text in sources.values() for node in parse(text).body if isinstance(node, ast.ClassDef)]
    return {name for name, n in Counter(names).items() if n > 1 and not name.startswith("_")}


def tuple_members(annotation: ast.expr | None) -> list[str]:
    """The members of a tuple of a fixed length; none for any other type."""
    if isinstance(annotation, ast.BinOp):
        return tuple_members(annotation.left) or tuple_members(annotation.right)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple":
        members = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return [] if ast.unparse(members[-1]) == "..." else [ast.unparse(member) for member in members]
    return []


def parameters(function: Function) -> list[ast.arg]:
    """What a function takes, without its own object."""
    given = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [argument for argument in given if argument.arg not in ("self", "cls")]


def find_packed_parameters(sources: Sources) -> set[str]:
    """Tuples that stand for several parameters. Plain values of one type, as a span has two, are one value."""
    found = set()
    for path, function in functions(sources):
        for argument in parameters(function):
            members = tuple_members(argument.annotation)
            if len(members) > 1 and not (len(set(members)) == 1 and set(members) <= PLAIN_VALUES):
                found.add(f"{path}:{function.name}({argument.arg})")
    return found


def find_many_parameters(sources: Sources) -> set[str]:
    """Functions of more than six parameters, where the members of a tuple count.

    Commands are left out, since each of their options is a parameter. So is ``step``, which the run hands to a stage.
    """
    found = set()
    for path, function in functions(sources):
        given = [argument for argument in parameters(function) if argument.arg != "step"]
        if sum(len(tuple_members(argument.annotation)) or 1 for argument in given) > PARAMETERS:
            found.add(f"{path}:{function.name}")
    return {place for place in found if not place.startswith("cli/")}


def find_long_modules(sources: Sources) -> set[str]:
    """Modules that nobody reads in one go."""
    return {path for path, text in sources.items() if len(text.splitlines()) > MODULE_LINES}


def find_long_functions(sources: Sources) -> set[str]:
    """Functions longer than a screen: a signature counts as one line, for a command describes its options there."""
    lengths = {f"{path}:{f.name}": (f.end_lineno or 0) - f.body[0].lineno + 2 for path, f in functions(sources)}
    return {place for place, length in lengths.items() if length > FUNCTION_LINES}


def find_circles(sources: Sources) -> set[str]:
    """Modules that import one another in a circle, counted with imports inside functions and for types alone."""
    names = {_module_name(path): text for path, text in sources.items()}
    graph = {name: _imports(text, set(names)) - {name} for name, text in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return {" -> ".join(error.args[1])}
    return set()


def _module_name(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return ".".join(("charter", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _imports(text: str, names: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & names) | ({str(node.module)} if whole - names else set())
    return found & names


RULES: dict[Rule, Sources] = {
    find_bare_participles: {"a.py": "def told(): ...\ndef taken_up(): ...\ndef read_rows(): ...\n"},
    find_repeated_basenames: {"a/rows.py": "", "b/rows.py": "", "a/__init__.py": "", "b/__init__.py": ""},
    find_repeated_classes: {"a.py": "class Row: ...\nclass _Row: ...\n", "b.py": "class Row: ...\nclass _Row: ...\n"},
    find_packed_parameters: {
        "a.py": "def f(a: tuple[Gate, int] | None, b: tuple[int, ...], c: tuple[int, int]): ...\n",
    },
    find_many_parameters: {
        "a.py": "def f(self, a, b: tuple[X, Y, Z], c, d, *, e): ...\ndef g(self, a, b, c, d, e, f, step): ...\n",
    },
    find_long_modules: {"a.py": "x = 1\n" * 401, "b.py": "x = 1\n" * 400},
    find_long_functions: {
        "a.py": "def f():\n" + "    x = 1\n" * 50,
        "b.py": "def f():\n" + "    x = 1\n" * 49,
        "c.py": "def f(\n" + "    a: int,\n" * 60 + "):\n" + "    x = 1\n" * 49,
        "d.py": "def f(\n" + "    a: int,\n" * 60 + "):\n" + "    x = 1\n" * 50,
    },
    find_circles: {
        "a.py": "import charter.b",
        "b.py": "def f():\n    from charter.c import x",
        "c.py": "from charter import a",
    },
}
"""Every rule, with a source in which one thing breaks it and another keeps it."""
PLANTED: dict[Rule, set[str]] = {
    find_bare_participles: {"a.py:told", "a.py:taken_up"},
    find_repeated_basenames: {"rows.py"},
    find_repeated_classes: {"Row"},
    find_packed_parameters: {"a.py:f(a)"},
    find_many_parameters: {"a.py:f"},
    find_long_modules: {"a.py"},
    find_long_functions: {"a.py:f", "d.py:f"},
    find_circles: {"charter.a -> charter.c -> charter.b -> charter.a"},
}
PENDING: dict[Rule, set[str]] = {}
"""What breaks a rule still, by rule. Nothing is added here; what is mended is taken out."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep_the_rule(rule: Rule) -> None:
    assert rule(read_sources(PACKAGE)) - PENDING.get(rule, set()) == set(), rule.__doc__


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_planted_source_breaks_the_rule(rule: Rule) -> None:
    assert rule(RULES[rule]) == PLANTED[rule]


def test_there_are_few_rooms() -> None:
    rooms = {Path(path).parts[0] for path in read_sources(PACKAGE)} - {"__init__.py", "__main__.py"}
    assert 10 < len(rooms) <= 21


# -- sentences

LONG_SENTENCES = 0.05
"""The share of the pages' sentences that may have more than 30 words. It is never raised."""


def sentences(page: str) -> list[str]:
    """The sentences of a page, without code blocks, headings and tables; a piece of code counts as one word."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(#|\||<!--).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    blocks = re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.)\s+", text, flags=re.MULTILINE)
    found = (part for block in blocks for part in re.split(r"(?<=[.!?:])\s+(?=[A-Z*_(])|(?<=[.!?])$", block.strip()))
    return [part for part in (" ".join(part.split()) for part in found) if part]


def long_sentences(page: str) -> list[str]:
    """Those with more words than anyone keeps in mind."""
    return [found for found in sentences(page) if len(re.findall(r"\w[\w'’.-]*", found)) > SENTENCE_WORDS]


def test_few_sentences_of_the_pages_are_long() -> None:
    pages = [page.read_text(encoding="utf-8") for page in docs.pages()]
    long, count = [found for page in pages for found in long_sentences(page)], sum(len(sentences(p)) for p in pages)
    assert count > 1000
    assert len(long) / count <= LONG_SENTENCES, sorted(long, key=len, reverse=True)


def test_a_long_sentence_is_counted() -> None:
    long = "A sentence that goes on and on " + "and on " * 20 + "must be found"
    page = f"# Title\n\nA short one. {long}. Another.\n\n- {long}\n- short\n\n```\n{long}\n```\n\n| {long} |\n"
    assert [found.rstrip(".") for found in long_sentences(page)] == [long, long]
    assert len(sentences(page)) == 5


# -- tests that can fail

SURE_CALLS = {"enumerate", "zip", "sorted", "reversed", "range", "product", "permutations", "combinations", "set",
              "list", "tuple", "dict", "items", "values", "keys"}  # fmt: skip
ASSERTING = {"raises", "warns"}
CANNOT_FAIL = {
    "test_yaml_in_the_pages_is_valid": "a page may show none, and what is wrong is raised",
    "test_python_in_the_pages_runs": "a page may show none, and what is wrong is raised",
}
"""Tests that may check nothing, each with its reason."""


def find_tests_that_cannot_fail(sources: Sources) -> set[str]:
    """Tests that assert nothing, or only within loops over what a call gives and may be nothing.

    A loop counts as sure where it runs over a literal, over a constant (in capitals), or over a name that holds one.
    A test that calls a function of its module that asserts, asserts.
    """
    found = set()
    for text in sources.values():
        tree = parse(text)
        helpers = {f.name for f in ast.walk(tree) if isinstance(f, Function) and _checks(f, set())}
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            if function.name.startswith("test_") and not Reach(function, helpers - {function.name}).checks(
                function.body
            ):
                found.add(function.name)
    return found


def _checks(node: ast.AST, helpers: set[str]) -> bool:
    """Whether a statement asserts: itself, by ``pytest.raises``, or by a helper that does."""
    return any(
        isinstance(part, ast.Assert) or (isinstance(part, ast.Call) and _called(part) in ASSERTING | helpers)
        for part in ast.walk(node)
    )


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


class Reach:
    """What a test surely comes by, whatever the calls in it give."""

    def __init__(self, function: Function, helpers: set[str]) -> None:
        self.helpers = helpers
        self.assigned = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    def checks(self, body: Sequence[ast.stmt]) -> bool:
        """Whether one of the statements, or of those within them, asserts for sure."""
        return any(self._checks(node) for node in body)

    def _checks(self, node: ast.stmt) -> bool:
        if isinstance(node, Function | ast.ClassDef | ast.While):
            return False
        if isinstance(node, ast.For | ast.AsyncFor) and not self.is_sure(node.iter):
            return False
        if isinstance(node, ast.With | ast.AsyncWith) and any(_checks(item, self.helpers) for item in node.items):
            return True
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt | ast.ExceptHandler)]
        within = [s for part in parts for s in (part.body if isinstance(part, ast.ExceptHandler) else [part])]
        return self.checks(within) if within else _checks(node, self.helpers)

    def is_sure(self, value: ast.AST) -> bool:
        """Whether a loop over it is run at least once: a literal, a constant, a name or a part of one."""
        if isinstance(value, ast.Name | ast.Attribute):
            name = value.id if isinstance(value, ast.Name) else value.attr
            return name.isupper() or (name in self.assigned and self.is_sure(self.assigned.pop(name)))
        if isinstance(value, ast.Tuple | ast.List | ast.Set):
            return any(not isinstance(e, ast.Starred) or self.is_sure(e.value) for e in value.elts)
        if isinstance(value, ast.ListComp | ast.SetComp | ast.DictComp):
            return not value.generators[0].ifs and self.is_sure(value.generators[0].iter)
        if isinstance(value, ast.Call) and _called(value) in SURE_CALLS:
            parts = [value.func.value] if isinstance(value.func, ast.Attribute) else value.args
            return any(self.is_sure(part) for part in parts)
        if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice):
            return self.is_sure(value.value)
        return bool(getattr(value, "keys", None) or getattr(value, "value", None))


def test_every_test_can_fail() -> None:
    assert find_tests_that_cannot_fail(read_sources(ROOT / "tests")) - set(CANNOT_FAIL) == set()


@pytest.mark.parametrize(
    ("body", "is_found"),
    [
        ("pass", True),
        ("print(read())", True),
        ("for found in read():\n        assert found", True),
        ("while read():\n        assert False", True),
        ("for _ in ():\n        assert False", True),
        ("def within():\n        assert False", True),
        ("for case in (1, 2):\n        for found in read(case):\n            assert found", True),
        ("assert read()", False),
        ("for case in (1, 2):\n        assert read(case)", False),
        ("for case in CASES:\n        assert read(case)", False),
        ("cases = {1: 2}\n    for case, _ in cases.items():\n        assert read(case)", False),
        ("with pytest.raises(ValueError):\n        read()", False),
        ("compare(1)", False),
    ],
)
def test_a_test_that_cannot_fail_is_found(body: str, is_found: bool) -> None:
    source = f"def compare(x):\n    assert x\ndef test_a():\n    {body}\n"
    assert find_tests_that_cannot_fail({"test_a.py": source}) == ({"test_a"} if is_found else set())
