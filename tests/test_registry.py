"""A role is a folder: its files are its implementations."""

import importlib
from pathlib import Path

import pytest

import streamgmm
from streamgmm import registry
from streamgmm.errors import ConfigError, MissingDependencyError

FOLDERS = [role for role in registry.ROLES if (Path(streamgmm.__file__).parent / role).is_dir()]


@pytest.mark.parametrize("role", FOLDERS)
def test_names_are_the_files_of_the_folder(role):
    files = {path.stem for path in (Path(streamgmm.__file__).parent / role).glob("*.py")}
    found = registry.names(role)
    assert set(found) == {name for name in files if name != "base" and not name.startswith("_")}
    assert list(found) == sorted(found)


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in FOLDERS for name in registry.names(role)])
def test_every_file_gives_a_class(role, name):
    found = registry.implementation(role, name)
    module = importlib.import_module(f"streamgmm.{role}.{name}")
    assert isinstance(found, type)
    assert found.__name__ == module.__all__[0]
    assert found.__module__ == module.__name__


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown sources 'zarr_colums'; known are .*zarr_array.*did you mean 'zarr_columns'"):
        registry.implementation("sources", "zarr_colums")


@pytest.mark.parametrize("name", ["base", "_row_cache", "__init__", "..errors", "numpy_array.x", ""])
def test_what_is_no_implementation_is_unknown(name):
    with pytest.raises(ConfigError, match="unknown sources"):
        registry.implementation("sources", name)


def test_an_unknown_role_is_refused():
    with pytest.raises(ConfigError, match=r"unknown role 'source'.*did you mean 'sources'"):
        registry.names("source")


def test_a_missing_library_is_named(monkeypatch):
    def absent(name):
        if name.endswith("parquet"):
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
        return importlib.__import__(name, fromlist=["x"])

    monkeypatch.setattr(registry.importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError, match=r"needs pyarrow, which is not installed: pip install 'streamgmm\[parquet\]'"):
        registry.implementation("sources", "parquet")


def test_a_fault_of_our_own_is_not_called_a_missing_library(monkeypatch):
    def absent(name):
        if name.endswith("parquet"):
            raise ModuleNotFoundError("No module named 'streamgmm.gone'", name="streamgmm.gone")
        return importlib.__import__(name, fromlist=["x"])

    monkeypatch.setattr(registry.importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"streamgmm\.gone"):
        registry.implementation("sources", "parquet")
