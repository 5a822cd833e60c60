"""Estimators: how is a regime trained and used through scikit-learn's interface?"""

import shutil
import tempfile
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, validate_data

from warmstart import api
from warmstart.data.rows.split import MIN_SPLIT_ROWS
from warmstart.data.tables.in_memory import rows_of
from warmstart.errors import InputError, count_phrase, join_phrases
from warmstart.types import Array

if TYPE_CHECKING:
    from warmstart.inference.predict import TrainedModel

TEXT_COLUMN, TARGET_COLUMN = "text", "target"  # names of columns that have none
PACKED_FILES = "_packed"  # in a pickle: the files of a model that lies in a temporary folder
LOADED: "weakref.WeakKeyDictionary[_Estimator, TrainedModel]" = weakref.WeakKeyDictionary()  # predicting sets nothing
# Checks of `sklearn.utils.estimator_checks` that fit fewer rows than can be split into training, validation and test.
FITS_FEW_ROWS = f"fits fewer than {MIN_SPLIT_ROWS} rows, of which some are held out for validation and test"
EXPECTED_FAILED_CHECKS = {
    "check_classifier_data_not_an_array": FITS_FEW_ROWS,
    "check_fit2d_1feature": FITS_FEW_ROWS,
    "check_n_features_in_after_fitting": FITS_FEW_ROWS,
    "check_regressors_no_decision_function": FITS_FEW_ROWS,
}
PARAMETERS = """

    Parameters
    ----------
    regime : str, default="linear"
        Regime to train, as `warmstart regimes` lists them. "auto": the one that a race recommends.
    base : str or None, default=None
        Pretrained model: a folder, a Python package or a Hugging Face id. None: the usual one for the task.
    lr : float or None, default=None
        Learning rate. None: searched on validation rows.
    epochs : float or None, default=None
        Passes over the training rows. None: the regime's own.
    max_length : int, default=256
        Tokens to read of each row.
    budget : str or None, default=None
        Time to spend, such as "10m". None: the default of `warmstart.fit`.
    settings : mapping or None, default=None
        Further keyword arguments of `warmstart.fit`, such as `{"dropout": 0.1}`.
    folder : path or None, default=None
        Where to keep what is trained: each fit makes a folder of its own in it. None: a temporary folder, which is
        deleted together with the estimator.
    random_state : int, default=0
        Seed.
    verbose : bool, default=False
        Show progress on stderr.

    Attributes
    ----------
    folder_ : str
        Folder of the run, for `warmstart.load`, `warmstart export` and `warmstart serve`.
    run_ : Run
        Its record: `run_.test` is the score on the test rows that the fit held out.
    n_features_in_ : int
        Number of columns, where X has columns.
    feature_names_in_ : ndarray of str
        Names of the columns, where X has names.
    """


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """What both kinds share: X as columns, the fit in a folder, the model loaded on first use."""

    _task: Literal["classification", "regression"]

    def __init__(
        self,
        regime: str = "linear",
        *,
        base: str | None = None,
        lr: float | None = None,
        epochs: float | None = None,
        max_length: int = 256,
        budget: str | None = None,
        settings: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        random_state: int = 0,
        verbose: bool = False,
    ):
        self.regime = regime
        self.base = base
        self.lr = lr
        self.epochs = epochs
        self.max_length = max_length
        self.budget = budget
        self.settings = settings
        self.folder = folder
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # `one_d_array` and `categorical` stay False, although lists of texts and categories are read: with the first
        # the checks try nothing but arrays [n] of numbers, with the second rows whose columns are the target itself.
        tags.input_tags.string = tags.input_tags.allow_nan = True
        return tags

    def _fit(self, columns: dict[str, Any], targets: list[Any], name: str) -> Self:
        if len(targets) < MIN_SPLIT_ROWS:
            rows = count_phrase(len(targets), "row was", "rows were")
            raise InputError(
                f"{rows} given (n_samples = {len(targets)}), but at least {MIN_SPLIT_ROWS} are needed.",
                "give more rows",
            )
        inside = tempfile.mkdtemp(prefix="fit-", dir=self._own_folder())
        settings: dict[str, Any] = {
            "text": list(columns) if len(columns) == 1 else None,  # several are written with their names, unless asked
            "task": self._task,
            "seed": self.random_state,
            "max_length": self.max_length,
            "base": self.base,
            "lr": self.lr,
            "epochs": self.epochs,
            "budget": self.budget,
        }
        settings = {key: value for key, value in settings.items() if value is not None} | dict(self.settings or {})
        LOADED.pop(self, None)
        if self.folder is None:
            self._owned = weakref.finalize(self, shutil.rmtree, inside, ignore_errors=True)
        target = name if name and name not in columns else next(n for n in _free(TARGET_COLUMN) if n not in columns)
        table = columns | {target: targets}
        try:
            self.run_ = api.fit(table, target, self.regime, inside, quiet=not self.verbose, **settings)
        except BaseException:
            shutil.rmtree(inside, ignore_errors=True)
            raise
        self.folder_ = inside
        return self

    def _own_folder(self) -> str | None:
        if self.folder is None:
            return None
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return str(self.folder)

    def _trained(self) -> "TrainedModel":
        if self not in LOADED:
            LOADED[self] = api.load(self.folder_, code=(self.settings or {}).get("model"))
        return LOADED[self]

    def _columns(self, X: Any, *, fitting: bool = False) -> dict[str, Any]:
        """X by names of columns: those that were given, `text` for texts, x0, x1 ... for an array."""
        if issparse(X):
            raise TypeError("Sparse input is not supported: give texts, a DataFrame or a dense array.")
        texts = None if isinstance(X, Mapping) or hasattr(X, "columns") else _texts(X)
        if texts is not None:
            if fitting:
                for name in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(name, None)
            elif hasattr(self, "n_features_in_"):
                raise ValueError(f"X is a list of texts, but the model was trained on {self.n_features_in_} columns.")
            return {TEXT_COLUMN: texts}
        if isinstance(X, Mapping):
            self._check_names(X, fitting)
            return dict(X)
        if hasattr(X, "columns"):
            twice = [str(name) for name, count in Counter(X.columns).items() if count > 1]
            if twice:
                said = join_phrases(twice, quote=True)
                raise InputError(f"more than one column of X is called {said}.", "rename one of them")
            validate_data(self, X, reset=fitting, skip_check_array=True)
            named = all(isinstance(name, str) for name in X.columns)
            names = list(X.columns) if named else [f"x{i}" for i in range(len(X.columns))]
            return {name: _cells(np.asarray(X[old])) for name, old in zip(names, X.columns, strict=True)}
        if not fitting and not hasattr(self, "n_features_in_"):
            raise ValueError("X has columns, but the model was trained on a list of texts.")
        array = validate_data(self, X, reset=fitting, dtype=None, ensure_all_finite=False)
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ValueError("Input X contains infinity or a value too large for its type.")
        return {f"x{i}": _cells(array[:, i]) for i in range(array.shape[1])}

    def _check_names(self, X: Mapping[str, Any], fitting: bool) -> None:
        names = np.array(list(X), dtype=object)
        if fitting:
            self.feature_names_in_, self.n_features_in_ = names, len(names)
        elif missing := set(getattr(self, "feature_names_in_", ())) - set(names):
            raise ValueError(f"X lacks the column {min(missing)!r} that the model was trained on.")

    def _outputs(self, X: Any) -> Array:
        """What the head gives for each row, float32 [n, k]."""
        columns = self._columns(X)
        trained = self._trained()
        wanted = trained.stored.schema.text
        new = trained.rows_of(api.table_of({name: columns[name] for name in wanted}))
        for said in new.warnings:
            warnings.warn(said, stacklevel=4)
        if not len(new.texts):
            return np.zeros((0, 0), dtype=np.float32)
        return trained.outputs(new.texts, new.columns)

    def __getstate__(self) -> dict[str, Any]:
        """With the model's own files where they lie in a temporary folder; else its folder is enough."""
        state = dict(super().__getstate__())
        state.pop("_owned", None)
        if self.folder is None and "folder_" in state:
            inside = Path(state["folder_"])
            files = [path for path in sorted(inside.rglob("*")) if path.is_file() and path.name != "table.parquet"]
            state[PACKED_FILES] = {str(path.relative_to(inside)): path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed = state.pop(PACKED_FILES, None)
        super().__setstate__(state)
        if packed is not None:
            self.folder_ = tempfile.mkdtemp(prefix="fit-")
            self._owned = weakref.finalize(self, shutil.rmtree, self.folder_, ignore_errors=True)
            for name, content in packed.items():
                path = Path(self.folder_, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


class WarmstartClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""Classifier of texts or tables, trained as one regime of warmstart.
{PARAMETERS}classes_ : ndarray
        The classes, sorted.

    Examples
    --------
    >>> from warmstart import WarmstartClassifier
    >>> reviews, stars = ["very good", "bad", "good", "very bad", "so good", "so bad"] * 20, [1, 0] * 60
    >>> WarmstartClassifier().fit(reviews, stars).predict(["good", "bad"])  # doctest: +SKIP
    array([1, 0])
    """

    _task = "classification"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts, a DataFrame, a mapping of columns, or an array [n, columns], with a class for each row.

        Raises InputError, a ValueError, where the rows cannot be learned from.
        """
        columns, y, name = _checked(self, X, y)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            only = str(self.classes_[0])
            raise InputError(f"y has only 1 class, {only!r}: nothing would be learned.", "give other rows")
        self._names = _class_names(self.classes_)
        rare = np.bincount(numbers) == 1
        kept = np.flatnonzero(~rare[numbers])
        if len(kept) < MIN_SPLIT_ROWS <= len(numbers):
            raise InputError(
                f"{len(numbers):,} rows were given, but {count_phrase(int(rare.sum()), 'class', 'classes')} of y "
                f"{'has' if rare.sum() == 1 else 'have'} a single row: {len(kept)} rows are left, and at least "
                f"{MIN_SPLIT_ROWS} are needed.",
                "give several rows of each class; for numbers, use WarmstartRegressor",
            )
        if rare.any():  # neither half of a split could have them and the other learn of them
            warnings.warn(
                f"left out: classes of y with a single row ({join_phrases(self.classes_[rare])}).", stacklevel=2
            )
            columns = {name: [values[i] for i in kept] for name, values in columns.items()}
        return self._fit(columns, [self._names[i] for i in numbers[kept]], name)

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, float64 [n, classes], in the order of `classes_`."""
        check_is_fitted(self, "folder_")
        outputs, trained = self._outputs(X), self._trained()
        if not len(outputs):
            return np.zeros((0, len(self.classes_)))
        known = trained.stored.task.probabilities(outputs, trained.stored.calibration)
        assert known is not None, "a classifier is trained to predict classes"
        place = {name: i for i, name in enumerate(self._names)}
        shares = np.zeros((len(outputs), len(self.classes_)))
        shares[:, [place[name] for name in trained.classes]] = known
        return shares

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, [n]."""
        best = self.predict_proba(X).argmax(axis=1)
        found: Array = self.classes_[best]
        return found


class WarmstartRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""Regressor on texts or tables, trained as one regime of warmstart.
{PARAMETERS}
    Examples
    --------
    >>> from warmstart import WarmstartRegressor
    >>> lamps, prices = ["small lamp", "large lamp", "small table", "large table"] * 20, [10, 20, 50, 90] * 20
    >>> WarmstartRegressor().fit(lamps, prices).predict(["large lamp"]).round()  # doctest: +SKIP
    array([30.])
    """

    _task = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts, a DataFrame, a mapping of columns, or an array [n, columns], with a number for each row.

        Raises InputError, a ValueError, where the rows cannot be learned from.
        """
        columns, y, name = _checked(self, X, y)
        numbers = np.asarray(y, dtype=np.float64)
        return self._fit(columns, numbers.tolist(), name)

    def predict(self, X: Any) -> Array:
        """The predicted number of each row, float64 [n], in the target's units."""
        check_is_fitted(self, "folder_")
        outputs, stored = self._outputs(X), self._trained().stored
        if not len(outputs):
            return np.zeros(0)
        return np.asarray(stored.task.predictions(outputs, {})["prediction"], dtype=np.float64)


def _checked(estimator: _Estimator, X: Any, y: Any) -> tuple[dict[str, Any], Array, str]:
    """X as columns, y as an array [n], and the name of y."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    columns = estimator._columns(X, fitting=True)
    target = column_or_1d(y, warn=True)
    if target.dtype.kind in "fc":
        assert_all_finite(target, input_name="y")
    missing = [i for i, each in enumerate(rows_of(target)) if each is None]
    if missing:
        rows = count_phrase(len(missing), "row", "rows")
        raise InputError(f"Input y contains NaN or None in {rows}, first in row {missing[0] + 1}.", "leave them out")
    indexable(*columns.values(), target)
    name = getattr(y, "name", None)
    return columns, target, name if isinstance(name, str) else ""


def _texts(X: Any) -> list[Any] | None:
    """X as texts, None where it is no sequence of them."""
    if isinstance(X, str):
        raise ValueError("X is one text where a list of texts was expected: write [text].")
    if isinstance(X, Sequence) and all(isinstance(each, str) or each is None for each in X) and len(X):
        return list(X)
    array = X if hasattr(X, "ndim") else None
    if array is None or array.ndim != 1 or len(array) == 0:
        return None
    cells = np.asarray(array, dtype=object)
    return list(cells) if all(isinstance(each, str) or each is None for each in cells) else None


def _cells(values: Array) -> list[Any]:
    """The cells of one column: numbers, or texts and None where an array holds objects."""
    if values.dtype.kind != "O":
        return list(values.tolist())
    cells = [None if each is None or each != each else each for each in values.tolist()]
    odd = next((each for each in cells if not isinstance(each, str | int | float | None)), None)
    if odd is not None and not hasattr(odd, "isoformat"):
        raise TypeError(f"argument must be a string or a number, not {type(odd).__name__!r}")
    if all(isinstance(each, int | float | None) for each in cells) or not any(isinstance(e, str) for e in cells):
        return cells
    return [each if each is None or isinstance(each, str) else str(each) for each in cells]


def _class_names(classes: Array) -> list[str]:
    """Names for the classes in the record: as they print, where that tells them apart and stands for nothing else.

    Texts that are all true or false would be read as these, and texts in brackets as lists of labels.
    """
    names = [str(each) for each in classes.tolist()]
    plain = all(name and name == name.strip() and name[0] not in "[({" for name in names)
    if plain and len(set(names)) == len(names) and not {name.lower() for name in names} <= {"true", "false"}:
        return names
    return [f"class {i}" for i in range(len(names))]


def _free(name: str) -> Any:
    yield name
    yield from (f"{name}_{i}" for i in range(10_000))
