"""What an engine says of itself: ``model.engine.json`` beside the plan, because a plan carries nothing of ours."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import Artifact
from u2net.runtime.errors import ArtifactError, EngineDamagedError, EngineGpuError, EngineVersionError, InputError
from u2net.runtime.files import hash_file, written_whole
from u2net.runtime.kinds import check_kinds
from u2net.runtime.trt.building import Plan, Source
from u2net.runtime.trt.flavours import Flavour, parse_flavour
from u2net.runtime.trt.layers import Layer
from u2net.runtime.trt.options import EngineOptions
from u2net.runtime.trt.profiles import Profile, ProfileRequest

SCHEMA = 1
SUFFIX = ".json"


@dataclass(frozen=True)
class EngineRecord:
    """Everything about an engine that is known without opening it."""

    flavour: Flavour
    version: str
    """Of the TensorRT that built it."""
    gpu: str | None
    """Name of the GPU it was built on; None where it was built ahead of time."""
    compute_capability: str | None
    """Of that GPU, ``8.6``."""
    targets: tuple[str, ...]
    """Compute capabilities it was built for ahead of time; empty is all that the library takes by default."""
    precision: str
    profiles: tuple[Profile, ...]
    opt_level: int | None
    tf32: bool
    onnx: str
    """The graph it was built from: a path relative to the engine's folder."""
    onnx_sha256: str
    opset: int
    fp32_nodes: tuple[str, ...]
    plan_bytes: int
    plan_sha256: str
    seconds: float
    """That the build took."""
    artifact: Artifact | None
    """Metadata of the graph; None where this project did not export it."""
    layers: tuple[Layer, ...] = ()
    """What it runs; empty where no GPU was there to tell."""

    def to_json(self) -> str:
        """The record as JSON."""
        artifact = None if self.artifact is None else json.loads(self.artifact.to_json())
        return json.dumps({"schema": SCHEMA, **asdict(self), "artifact": artifact}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EngineRecord":
        """Read :meth:`to_json` back.

        Raises:
            ArtifactError: it is no record, damaged, or of a newer schema.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            schema = values.pop("schema")
            if schema != SCHEMA:
                raise ArtifactError(f"the engine's record has schema {schema}; this version reads {SCHEMA}")
            artifact = values["artifact"]
            record = cls(
                **{
                    **values,
                    "flavour": parse_flavour(values["flavour"]),
                    "targets": _strings(values["targets"]),
                    "fp32_nodes": _strings(values["fp32_nodes"]),
                    "profiles": tuple(Profile.from_dict(profile) for profile in values["profiles"]),
                    "layers": tuple(Layer(**layer) for layer in values["layers"]),
                    "artifact": None if artifact is None else Artifact.from_json(json.dumps(artifact)),
                }
            )
            check_kinds(record)
            return record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"the engine's record is damaged ({error}); compile the engine again") from error

    def options(self, device: int) -> EngineOptions:
        """How to build the engine again, on that CUDA device."""
        sizes = ProfileRequest.of(self.profiles)
        return EngineOptions(self.flavour, sizes, self.opt_level, self.tf32, None, self.targets, device)

    def check_plan(self, content: bytes, path: Path) -> None:
        """Raise EngineDamagedError where these bytes are not the plan that was recorded."""
        if len(content) < self.plan_bytes:
            raise EngineDamagedError(
                f"{path} is truncated: {len(content)} of {self.plan_bytes} bytes; copy it again or compile it again"
            )
        if len(content) != self.plan_bytes or hash_bytes(content) != self.plan_sha256:
            raise EngineDamagedError(
                f"{path} is not the plan that {record_path(path).name} describes; copy both, or compile it again"
            )

    def check_here(self, version: str, compute_capability: str, gpu: str) -> None:
        """Raise EngineVersionError or EngineGpuError where the engine was not built for this TensorRT or GPU."""
        if version != self.version:
            raise EngineVersionError(
                f"the engine was built by {self.flavour} {self.version}, here is {version}; compile it again, "
                "load it with rebuild=True, or install the version it was built by"
            )
        wanted = self.compute_capability
        if wanted is not None and wanted != compute_capability:
            raise EngineGpuError(
                f"the engine was built on {self.gpu} (compute capability {wanted}), here is {gpu} "
                f"({compute_capability}); compile it here, or load it with rebuild=True"
            )
        here = target_name(compute_capability)
        if self.targets and here not in self.targets:
            raise EngineGpuError(
                f"the engine was built for {', '.join(self.targets)}, here is {gpu} ({here}); "
                f"compile it with --target {here}, or load it with rebuild=True"
            )


def target_name(compute_capability: str) -> str:
    """``sm_86`` for ``8.6``."""
    return f"sm_{compute_capability.replace('.', '')}"


def record_path(engine: Path) -> Path:
    """Where an engine's record stands."""
    return engine.with_name(engine.name + SUFFIX)


def describe_plan(
    plan: Plan, source: Source, options: EngineOptions, engine: Path, artifact: Artifact | None
) -> EngineRecord:
    """The record of a plan that is to be written to ``engine``."""
    return EngineRecord(
        flavour=plan.flavour,
        version=plan.version,
        gpu=plan.gpu.name if plan.gpu else None,
        compute_capability=plan.gpu.compute_capability if plan.gpu else None,
        targets=options.targets,
        precision=source.precision,
        profiles=plan.profiles,
        opt_level=options.opt_level,
        tf32=options.tf32,
        onnx=_relative(source.path, engine.parent),
        onnx_sha256=hash_file(source.path),
        opset=source.opset,
        fp32_nodes=source.fp32_nodes,
        plan_bytes=len(plan.content),
        plan_sha256=hash_bytes(plan.content),
        seconds=round(plan.seconds, 3),
        artifact=artifact,
    )


def write_engine(path: Path, plan: Plan, record: EngineRecord) -> None:
    """Write the plan and its record, each whole or not at all.

    Raises:
        InputError: the folder is missing or not writable.
    """
    try:
        with written_whole(path) as partial, written_whole(record_path(path)) as partial_record:
            partial.write_bytes(plan.content)
            partial_record.write_text(record.to_json(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_record(engine: Path, record: EngineRecord) -> None:
    """Write an engine's record anew.

    Raises:
        InputError: the folder is not writable.
    """
    try:
        with written_whole(record_path(engine)) as partial:
            partial.write_text(record.to_json(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{record_path(engine)} cannot be written: {error.strerror or error}") from error


def read_record(engine: Path) -> EngineRecord | None:
    """The record beside an engine; None where there is none.

    Raises:
        ArtifactError: it is damaged.
    """
    path = record_path(engine)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    try:
        return EngineRecord.from_json(text)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def read_plan(engine: Path) -> tuple[bytes, EngineRecord | None]:
    """A plan, held against the record beside it, and that record; None where there is none.

    Raises:
        ArtifactError: there is no such file, or its record is damaged.
        EngineDamagedError: the file is not the plan that the record describes.
    """
    if not engine.is_file():
        raise ArtifactError(f"{engine}: there is no such file")
    record, content = read_record(engine), engine.read_bytes()
    if record is not None:
        record.check_plan(content, engine)
    return content, record


def hash_bytes(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of names")
    return tuple(values)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
