"""The course's learners that are not networks, with scikit-learn's interface: `fit`, `predict`, `score`.

They compute on any device, by keyword: ``KNeighborsClassifier(n_neighbors=5, device="cuda").fit(X, y)``.
"""

from gpunn.classic import batch_normalization
from gpunn.classic.coin import Coin
from gpunn.classic.estimator import Classifier, Estimator, Regressor
from gpunn.classic.gaussian import GaussianClassifier
from gpunn.classic.least_squares import LeastSquares
from gpunn.classic.linear import LogisticRegression, SoftmaxRegression
from gpunn.classic.neighbors import KNeighborsClassifier
from gpunn.classic.polynomial import PolynomialFeatures, PolynomialRegression
from gpunn.classic.ranking import RankingSVM
from gpunn.classic.structured import StructuredSVM
from gpunn.classic.structured_problem import MultilabelProblem, StructuredProblem, TreeProblem
from gpunn.classic.svm import LinearSVM, MulticlassSVM
from gpunn.classic.validation import (
    GridSearch,
    KFold,
    Split,
    StratifiedKFold,
    cross_val_score,
    train_validation_test_split,
)

__all__ = [
    "Classifier",
    "Coin",
    "Estimator",
    "GaussianClassifier",
    "GridSearch",
    "KFold",
    "KNeighborsClassifier",
    "LeastSquares",
    "LinearSVM",
    "LogisticRegression",
    "MulticlassSVM",
    "MultilabelProblem",
    "PolynomialFeatures",
    "PolynomialRegression",
    "RankingSVM",
    "Regressor",
    "SoftmaxRegression",
    "Split",
    "StratifiedKFold",
    "StructuredProblem",
    "StructuredSVM",
    "TreeProblem",
    "batch_normalization",
    "cross_val_score",
    "train_validation_test_split",
]
