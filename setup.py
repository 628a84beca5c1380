"""Maps the flat source folders onto the ``u2net`` package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ["model", "export", "runtime", "benchmarks", "cli"]
FOUND = find_packages(include=FOLDERS + [f"{folder}.*" for folder in FOLDERS])

setup(
    package_dir={"u2net": "."},
    packages=[f"u2net.{package}" for package in FOUND],
    package_data={"": ["py.typed", "*.safetensors", "*.md", "*.html", "*.schema.json"]},
)
