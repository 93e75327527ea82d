"""The PCA against scikit-learn's, on features of photos."""

import numpy
import pandas
import pytest
from conftest import SAMPLE, SHARED, run
from sklearn.decomposition import PCA

FOLDERS = [SAMPLE, SHARED / "photos" / "fruits43", SHARED / "photos" / "fruits4"]
SHARES = ["0.9", "0.95", "0.99", "0.999", "0.9999"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_equals_scikit_learn(folder, features_of, tmp_path):
    features = features_of(folder)
    answer = run("pca", features, "--out", tmp_path / "pca", "--json").json
    data = numpy.stack(pandas.read_parquet(features / "features").features).astype(numpy.float64)
    theirs = PCA(svd_solver="full").fit(data)
    rank = answer["rank"]
    assert rank == min(len(data) - 1, data.shape[1])

    eigenvalues = numpy.array(answer["explained_variance"])
    ratios = numpy.array(answer["explained_variance_ratio"])
    eigenvalue_error = numpy.abs(eigenvalues / theirs.explained_variance_[:rank] - 1).max()
    ratio_error = numpy.abs(ratios - theirs.explained_variance_ratio_[:rank]).max()
    assert eigenvalue_error < 1e-9 and ratio_error < 1e-10

    cumulative = numpy.cumsum(theirs.explained_variance_ratio_)
    assert answer["components_for"] == {share: int(numpy.argmax(cumulative >= float(share))) + 1 for share in SHARES}

    components = numpy.stack(pandas.read_parquet(tmp_path / "pca" / "components").vector)
    component_error = numpy.abs(components - theirs.components_[:rank]).max()
    projection = numpy.stack(pandas.read_parquet(tmp_path / "pca" / "projection").projection)
    projection_error = numpy.abs(projection - theirs.transform(data)[:, :rank]).max()
    print(f"{folder.name}: n {len(data)}, eigenvalues {eigenvalue_error:.1e}, ratios {ratio_error:.1e}, components {component_error:.1e}, projection {projection_error:.1e}")
    assert component_error < 1e-7 and projection_error < 1e-7

    first = run("pca", features, "--out", tmp_path / "one", "--components", 1, "--json").json
    assert first["components"] == 1 and first["explained_variance_ratio"] == answer["explained_variance_ratio"]
