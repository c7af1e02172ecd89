"""The words that driver and executors share: statuses, error classes, error types. Imports nothing.

Tables store these strings, SQL groups by them, and docs/downloading.md explains each. A value that is written once never
changes its meaning.
"""

from __future__ import annotations

# --- status of a source (table `sources`) and of an outcome (table `media`) ---
PENDING = "pending"
OK = "ok"
FAILED = "failed"
SKIPPED = "skipped"
GONE = "gone"
# Only of a source's row of `media`, and of reports: it was asked for again and is what it was, so that nothing was decoded.
# Its status in `sources`, its samples and its bytes stay what and where they were: in rows of batches before.
UNCHANGED = "unchanged"

# --- role of a row of `media` ---
ROLE_SOURCE = "source"
ROLE_SAMPLE = "sample"

# --- the streams of a sample ---
STREAMS = ("video", "audio", "image")

# --- steps: what a job does ---
STEP_INGEST = "ingest"
STEP_DOWNLOAD = "download"
STEP_SUBSAMPLE = "subsample"
STEP_RETRY = "retry"
STEP_IMPORT = "import"

# --- identities of imported sources begin so; no URL does ---
IMPORTED = "tar:"

# --- the error class of a list of videos, which became sources ---
EXPANDED = "expanded"

# --- error classes: True where the fault may pass by itself, so that a later run tries again ---
ERROR_CLASSES: dict[str, bool] = {
    "timeout": True,
    "too_slow": True,
    "reset": True,
    "refused": True,
    "dns": True,
    "http_5xx": True,
    "rate_limited": True,
    "truncated": True,
    "host_down": True,
    "storage": True,
    "http_401": False,
    "http_403": False,
    "http_404": False,
    "http_410": False,
    "http_4xx": False,
    "redirects": False,
    "tls": False,
    "too_large": False,
    "empty": False,
    "not_media": False,
    "not_found": False,
    "forbidden_address": False,
    "forbidden_location": False,
    "forbidden_reference": False,
    "opted_out": False,
    "login_required": False,
    "geo_blocked": False,
    "live": False,
    "playlist": False,
    EXPANDED: False,
    "platform_error": True,
    "platform_crashed": False,
    "platform_timeout": True,
    "platform_memory": False,
    "decoder_crashed": False,
    "decoder_timeout": False,
    "decoder_memory": False,
    "decoder_error": False,
    "unsupported": False,
    "model_crashed": False,
    "model_timeout": False,
    "model_memory": False,
    "model_error": False,
    # Nothing is wrong with these sources, but they give no sample: they are skipped.
    "not_selected": False,
    "no_clip": False,
    "no_video": False,
    "no_audio": False,
    "no_image": False,
    "suppressed": False,
    # A fault of this package itself; a sample must not take a job down all the same.
    "internal": False,
}


# Classes of sources that are skipped and never failed.
SKIP_CLASSES = frozenset(("not_selected", "no_clip", "no_video", "no_audio", "no_image", "suppressed", EXPANDED))


def passes_by_itself(error_class: str) -> bool:
    """Whether a failure of this class is tried again by a later run without being asked.

    Args:
        error_class: a name of `ERROR_CLASSES`.

    Raises:
        KeyError: if the name is no error class.
    """
    return ERROR_CLASSES[error_class]


# --- exit codes of the command line ---
EXIT_DONE = 0
EXIT_INTERNAL = 1
EXIT_USER = 2
EXIT_TOO_MANY_FAILED = 3
EXIT_INTERRUPTED = 130


class V2dError(Exception):
    """Base of all errors that this package raises on purpose. The message is one sentence for the user."""


class ConfigError(V2dError):
    """A setting is unknown, of the wrong type, or impossible."""


class InputError(V2dError):
    """An input cannot be read, or lacks a column."""


class SessionError(V2dError):
    """Spark, Java or Delta is missing or does not fit."""


class DatasetError(V2dError):
    """A dataset is missing, is no dataset, or was made by a newer version."""


class NoDatasetError(DatasetError):
    """There is no dataset at a place, which was looked at."""


class StorageError(V2dError):
    """A disk or a store did not take what was written, or give what was read: no mistake of the user's."""


class LeaseHeldError(V2dError):
    """Another process is writing to the dataset."""


class QueryError(V2dError):
    """A SQL text is wrong or would change something."""


class SampleError(V2dError):
    """One sample is bad. It becomes a row, never the end of a job.

    Args:
        error_class: a name of `ERROR_CLASSES`.
        message: what happened, for a person; holds no credentials.
        retry_after_s: seconds for which a server asked to be left alone; None where it asked nothing.
        was_tried: whether the sample was tried at all; one that was not has as many attempts left as before.
    """

    def __init__(self, error_class: str, message: str, retry_after_s: float | None = None, was_tried: bool = True) -> None:
        if error_class not in ERROR_CLASSES:
            raise ValueError(f"{error_class!r} is no error class")
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.retry_after_s = retry_after_s
        self.was_tried = was_tried

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str, float | None, bool]]:
        return (type(self), (self.error_class, self.message, self.retry_after_s, self.was_tried))
