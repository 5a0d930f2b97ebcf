"""What goes wrong without being a bug: the text says what, and what to do. The command line prints it, on one line."""


class Problem(Exception):
    """Every other one is one of these."""


class BadRequest(Problem):
    """The user asked for something that cannot be."""


class EnvironmentProblem(Problem):
    """No environment can be had; the text is one line that says why and what to do."""
