"""Under which versions of TensorRT each line of the code can run, and whether what it uses is there in all of them.

``hasattr`` on something of TensorRT's tells versions apart. It does so in ``if``, ``and``, ``or``, ``not``, in a test
with an early way out, in a function that returns it, and for a function that is only called behind it.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.runtime.trt.type_inference import (
    Bindings,
    Function,
    Project,
    Scope,
    Type,
    Versions,
    World,
    unrolled,
)

NONE: Versions = frozenset()
UNTYPED = re.compile(r"# type: ignore\[[^\]]*attr-defined")
Node = ast.expr | ast.stmt
Definition = Function | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


@dataclass
class Report:
    """What was found, as ``file:line: text``."""

    missing: set[str] = field(default_factory=set)
    """Uses that some version has not, and is not kept from."""
    unclear: set[str] = field(default_factory=set)
    """Lines that neither mypy nor this can judge."""
    guards: dict[tuple[Type, str], set[str]] = field(default_factory=dict)
    """Where the code asks whether an owner has a name."""
    uses: dict[tuple[Type, str], Versions] = field(default_factory=dict)
    """What the code uses of TensorRT, and the versions under which it gets there."""

    def idle_guards(self, world: World) -> list[str]:
        """Guards that tell no two versions apart."""
        found = []
        for (owner, name), places in self.guards.items():
            where, there = ", ".join(sorted(places)), world.having(owner, name)
            if not there:
                found.append(f"{where}: {owner} has {name!r} in no version: a slip of the pen?")
            elif there == world.versions:
                found.append(f"{where}: {owner} has {name!r} in every version: the guard is dead")
        return found


def check_code(sources: Mapping[str, str], bindings: Mapping[str, Bindings]) -> Report:
    """Hold modules, by file name, against the versions."""
    trees = {name: ast.parse(text) for name, text in sources.items()}
    project = Project(trees, World(bindings))
    mentioned = {name for tree in trees.values() for node in ast.walk(tree) if (name := _mention(node))}
    defined = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Definition)}
    # What nothing mentions is called from outside, under any version.
    entries = defined - mentioned
    contexts: dict[str, Versions] = {}
    while True:
        walk = _Walk(project, {**contexts, **dict.fromkeys(entries, project.world.versions)})
        for name, tree in trees.items():
            walk.module(name, tree)
        if walk.reached != contexts:
            contexts = walk.reached
        elif unreached := defined - contexts.keys() - entries:
            # Mentioned in itself or in an annotation alone.
            entries |= unreached
        else:
            break
    report = walk.report
    for file, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            if UNTYPED.search(line) and (file, number) not in walk.judged:
                report.unclear.add(f"{file}:{number}: mypy is told not to look, and what this is cannot be told")
    return report


class Arguments(NamedTuple):
    """What a call gives."""

    positional: int
    keywords: tuple[str, ...] = ()

    def fit(self, overload: Bindings) -> bool:
        """Whether an overload takes them, and needs no more."""
        rest = overload["parameters"][self.positional :]
        return (
            self.positional <= len(overload["parameters"])
            and set(self.keywords) <= {name for name, _ in rest}
            and all(optional or name in self.keywords for name, optional in rest)
        )

    def __str__(self) -> str:
        return f"({', '.join(['…'] * self.positional + [f'{keyword}=…' for keyword in self.keywords])})"


def _mention(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
            return name
    return None


class _Walk:
    """One pass through all modules; ``contexts`` says under which versions each function is called."""

    def __init__(self, project: Project, contexts: Mapping[str, Versions]) -> None:
        self.report = Report()
        self.reached: dict[str, Versions] = {}
        self.judged: set[tuple[str, int]] = set()
        self._project, self._world, self._contexts = project, project.world, contexts
        self._file = ""

    def module(self, name: str, tree: ast.Module) -> None:
        self._file = name
        self._block(tree.body, self._world.versions, self._project.scopes[tree], nested=False)

    def _block(self, body: list[ast.stmt], now: Versions, scope: Scope, *, nested: bool = True) -> Versions:
        """Walk statements; the versions under which their end is reached."""
        for statement in body:
            if isinstance(statement, Definition):
                self._definition(statement, now, scope, nested=nested)
            elif now:
                now = self._statement(statement, now, scope)
        return now

    def _statement(self, node: ast.stmt, now: Versions, scope: Scope) -> Versions:
        match node:
            case ast.If():
                yes, no = self._condition(node.test, now, scope)
                now = self._block(node.body, yes, scope) | self._block(node.orelse, no, scope)
            case ast.Assert():
                now = self._condition(node.test, now, scope)[0]
            case ast.For() | ast.While():
                now = self._loop(node, now, scope)
            case ast.With():
                for item in node.items:
                    self._expression(item.context_expr, now, scope)
                # A context manager may keep an error to itself, so what follows is always reached.
                now = self._block(node.body, now, scope) or now
            case ast.Match():
                self._expression(node.subject, now, scope)
                for case in node.cases:
                    self._block(case.body, now, scope)
            case ast.Try():
                now = self._try(node, now, scope)
            case _:
                annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
                for child in ast.iter_child_nodes(node):
                    self._expression(child if child is not annotation else None, now, scope)
        return NONE if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break) else now

    def _loop(self, node: ast.For | ast.While, now: Versions, scope: Scope) -> Versions:
        if isinstance(node, ast.While):
            self._block(node.body, self._condition(node.test, now, scope)[0], scope)
        else:
            self._expression(node.iter, now, scope)
            for turn in unrolled(self._project, node.target, node.iter, scope):
                self._block(node.body, now, turn)
        self._block(node.orelse, now, scope)
        return now

    def _try(self, node: ast.Try, now: Versions, scope: Scope) -> Versions:
        end = self._block(node.orelse, self._block(node.body, now, scope), scope)
        for handler in node.handlers:
            end |= self._block(handler.body, now, scope)
        self._block(node.finalbody, now, scope)
        return end

    def _definition(self, node: Definition, now: Versions, scope: Scope, *, nested: bool) -> None:
        special = node.name.startswith("__")
        inner_now = now if nested or special else now & self._contexts.get(node.name, NONE)
        inner = self._project.scopes[node]
        for mark in node.decorator_list:
            self._expression(mark, inner_now, scope)
        if special:
            self._mark(node.name, now)
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                self._expression(base, inner_now, scope)
                self._overrides(node, self._project.resolve(base, scope), inner_now)
            self._block(node.body, inner_now, inner, nested=nested)
            return
        for default in (*node.args.defaults, *(value for value in node.args.kw_defaults if value is not None)):
            self._expression(default, inner_now, scope)
        self._block(node.body, inner_now, inner)

    def _overrides(self, node: ast.ClassDef, base: Type | None, now: Versions) -> None:
        """Methods that TensorRT calls by name, with its own arguments."""
        if base is None or base.kind != "class":
            return
        for method in node.body:
            if isinstance(method, Function) and not method.name.startswith("_"):
                owner = Type("object", base.name)
                if self._world.having(owner, method.name):
                    self._use(owner, method.name, method, now)
                    self._arguments(owner, method.name, method, now, Arguments(len(method.args.args) - 1))

    def _expression(self, node: ast.AST | None, now: Versions, scope: Scope) -> None:
        if node is None or not now:
            return
        if name := _mention(node):
            self._mark(name, now)
        match node:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                yes, no = self._condition(test, now, scope)
                self._expression(body, yes, scope)
                self._expression(orelse, no, scope)
                return
            case ast.BoolOp(op=operator, values=values):
                for value in values:
                    self._expression(value, now, scope)
                    now &= self._truth(value, scope)[isinstance(operator, ast.Or)]
                return
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node, node.generators, now, scope)
                return
            case ast.Attribute(value=value, attr=attribute):
                self._use(self._project.resolve(value, scope), attribute, node, now)
            case ast.Call():
                self._call(node, now, scope)
        for child in ast.iter_child_nodes(node):
            self._expression(child, now, scope)

    def _comprehension(self, node: Comprehension, loops: list[ast.comprehension], now: Versions, scope: Scope) -> None:
        if not loops:
            for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self._expression(part, now, scope)
            return
        first, *rest = loops
        self._expression(first.iter, now, scope)
        for turn in unrolled(self._project, first.target, first.iter, scope):
            there = now
            for test in first.ifs:
                there = self._condition(test, there, turn)[0]
            self._comprehension(node, rest, there, turn)

    def _call(self, node: ast.Call, now: Versions, scope: Scope) -> None:
        match node:
            case ast.Call(func=ast.Name(id="hasattr" | "getattr" as function), args=[asked, name_node, *default]):
                owner, name = self._project.resolve(asked, scope), self._project.literal(name_node, scope)
                place = self._place(node)
                if owner is None:
                    if name is not None and name in self._world.names and not name.startswith("__"):
                        self.report.unclear.add(f"{place}: what is asked for {name!r} cannot be told: annotate it")
                elif owner.kind == "own":
                    pass
                elif name is None:
                    self.report.unclear.add(f"{place}: write out the name that {function} asks for")
                elif function == "getattr" and not default:
                    self._use(owner, name, node, now)
                else:
                    self.report.guards.setdefault((owner, name), set()).add(place)
                    self._judge(node)
            case ast.Call(func=function):
                names = tuple(keyword.arg or "**" for keyword in node.keywords)
                if "**" in names or any(isinstance(argument, ast.Starred) for argument in node.args):
                    return
                given = Arguments(len(node.args), names)
                made = self._project.resolve(function, scope)
                if made is not None and made.kind == "class":
                    self._arguments(Type("object", made.name), "__init__", node, now, given)
                elif isinstance(function, ast.Attribute):
                    self._arguments(self._project.resolve(function.value, scope), function.attr, node, now, given)

    def _use(self, owner: Type | None, name: str, node: Node, now: Versions) -> None:
        if owner is None or owner.kind == "own" or not now:
            return
        self._judge(node)
        self.report.uses[owner, name] = self.report.uses.get((owner, name), NONE) | now
        # Where there is no such class, the code that makes an object of it is what is reported.
        lacking = now & self._world.knowing(owner) - self._world.having(owner, name)
        if lacking:
            self.report.missing.add(f"{self._place(node)}: {owner} has no {name!r} in {_listed(lacking)}")
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            fixed = now & self._world.having(owner, name) - self._world.letting_assign(owner, name)
            if fixed:
                self.report.missing.add(f"{self._place(node)}: {owner}.{name} cannot be assigned in {_listed(fixed)}")

    def _arguments(self, owner: Type | None, name: str, node: Node, now: Versions, given: Arguments) -> None:
        if owner is None or owner.kind not in ("object", "class"):
            return
        refusing = frozenset(
            version
            for version in now & self._world.having(owner, name)
            if not any(given.fit(overload) for overload in self._world.members(version, owner)[name] or ())
        )
        if refusing:
            self.report.missing.add(f"{self._place(node)}: {owner}.{name} does not take {given} in {_listed(refusing)}")

    def _condition(self, node: ast.expr, now: Versions, scope: Scope) -> tuple[Versions, Versions]:
        self._expression(node, now, scope)
        yes, no = self._truth(node, scope)
        return now & yes, now & no

    def _truth(self, node: ast.expr, scope: Scope) -> tuple[Versions, Versions]:
        """The versions under which a test can be true, and those under which it can be false."""
        every = self._world.versions
        yes, no = every, every
        match node:
            case ast.BoolOp(op=operator, values=values):
                truths = [self._truth(value, scope) for value in values]
                sides = [truth[0] for truth in truths], [truth[1] for truth in truths]
                if isinstance(operator, ast.And):
                    yes, no = every.intersection(*sides[0]), NONE.union(*sides[1])
                else:
                    yes, no = NONE.union(*sides[0]), every.intersection(*sides[1])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                no, yes = self._truth(operand, scope)
            case ast.Compare(left=left, ops=[(ast.Is() | ast.IsNot()) as operator], comparators=[ast.Constant(None)]):
                # There is no object of a class that does not exist.
                kind = self._project.resolve(left, scope)
                there = every if kind is None else self._world.knowing(kind)
                yes, no = (every, there) if isinstance(operator, ast.Is) else (there, every)
            case ast.Call(func=ast.Name(id="hasattr"), args=[asked, name_node]):
                owner, name = self._project.resolve(asked, scope), self._project.literal(name_node, scope)
                if owner is not None and owner.kind != "own" and name is not None:
                    yes = self._world.having(owner, name)
                    no = every - yes
            case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function)):
                match self._project.functions.get(function, []):
                    case [ast.FunctionDef(body=[*before, ast.Return(value=ast.expr() as value)]) as only] if all(
                        isinstance(line, ast.Expr) for line in before
                    ):
                        yes, no = self._truth(value, self._project.scopes[only])
            case ast.Name(id=name) if len(origins := scope.find(name)) == 1:
                origin = origins[0]
                if isinstance(origin.node, ast.expr) and origin.item is None and not origin.is_annotation:
                    yes, no = self._truth(origin.node, origin.scope)
        return yes, no

    def _mark(self, name: str, now: Versions) -> None:
        self.reached[name] = self.reached.get(name, NONE) | now

    def _judge(self, node: Node) -> None:
        self.judged |= {(self._file, line) for line in (node.lineno, node.end_lineno or node.lineno)}

    def _place(self, node: Node) -> str:
        return f"{self._file}:{node.lineno}"


def _listed(versions: Versions) -> str:
    return ", ".join(sorted(versions))
