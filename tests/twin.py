"""The plain NumPy twin of the kernels and of the M-step: dense, centred, two passes over rows held in memory.

Every formula stands here once more in its textbook form, with an (n K) table of responsibilities and full covariance matrices for
every family. Nothing is shared with the package but the names of the families.
"""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp


def log_density(x, means, covariances):
    """log N(x_i | m_k, V_k), (n K), for dense covariances (K D D)."""
    n, d = x.shape
    out = np.empty((n, len(means)))
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        factor = np.linalg.cholesky(covariance)
        z = solve_triangular(factor, (x - mean).T, lower=True)
        out[:, k] = -0.5 * (z**2).sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * d * np.log(2 * np.pi)
    return out


def log_joint(x, weights, means, covariances):
    """log pi_k + log N(x_i | m_k, V_k), (n K)."""
    with np.errstate(divide="ignore"):
        return np.log(weights) + log_density(x, means, covariances)


def score(joint):
    """log p(x_i), (n)."""
    return logsumexp(joint, axis=1)


def soft(joint):
    """Responsibilities (n K)."""
    return np.exp(joint - score(joint)[:, None])


def hard(joint):
    """1 for the first component of largest density, 0 for the rest, (n K)."""
    return np.eye(joint.shape[1])[joint.argmax(axis=1)]


def log_likelihood(joint, sample_weight, *, assign_hard=False):
    """Sum over rows of weight times log density (of the best component where rows are assigned to one)."""
    taking_part = sample_weight > 0
    value = joint.max(axis=1) if assign_hard else score(joint)
    return (sample_weight[taking_part] * value[taking_part]).sum()


def moments(x, shares, centres):
    """n (K), sum r (x-c) (K D) and sum r (x-c)(x-c)^T (K D D); shares (n K) hold responsibility times row weight."""
    difference = x[:, None, :] - centres
    first = np.einsum("nk,nkd->kd", shares, difference)
    second = np.einsum("nk,nkd,nke->kde", shares, difference, difference)
    return shares.sum(axis=0), first, second


def structured(family, second):
    """Dense second moments (K D D) in the shape in which the family keeps them: packed, diagonal, summed."""
    d = second.shape[-1]
    kept = second[:, *np.tril_indices(d)] if family in ("gaussian_full", "gaussian_tied") else np.diagonal(second, axis1=1, axis2=2)
    if family in ("gaussian_spherical", "gaussian_tied_spherical"):
        kept = kept.sum(axis=1, keepdims=True)
    return kept.sum(axis=0, keepdims=True) if family in ("gaussian_tied", "gaussian_tied_spherical") else kept


def m_step(family, x, shares, reg_covar=0.0):
    """Weights (K), means (K D) and covariances in the family's own shape, by the textbook: means first, scatter about them."""
    n = shares.sum(axis=0)
    means = shares.T @ x / n[:, None]
    scatter = moments(x, shares, means)[2]
    d = x.shape[1]
    if family == "gaussian_full":
        covariances = scatter / n[:, None, None] + reg_covar * np.eye(d)
    elif family == "gaussian_tied":
        covariances = scatter.sum(axis=0) / n.sum() + reg_covar * np.eye(d)
    elif family == "gaussian_diag":
        covariances = np.diagonal(scatter, axis1=1, axis2=2) / n[:, None] + reg_covar
    elif family == "gaussian_spherical":
        covariances = np.trace(scatter, axis1=1, axis2=2) / n / d + reg_covar
    elif family == "gaussian_tied_spherical":
        covariances = np.trace(scatter.sum(axis=0)) / n.sum() / d + reg_covar
    else:
        raise NotImplementedError(f"the twin has no M-step for {family!r}: write it beside the new family")
    return n / n.sum(), means, covariances


def expected_log_likelihood(x, shares, weights, means, covariances):
    """Q: what the M-step maximises, with the shares held fixed."""
    return (shares * log_joint(x, weights, means, covariances)).sum()
