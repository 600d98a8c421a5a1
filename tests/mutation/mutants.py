"""The mutants of a module: one small change each, by the operators of cosmic-ray."""

import ast
import copy
import hashlib
import itertools
from typing import ClassVar

import parso
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

# One replacement for each operator: tests that catch it would mostly catch the others, too.
_NAMES = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
    *("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
    *("Delete_USub", "Delete_Invert", "Delete_Not"),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr"),
    *("ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
)
# Arguments that say nothing about the mathematics.
_SKIPPED_ARGUMENTS = {
    "strict",
    "kw_only",
    "frozen",
    "disable",
    "verbose",
    "unit_scale",
    "stacklevel",
}
# How functions begin that look at arguments and at memory.
_CHECKS = ("check", "require", "least_size")
# What `store.schema` expects of the values of a record.
_KINDS = ("integer", "integers", "one_of")


class Assignments(Operator):
    """Replaces augmented assignments, which cosmic-ray leaves alone."""

    _REPLACED: ClassVar = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "&=": "|=", "|=": "&="}

    def mutation_positions(self, node):
        if node.type == "operator" and node.value in self._REPLACED:
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = self._REPLACED[node.value]
        return node

    @classmethod
    def examples(cls):
        return ()


class Numbers(Operator):
    """Adds 1 to a number: 0 becomes 1, and -1 becomes 0."""

    def mutation_positions(self, node):
        if node.type == "number":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        negative = node.parent.type == "factor" and node.parent.children[0].value == "-"
        node.value = str(ast.literal_eval(node.value) + (-1 if negative else 1))
        return node

    @classmethod
    def examples(cls):
        return ()


def operators():
    """The operators that are applied."""
    kinds = ("", "ReplaceBinaryOperator_", "ReplaceComparisonOperator_", "ReplaceUnaryOperator_")
    for kind, name in itertools.product(kinds, _NAMES):
        try:
            yield get_operator(f"core/{kind}{name}")()
        except Exception:  # of another kind
            continue
    yield from (Assignments(), Numbers())


def mutants(source):
    """Yields `(key, lines, mutated source)`, in an order by chance.

    A key, the function and the changed line, outlives changes elsewhere in the module; `lines` are
    the numbers, as strings, of those of its statement.
    """
    module, tree, lines = ast.parse(source), parso.parse(source), source.splitlines()
    skipped, found = _skipped(module), {}
    for operator in operators():
        for node in [*_nodes(tree)]:
            for index, (start, end) in enumerate(operator.mutation_positions(node)):
                if any(first <= start and end <= last for first, last in skipped):
                    continue
                mutated = _mutate(tree, node, operator, index)
                try:
                    compile(mutated, "mutant", "exec")
                except SyntaxError:
                    continue
                line = start[0]
                scope, statement = _around(module, line)
                after = " ".join(mutated.splitlines()[line - 1].split())
                key = f"{scope}: {lines[line - 1].strip()} -> {after}"
                if key in found:
                    key += f" #{sum(key == other.split(' #')[0] for other in found) + 1}"
                found[key] = statement, mutated
    for key in sorted(found, key=lambda key: hashlib.sha256(key.encode()).digest()):
        yield key, *found[key]


def _nodes(node):
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


def _mutate(tree, node, operator, index):
    """The source of the tree with one node mutated; the tree stays as it is."""
    siblings = node.parent.children if node.parent else [node]
    place = siblings.index(node)
    parts = [(part, "children" if hasattr(part, "children") else "value") for part in _nodes(node)]
    before = [copy.copy(getattr(*part)) for part in parts]
    siblings[place] = operator.mutate(node, index)
    source = tree.get_code()
    siblings[place] = node
    for (part, name), value in zip(parts, before, strict=True):
        setattr(part, name, value)
    return source


def _around(module, line):
    """The functions and classes around a line, and the lines of its statement.

    Of a statement at the top these are all: it is executed when the module is imported, for all.
    """
    around = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno
    ]
    scopes = [node for node in around if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    scope = ".".join(node.name for node in sorted(scopes, key=lambda node: node.lineno))
    statement = min(around, key=lambda node: node.end_lineno - node.lineno)
    if not any(isinstance(node, ast.FunctionDef) for node in around if node is not statement):
        return scope, [str(number) for number in range(1, module.body[-1].end_lineno + 1)]
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno
    return scope, [str(number) for number in range(statement.lineno, max(last, line) + 1)]


def _skipped(module):
    """Where nothing is mutated, as pairs of (line, column).

    Annotations, decorators, defaults of options, checks of arguments and of memory, numbers that
    only these use, and others that only raise are not mathematics.
    """
    skipped = []
    for node in ast.walk(module):
        parts = []
        if isinstance(node, ast.FunctionDef) and node.name.strip("_").startswith(_CHECKS):
            parts = [node]
        elif isinstance(node, ast.FunctionDef):
            arguments = [one for one in ast.walk(node.args) if hasattr(one, "lineno")]
            parts = [*node.decorator_list, *arguments, *filter(None, [node.returns])]
        elif isinstance(node, ast.ClassDef):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            parts = [*node.decorator_list, *fields]
        elif isinstance(node, ast.If) and all(map(_only_checks, node.body)):
            parts = node.body
            skipped.append(((node.lineno, 0), (node.test.end_lineno, node.test.end_col_offset)))
        elif (
            (isinstance(node, ast.Call) and _checks(node))
            or isinstance(node, ast.Raise)
            or (isinstance(node, ast.keyword) and node.arg in _SKIPPED_ARGUMENTS)
        ):
            parts = [node]
        skipped += map(_extent, parts)
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            skipped += _only_checked(function, skipped)
    return skipped


def _only_checks(statement):
    """Whether a statement is an error that is raised, or the call of a check."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return _checks(statement.value)
    return isinstance(statement, ast.Raise)


def _extent(node):
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _only_checked(function, skipped):
    """Where a function assigns names that it uses nowhere but in what is skipped."""
    found, before = [], None
    while found != before:
        before, assigned, used = found, {}, set()
        for node in ast.walk(function):
            inside = hasattr(node, "lineno") and any(
                first <= _extent(node)[0] and _extent(node)[1] <= last
                for first, last in [*skipped, *found]
            )
            if isinstance(node, ast.Assign | ast.AugAssign):
                targets = getattr(node, "targets", None) or [node.target]
                for name in {getattr(target, "id", None) for target in targets}:
                    assigned.setdefault(name, []).append(node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not inside:
                used.add(node.id)
        found = [
            _extent(node) for name in assigned.keys() - used - {None} for node in assigned[name]
        ]
    return found


def _checks(call):
    """Whether a call is one of `arguments`, or of a function that checks."""
    function = ast.unparse(call.func)
    name = function.rpartition(".")[2].strip("_")
    return function.startswith("arguments.") or name.startswith(_CHECKS) or name in _KINDS
