"""What a person can mend. A message says what, where, and what to do next; never a patient's value or a note's text."""


class MmnError(ValueError):
    """The kin of every error that a person can mend; the command line prints it without a traceback."""


class ContractError(MmnError):
    """A table breaks its contract: a column, key, type, unit or range is not as promised."""


class RawFileError(MmnError):
    """A raw file is missing, cut short, or not what its name says."""


class ParamsError(MmnError):
    """`params.yaml` or a command-line setting names something unknown or impossible."""


class StaleInputError(MmnError):
    """An input was made from something other than what is there now."""


class CohortError(MmnError):
    """The raw data is readable but gives no usable cohort: too few items, subjects or labels."""
