"""The picture: a PNG that shows what it is given, whatever the columns are called or hold."""

import struct
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from streamgmm import picture
from streamgmm.errors import ConfigError, StorageError
from streamgmm.initialisers._sample import Sample
from streamgmm.model_file import SavedModel
from streamgmm.picture import save_picture
from tests.making import random_mixture


def model_and_sample(rng, d=2, k=3, names=None, rows=500):
    saved = SavedModel(
        random_mixture("gaussian_full", k, d, rng), names or tuple(f"f{j}" for j in range(d)), ("mas",) + ("",) * (d - 1), (-3.0, -2.5)
    )
    x = saved.mixture.sample(rows, rng)[0]
    return saved, Sample(x, np.ones(len(x)), complete=True)


def size_of(path):
    raw = path.read_bytes()
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", raw[16:24])


@pytest.mark.parametrize(("d", "panels"), [(1, 3), (2, 3), (3, 5), (4, 8), (9, 8)])
def test_one_panel_a_pair_up_to_six_the_history_and_the_key(tmp_path, rng, monkeypatch, d, panels):
    asked = []
    figure = picture._figure
    monkeypatch.setattr(picture, "_figure", lambda n: asked.append(n) or figure(n))
    width, height = size_of(save_picture(tmp_path / "p.png", *model_and_sample(rng, d)))
    assert asked == [panels]
    assert width > 300
    assert height > 300


def test_pairs_are_those_asked_for(tmp_path, rng):
    saved, sample = model_and_sample(rng, 3)
    assert size_of(save_picture(tmp_path / "p.png", saved, sample, pairs=[("f2", "f0")]))
    with pytest.raises(ConfigError, match=r"no column 'f9'.*f0, f1, f2"):
        save_picture(tmp_path / "p.png", saved, sample, pairs=[("f9", "f0")])


def test_an_ellipse_is_where_the_mahalanobis_distance_is_as_said(rng):
    covariance = np.array([[4.0, 1.5], [1.5, 2.0]])
    for deviations in (1.0, 2.0):
        ellipse = picture._ellipse(np.array([3.0, -1.0]), covariance, deviations, "black")
        edge = ellipse.get_patch_transform().transform(np.array([[np.cos(t), np.sin(t)] for t in np.linspace(0, 6.28, 25)]))
        difference = edge - [3.0, -1.0]
        distance = np.sqrt(np.einsum("ni,ij,nj->n", difference, np.linalg.inv(covariance), difference))
        np.testing.assert_allclose(distance, deviations, rtol=1e-9)


@pytest.mark.parametrize("names", [("$a_b$", r"\alpha$"), ("größe", "naïve"), ("new\nline", "\x1b[31m"), ("x" * 200, "%s {}")])
def test_names_are_text(tmp_path, rng, names):
    save_picture(tmp_path / "p.png", *model_and_sample(rng, names=names))


@pytest.mark.filterwarnings("ignore:Glyph")  # a box in the place of a sign that the font lacks is no fault
def test_names_may_hold_signs_that_the_font_lacks(tmp_path, rng):
    save_picture(tmp_path / "p.png", *model_and_sample(rng, names=("\N{HIRAGANA LETTER A}", "\N{SNOWMAN}")))


def test_constant_columns_and_many_components(tmp_path, rng):
    saved, sample = model_and_sample(rng, 2, 40)
    flat = sample.x.copy()
    flat[:, 0] = 7.0
    save_picture(tmp_path / "p.png", saved, Sample(flat, sample.weight, complete=True))


def test_nothing_is_left_beside_the_picture_and_nothing_changed_in_matplotlib(tmp_path, rng):
    before = mpl.get_backend(auto_select=False)
    save_picture(tmp_path / "p.png", *model_and_sample(rng))
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    assert mpl.get_backend(auto_select=False) == before


def test_a_picture_takes_no_window_system(tmp_path):
    """In a process of its own: whatever runs beside this test may have asked for pyplot."""
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from tests.test_picture import model_and_sample, save_picture\n"
        "save_picture(Path(sys.argv[1]), *model_and_sample(np.random.default_rng(1)))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p.png")], check=True, cwd=Path(__file__).parents[1], timeout=300)


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path, rng):
    with pytest.raises(StorageError, match="cannot write"):
        save_picture(tmp_path / "nowhere" / "p.png", *model_and_sample(rng))


def test_equal_models_give_equal_pictures(tmp_path):
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name, *model_and_sample(np.random.default_rng(5)))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
