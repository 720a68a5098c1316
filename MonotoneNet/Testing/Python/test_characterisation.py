"""Prop. 5: x -> A relu(B x) with B onto is monotone iff A = A+ D, B = D' B+ with equal signs."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

entries = st.integers(-3, 3)
signs = st.sampled_from([-1.0, 1.0])


def matrix(rows, columns, elements=entries):
    line = st.lists(elements, min_size=columns, max_size=columns)
    return st.lists(line, min_size=rows, max_size=rows).map(lambda m: np.array(m, dtype=float))


def gradients(A, B):
    """All Jacobians the map has: one for each set of active rows, which B, being onto, reaches."""
    hidden = len(B)
    for active in np.ndindex(*(2,) * hidden):
        yield A @ np.diag(np.array(active, dtype=float)) @ B


def is_monotone(A, B):
    return all((jacobian >= 0).all() for jacobian in gradients(A, B))


def has_the_form(A, B):
    """A column of A and the row of B it meets have one sign each, the same, or do not count."""
    for column, row in zip(A.T, B, strict=True):
        if not column.any():
            continue
        same = [(sign * column >= 0).all() and (sign * row >= 0).all() for sign in (1, -1)]
        if not any(same):
            return False
    return True


@given(A=matrix(2, 3), B=matrix(3, 3))
def test_both_directions_on_any_matrices(A, B):
    assume(np.linalg.matrix_rank(B) == 3)
    assert is_monotone(A, B) == has_the_form(A, B)


@given(A=matrix(2, 3, st.integers(0, 3)), B=matrix(3, 3, st.integers(0, 3)), s=matrix(1, 3, signs))
def test_the_form_is_enough_and_is_a_split_rectifier(A, B, s):
    D = np.diag(s[0])
    assert is_monotone(A @ D, D @ B)
    # A+ D relu(D B+ x): relu for sign +, -relu(-.) for sign -, between positive weights.
    x = np.random.default_rng(0).normal(size=(3, 20))
    hidden = B @ x
    split = np.where(s.T > 0, np.maximum(hidden, 0), np.minimum(hidden, 0))
    np.testing.assert_allclose((A @ D) @ np.maximum(D @ B @ x, 0), A @ split)


@given(A=matrix(1, 2, st.integers(1, 3)), B=matrix(2, 2, st.integers(1, 3)))
def test_one_wrong_sign_is_seen(A, B):
    wrong = A * [[1, -1]]
    assert is_monotone(A, B)
    assert not is_monotone(wrong, B)
    assert not has_the_form(wrong, B)
