"""The mutants of a module: one small change each, by the operators of cosmic-ray."""

import ast
import copy
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
_SKIPPED_ARGUMENTS = {"strict", "kw_only", "frozen", "disable", "verbose"}


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
    """Yields `(key, line, mutated source)`; a key outlives changes elsewhere in the module."""
    skipped, scopes = _spans(ast.parse(source))
    lines, counts = source.splitlines(), {}
    tree = parso.parse(source)
    plain = list(_nodes(tree))
    for operator in operators():
        for place, node in enumerate(plain):
            for index, (start, end) in enumerate(operator.mutation_positions(node)):
                if any(first <= start and end <= last for first, last in skipped):
                    continue
                mutated = _mutate(copy.deepcopy(tree), place, operator, index)
                if not _compiles(mutated):
                    continue
                line = start[0]
                scope = ".".join(name for first, last, name in scopes if first <= line <= last)
                after = " ".join(mutated.splitlines()[line - 1].split())
                key = f"{scope}: {lines[line - 1].strip()} -> {after}"
                counts[key] = counts.get(key, 0) + 1
                yield (f"{key} #{counts[key]}" if counts[key] > 1 else key), line, mutated


def _nodes(node):
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


def _mutate(tree, place, operator, index):
    node = next(itertools.islice(_nodes(tree), place, None))
    parent = node.parent
    mutated = operator.mutate(node, index)
    if mutated is not node:
        parent.children[parent.children.index(node)] = mutated
    return tree.get_code()


def _compiles(source):
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _spans(tree):
    """Where nothing is mutated, and where functions and classes are.

    Annotations, decorators, defaults of options, and checks that only raise are not mathematics.
    """
    skipped, scopes = [], []
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            scopes.append((node.lineno, node.end_lineno, node.name))
            parts += node.decorator_list
        if isinstance(node, ast.FunctionDef):
            parts += [node.args, node.returns]
        elif isinstance(node, ast.ClassDef):
            parts += [part for part in node.body if isinstance(part, ast.AnnAssign)]
        elif isinstance(node, ast.If) and all(isinstance(part, ast.Raise) for part in node.body):
            parts += [node.test, *node.body]
        elif isinstance(node, ast.Raise) or (
            isinstance(node, ast.keyword) and node.arg in _SKIPPED_ARGUMENTS
        ):
            parts.append(node)
        for part in filter(None, parts):
            if isinstance(part, ast.arguments):
                every = [one for one in ast.walk(part) if hasattr(one, "lineno")]
            else:
                every = [part]
            skipped += [
                ((one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset))
                for one in every
            ]
        if parts and isinstance(node, ast.If):  # what is around the condition: `not` is added there
            skipped.append(((node.lineno, 0), (node.test.end_lineno, node.test.end_col_offset)))
    return skipped, sorted(scopes)
