"""The parity gate between any two stages."""

from u2net.export.parity.figures import Comparison
from u2net.export.parity.gate import Failure, ParityGate, StageParity, VerifyOptions, verify

__all__ = ["Comparison", "Failure", "ParityGate", "StageParity", "VerifyOptions", "verify"]
