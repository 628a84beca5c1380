"""The record of an engine: ``model.engine.json`` beside the plan, because a plan has no room for metadata."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import Artifact, Precision
from u2net.runtime.errors import ArtifactError, EngineDamagedError, EngineGpuError, EngineVersionError, InputError
from u2net.runtime.files import check_readable, hash_bytes, write_errors_as, written_whole
from u2net.runtime.kinds import read_fields
from u2net.runtime.trt.flavours import Flavour
from u2net.runtime.trt.layers import Layer
from u2net.runtime.trt.profiles import Profile

RECORD_SCHEMA = 1


@dataclass(frozen=True)
class EngineRecord:
    """Facts about an engine that are known without opening it."""

    flavour: Flavour
    version: str
    """Version of the TensorRT that built the engine."""
    gpu: str | None
    """Name of the GPU that the engine was built on; None if it was built ahead of time."""
    compute_capability: str | None
    """Compute capability of that GPU, such as ``8.6``."""
    targets: tuple[str, ...]
    """Compute capabilities that the engine was built for ahead of time; empty for TensorRT-RTX's default."""
    precision: Precision
    profiles: tuple[Profile, ...]
    opt_level: int | None
    tf32: bool
    onnx: str
    """Path of the graph that the engine was built from, relative to the engine's folder."""
    onnx_sha256: str
    opset: int
    plan_bytes: int
    plan_sha256: str
    seconds: float
    """Build time."""
    artifact: Artifact | None
    """Metadata of the graph; None if this project did not export it."""
    layers: tuple[Layer, ...]
    """Layers of the engine; empty if there was no GPU to read them on."""

    def to_json(self) -> str:
        artifact = None if self.artifact is None else json.loads(self.artifact.to_json())
        return json.dumps({"schema": RECORD_SCHEMA, **asdict(self), "artifact": artifact}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EngineRecord":
        """Read :meth:`to_json` back. Raise ArtifactError if the text is damaged or has another schema."""
        try:
            values: dict[str, Any] = json.loads(text)
            schema = values.pop("schema")
            if schema != RECORD_SCHEMA:
                raise ArtifactError(f"the engine's record has schema {schema}; this version reads {RECORD_SCHEMA}")
            artifact = values["artifact"]
            values["artifact"] = None if artifact is None else Artifact.from_json(json.dumps(artifact))
            return read_fields(cls, values)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"the engine's record is damaged ({error}); compile the engine again") from error

    def check_plan(self, content: bytes, path: Path) -> None:
        """Raise EngineDamagedError if these bytes are not the recorded plan."""
        if len(content) < self.plan_bytes:
            raise EngineDamagedError(
                f"{path} is truncated: {len(content)} of {self.plan_bytes} bytes; copy it again or compile it again"
            )
        if len(content) != self.plan_bytes or hash_bytes(content) != self.plan_sha256:
            raise EngineDamagedError(
                f"{path} is not the plan that {record_path(path).name} describes; copy both, or compile it again"
            )

    def check_here(self, version: str, compute_capability: str, gpu: str) -> None:
        """Raise EngineVersionError or EngineGpuError if the engine was built for another TensorRT or GPU."""
        if version != self.version:
            raise EngineVersionError(
                f"the engine was built by {self.flavour} {self.version}, but this is {version}; compile it again, "
                "load it with rebuild=True, or install the version that built it"
            )
        wanted = self.compute_capability
        if wanted is not None and wanted != compute_capability:
            raise EngineGpuError(
                f"the engine was built on {self.gpu} (compute capability {wanted}), but this is {gpu} "
                f"({compute_capability}); compile it here, or load it with rebuild=True"
            )
        here = target_name(compute_capability)
        if self.targets and here not in self.targets:
            raise EngineGpuError(
                f"the engine was built for {', '.join(self.targets)}, but this is {gpu} ({here}); "
                f"compile it with --target {here}, or load it with rebuild=True"
            )


def target_name(compute_capability: str) -> str:
    """``sm_86`` for ``8.6``."""
    return f"sm_{compute_capability.replace('.', '')}"


def record_path(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def write_engine(path: Path, plan: bytes, record: EngineRecord) -> None:
    """Write a plan and its record, each as a whole. Raise InputError if that fails."""
    with (
        write_errors_as(InputError, path),
        written_whole(path) as partial,
        written_whole(record_path(path)) as partial_record,
    ):
        partial.write_bytes(plan)
        partial_record.write_text(record.to_json(), encoding="utf-8")


def read_record(engine: Path) -> EngineRecord | None:
    """Read the record beside an engine; None if there is none. Raise ArtifactError if it is damaged."""
    path = record_path(engine)
    try:
        return EngineRecord.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def read_plan(engine: Path) -> tuple[bytes, EngineRecord | None]:
    """Read a plan and its record, which is None if there is none.

    Raise ArtifactError if there is no plan or the record is damaged, EngineDamagedError if they do not belong together.
    """
    check_readable(engine, ArtifactError)
    record, content = read_record(engine), engine.read_bytes()
    if record is not None:
        record.check_plan(content, engine)
    return content, record
