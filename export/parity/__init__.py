"""The parity gate between any two stages."""

from u2net.export.parity.gate import ParityGate, StageParity, VerifyOptions, verify_models

__all__ = ["ParityGate", "StageParity", "VerifyOptions", "verify_models"]
