"""The exceptions and warnings that every module of the package raises.

Each error message is one line that names the file, row or field, the value found, what was
expected and the remedy. The command line turns an error into its ``exit_code``.
"""

from __future__ import annotations


class NoduleNetError(Exception):
    """Base of all errors that a user can cause and put right."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show instead of a traceback: the command line's one line."""
        return [f"error: {self}"]


class UsageError(NoduleNetError):
    """An argument or an option is missing, unknown or contradicts another."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or override does not fit the schema; names the field's path."""


class MissingDependencyError(UsageError, ImportError):
    """An optional dependency is not installed; names the pip command that installs it."""


class DataError(NoduleNetError):
    """Input data cannot be used."""

    exit_code = 3


class ScanError(DataError):
    """A scan is missing, unreadable or not usable as a CT in HU."""


class GeometryError(ScanError):
    """A scan's slices, spacing, origin or direction are missing or inconsistent."""


class SeriesSelectionError(ScanError):
    """A path holds no CT series, or several and none was chosen."""


class PointOutsideScanError(DataError):
    """A point in LPS millimetres lies outside the scan."""


class FindingsError(DataError):
    """A table of findings (annotations, candidates, points) is wrong; names file and row."""


class StoreError(DataError):
    """A patch store or patch archive is missing, damaged or does not fit the spec."""


class FoldsError(DataError):
    """Folds cannot be made from these findings, or would leak patients."""


class PredictionsError(DataError):
    """A table of predictions is missing columns or holds impossible values."""


class RunError(DataError):
    """A run directory is missing, incomplete or belongs to another configuration."""


class BundleError(DataError):
    """A bundle is missing, damaged or of an unknown version."""


class NoduleNetWarning(UserWarning):
    """Something that was tolerated and that the user should know of."""
