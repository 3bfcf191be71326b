"""The packages of the wheel; everything else is in pyproject.toml. assets/ becomes breakascene/assets there."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["breakascene*"]), "breakascene.assets"],
    package_dir={"breakascene.assets": "assets"},
)
