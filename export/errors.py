"""The error that means "this model could not be brought into a file that computes the same"."""


class ExportError(RuntimeError):
    """An export that was given up: one line with what failed, and no file under the final name.

    Not the caller's mistake, as `zoo.errors.InputError` is: the converter does not know an
    operation, or what it made cannot be run or computes something else. The command line prints it
    without a traceback and exits with 1.
    """
