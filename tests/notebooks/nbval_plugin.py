"""What nbval needs to tell the truth here; load with ``-p tests.notebooks.nbval_plugin``."""

import os

import nbval.kernel
import pytest

OUTPUT_SECONDS = 60


def pytest_configure(config):
    # The kernel is this Python, not whatever "python3" means to the person who runs the tests.
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True
    if not hasattr(nbval.kernel.start_new_kernel, "plain"):
        nbval.kernel.start_new_kernel = start_as_for_a_learner(nbval.kernel.start_new_kernel)


def start_as_for_a_learner(plain):
    """Start kernels without the variable that tells ipykernel it is under test.

    With it ipykernel does not capture file descriptors, and what a child process prints is lost.
    """

    def start_new_kernel(*args, **options):
        environment = dict(options.pop("env", None) or os.environ)
        environment.pop("PYTEST_CURRENT_TEST", None)
        return plain(*args, env=threads_of_a_kernel(environment) | environment, **options)

    start_new_kernel.plain = plain
    return start_new_kernel


def threads_of_a_kernel(environment):
    """What a kernel's environment should say of threads, unless it says so itself.

    Beside other kernels that share the cores, each with a thread for every core would wait for the
    others most of the time.
    """
    return {"OMP_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in environment else {}


def pytest_ignore_collect(collection_path):
    # Text sources are notebooks, not modules: collecting doctests would run them.
    if collection_path.suffix == ".py" and collection_path.parts[-3:-1] == ("notebooks", "text"):
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            # A busy machine may take more than nbval's five seconds to pass a picture on.
            item.output_timeout = OUTPUT_SECONDS
