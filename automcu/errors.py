"""Every error AutoMCU raises on purpose.

A message is one sentence that ends with the remedy. Classes take positional arguments and hand them to
`Exception.__init__`, so that an error survives pickling on its way between processes and Ray actors.
"""


class AutoMCUError(Exception):
    """Base of all errors that AutoMCU raises on purpose; its text is fit to be shown to a user as it is."""

    exit_code = 2


class ConfigError(AutoMCUError):
    """The configuration cannot be run: an unknown name or key, or a value out of range."""


class DataError(AutoMCUError):
    """A data set is missing, corrupt, or disagrees with its task."""


class InvalidArchitecture(AutoMCUError):
    """An architecture lies outside its search space, or cannot be built on the given input shape."""


class BudgetTooSmall(AutoMCUError):
    """Not even the smallest network of the search space fits the budget on this board."""


class OutputError(AutoMCUError):
    """The run folder cannot be written (permission, full disk), or what lies in it is not what was written."""


class InfraFailure(AutoMCUError):
    """The work failed for a reason outside the candidate: the same work elsewhere, or later, may succeed."""


class OutOfMemory(InfraFailure):
    """The machine, or its GPU, has not the memory that a training takes."""


class CandidateFailure(AutoMCUError):
    """The work would fail anywhere; the reason goes back to the proposer as a finding."""


class LLMError(AutoMCUError):
    """The language model could not be reached, refused, or never gave a valid reply."""
