"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import check_dataframe_column_names_consistency, parametrize_with_checks

from streamgmm import GaussianMixture

EXCEPTIONS: dict[str, str] = {}

ESTIMATORS = [
    GaussianMixture(),
    GaussianMixture(2, random_state=0, max_iter=200),
    GaussianMixture(2, covariance_type="diag", missing="skip", random_state=0, max_iter=200),
]


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXCEPTIONS)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_column_names(estimator):
    check_dataframe_column_names_consistency("GaussianMixture", estimator)
