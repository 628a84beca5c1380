"""What an expression of the code is in TensorRT's terms: the module, one of its classes, or an object of one.

mypy cannot tell: behind ``hasattr`` everything is ``Any``. Types come out of annotations, out of what is assigned, and
out of the classes that TensorRT's own signatures say they return. A name that cannot be told is None.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Versions = frozenset[str]
Bindings = Mapping[str, Any]
"""What ``tests/environments/tensorrt_bindings.py dump`` prints of one version."""

MODULE_NAMES = ("trt", "library")
"""What the code calls the module of TensorRT, where no annotation says it."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Type(NamedTuple):
    """The module, a class or an object of TensorRT's, or an object of a class of the code's own."""

    kind: Literal["module", "class", "object", "own"]
    name: str = ""

    def __str__(self) -> str:
        return self.name or "the module"


MODULE = Type("module")


class World:
    """The bindings of several versions."""

    def __init__(self, bindings: Mapping[str, Bindings]) -> None:
        self.bindings = bindings
        self.versions = frozenset(bindings)
        self.classes = {name for found in bindings.values() for name in found["classes"]}
        self.names = {name for found in bindings.values() for members in found["classes"].values() for name in members}

    def members(self, version: str, owner: Type) -> Mapping[str, Any]:
        """Members by name, with their overloads; nothing where the version has no such class."""
        found = self.bindings[version]
        members: Mapping[str, Any] = found["classes"].get(owner.name, {})
        return dict.fromkeys(found["names"]) if owner == MODULE else members

    def having(self, owner: Type, name: str) -> Versions:
        """The versions where the owner has a member of that name."""
        return frozenset(version for version in self.versions if name in self.members(version, owner))

    def knowing(self, owner: Type) -> Versions:
        """The versions where the owner exists at all."""
        if owner.kind in ("module", "own"):
            return self.versions
        return frozenset(version for version, found in self.bindings.items() if owner.name in found["classes"])

    def letting_assign(self, owner: Type, name: str) -> Versions:
        """The versions where the owner's member can be assigned."""
        path = f"{owner.name}.{name}"
        return frozenset(version for version, found in self.bindings.items() if path in found["writable"])

    def returned(self, owner: Type, method: str) -> Type | None:
        """The class that a method returns objects of."""
        for version in self.versions:
            for overload in self.members(version, owner).get(method) or ():
                # A signature may name the C++ class: ParserError and EngineInspector have an I there.
                for name in (overload["returns"], overload["returns"].removeprefix("I")):
                    if name in self.classes:
                        return Type("object", name)
        return None


@dataclass(frozen=True)
class Origin:
    """Where a name's value comes from: an expression, an item of one, an annotation, or what is known at once."""

    node: ast.AST | None
    scope: "Scope"
    known: Type | None = None
    item: int | None = None
    is_annotation: bool = False


@dataclass
class Scope:
    """Names of a module, class or function."""

    outer: "Scope | None" = None
    names: dict[str, list[Origin]] = field(default_factory=dict)

    def find(self, name: str) -> list[Origin]:
        """All that the name is assigned, in the innermost scope that has it."""
        if name in self.names or self.outer is None:
            return self.names.get(name, [])
        return self.outer.find(name)


class Project(ast.NodeVisitor):
    """All modules of the code, indexed: functions, the fields of classes, what each name is assigned."""

    def __init__(self, trees: Mapping[str, ast.Module], world: World) -> None:
        self.world = world
        self.scopes: dict[ast.AST, Scope] = {}
        self.functions: dict[str, list[Function]] = {}
        self.fields: dict[str, Scope] = {}
        self._scope = Scope()
        self._class: ast.ClassDef | None = None
        self._resolving: set[tuple[int, int]] = set()
        for tree in trees.values():
            self._scope = self.scopes[tree] = Scope()
            self.generic_visit(tree)

    def literal(self, node: ast.AST, scope: Scope) -> str | None:
        """The text that an expression is, itself or by name."""
        if isinstance(node, ast.Name) and len(origins := scope.find(node.id)) == 1:
            node = origins[0].node or node
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

    def resolve(self, node: ast.AST | None, scope: Scope) -> Type | None:
        """What an expression is."""
        key = (id(node), id(scope))
        if node is None or key in self._resolving:
            return None
        self._resolving.add(key)
        try:
            return self._resolve(node, scope)
        finally:
            self._resolving.discard(key)

    def _resolve(self, node: ast.AST, scope: Scope) -> Type | None:
        found = None
        match node:
            case ast.Name(id=name):
                found = self._first(scope.find(name)) or (MODULE if self._may_be_module(name, scope) else None)
            case ast.Attribute(value=value, attr=name):
                found = self._member(self.resolve(value, scope), name)
                found = found or (MODULE if name.lstrip("_") in MODULE_NAMES else None)
            case ast.Call(func=ast.Name(id="getattr"), args=[value, asked, *_]):
                found = self._member(self.resolve(value, scope), self.literal(asked, scope) or "")
            case ast.Call(func=function):
                found = self._called(function, scope)
            case ast.IfExp(body=first, orelse=second):
                found = self.resolve(first, scope) or self.resolve(second, scope)
            case ast.NamedExpr(value=value):
                found = self.resolve(value, scope)
        return found

    def _may_be_module(self, name: str, scope: Scope) -> bool:
        notes = [origin.node for origin in scope.find(name) if origin.is_annotation and origin.node is not None]
        return name in MODULE_NAMES and all(isinstance(note, ast.Name) and note.id == "Any" for note in notes)

    def _first(self, origins: list[Origin]) -> Type | None:
        return next((found for origin in origins if (found := self._origin(origin)) is not None), None)

    def _origin(self, origin: Origin) -> Type | None:
        if origin.known is not None or origin.node is None:
            return origin.known
        if origin.is_annotation:
            return self._annotated(origin.node)
        if origin.item is None:
            return self.resolve(origin.node, origin.scope)
        return self._item(origin.node, origin.item, origin.scope)

    def _item(self, node: ast.AST, index: int, scope: Scope) -> Type | None:
        """An item of a tuple, written out or returned by a function of the code."""
        match node:
            case ast.Tuple(elts=items):
                return self.resolve(items[index], scope) if index < len(items) else None
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                returned = [
                    self._item(statement.value, index, self.scopes[function])
                    for function in self.functions.get(name, ())
                    for statement in ast.walk(function)
                    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple)
                ]
                return next((found for found in returned if found is not None), None)
        return None

    def _member(self, owner: Type | None, name: str) -> Type | None:
        if owner is None:
            return None
        if owner.kind == "own":
            return self._first(self.fields[owner.name].names.get(name, []))
        path = f"{owner.name}.{name}".lstrip(".")
        return Type("class", path) if owner.kind != "object" and path in self.world.classes else None

    def _called(self, function: ast.expr, scope: Scope) -> Type | None:
        made = self.resolve(function, scope)
        if made is not None and made.kind == "class":
            return Type("object", made.name)
        name = ""
        match function:
            case ast.Name(id=called):
                name = called
            case ast.Attribute(value=value, attr=called):
                owner = self.resolve(value, scope)
                if owner is not None and owner.kind == "object":
                    return self.world.returned(owner, called)
                name = called if owner is not None else ""
        if name in self.fields:
            return Type("own", name)
        found = (self._annotated(defined.returns) for defined in self.functions.get(name, ()))
        return next((kind for kind in found if kind is not None), None)

    def _annotated(self, node: ast.AST | None) -> Type | None:
        match node:
            case ast.Constant(value=str(text)):
                return self._annotated(ast.parse(text, mode="eval").body)
            case ast.BinOp(left=first, right=second):
                return self._annotated(first) or self._annotated(second)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                if name == "TensorRT":
                    return MODULE
                if name in self.fields:
                    return Type("own", name)
                return Type("object", name) if name in self.world.classes else None
        return None

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, above = self._scope, self._class
        self.fields[node.name] = self._scope = self.scopes[node] = Scope(outer)
        self._class = node
        self.generic_visit(node)
        self._scope, self._class = outer, above

    def visit_FunctionDef(self, node: Function) -> None:
        outer, above = self._scope, self._class
        self.functions.setdefault(node.name, []).append(node)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        is_method = above is not None and node in above.body
        if is_method and any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list):
            self._bind(ast.Name(node.name), Origin(node.returns, outer, is_annotation=True))
        # A method does not see the names of its class.
        self._scope = self.scopes[node] = Scope(outer.outer if is_method else outer)
        for position, argument in enumerate(arguments):
            if above is not None and is_method and position == 0:
                own = Origin(None, outer, known=Type("own", above.name))
                self._scope.names[argument.arg] = [own]
            else:
                self._bind(ast.Name(argument.arg), Origin(argument.annotation, outer, is_annotation=True))
        self.generic_visit(node)
        self._scope, self._class = outer, above

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, Origin(node.value, self._scope))
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._bind(node.target, Origin(node.annotation, self._scope, is_annotation=True))
        if node.value is not None:
            self._bind(node.target, Origin(node.value, self._scope))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, Origin(node.value, self._scope))
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._bind_loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._bind_loop(node.target, node.iter)
        self.generic_visit(node)

    def _bind_loop(self, target: ast.expr, source: ast.expr) -> None:
        item = source.elt if isinstance(source, ast.GeneratorExp | ast.ListComp) else None
        self._bind(target, Origin(item, self._scope))

    def _bind(self, target: ast.expr, origin: Origin) -> None:
        match target:
            case ast.Name(id=name):
                self._scope.names.setdefault(name, []).append(origin)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self._class is not None:
                self.fields[self._class.name].names.setdefault(name, []).append(origin)
            case ast.Tuple(elts=targets):
                for index, part in enumerate(targets):
                    self._bind(part, Origin(origin.node, origin.scope, item=index))


def unrolled(project: Project, target: ast.expr, source: ast.expr, scope: Scope) -> Iterator[Scope]:
    """One scope for each turn of a loop over texts that are written out; else the scope as it is."""
    if isinstance(source, ast.Name) and len(origins := scope.find(source.id)) == 1:
        source = origins[0].node if isinstance(origins[0].node, ast.expr) else source
    items = source.elts if isinstance(source, ast.Tuple | ast.List | ast.Set) else []
    texts = [item for item in items if project.literal(item, scope) is not None]
    if not isinstance(target, ast.Name) or not texts or len(texts) != len(items):
        yield scope
        return
    for text in texts:
        yield Scope(scope, {target.id: [Origin(text, scope)]})
