"""An uncaught UserError ends as one sentence; everything else as Python shows it."""

from __future__ import annotations

import subprocess
import sys

from gan3d_ns.errors import UserError, user_sentence

SENTENCE = "no images in 'cats': pass --data FOLDER with .png or .jpg files"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_user_error_is_one_sentence() -> None:
    result = run_python(f"import gan3d_ns\nraise gan3d_ns.errors.UserError({SENTENCE!r})")
    assert result.stderr == f"error: {SENTENCE}\n"
    assert result.returncode == 1


def test_other_errors_keep_their_traceback() -> None:
    result = run_python("import gan3d_ns\n1 / 0")
    assert result.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in result.stderr
    assert result.returncode == 1


def test_the_hook_before_is_kept_and_ours_installed_once() -> None:
    result = run_python(
        "import sys\n"
        "sys.excepthook = lambda kind, error, traceback: print('before', kind.__name__)\n"
        "from gan3d_ns.errors import install_excepthook\n"
        "hook = sys.excepthook\n"
        "install_excepthook()\n"
        "assert sys.excepthook is hook\n"
        "1 / 0"
    )
    assert result.stdout == "before ZeroDivisionError\n"


def test_sentence_of_a_training_worker() -> None:
    # What torch.multiprocessing.spawn raises in the parent, read by its text.
    process_raised = type("ProcessRaisedException", (Exception,), {})
    traceback = (
        f"\n\n-- Process 1 terminated with the following error:\nTraceback ...\ngan3d_ns.errors.UserError: {SENTENCE}\n"
    )
    assert user_sentence(process_raised(traceback)) == SENTENCE
    assert user_sentence(process_raised("Traceback ...\nValueError: other\n")) is None
    assert user_sentence(ValueError(traceback)) is None
    assert user_sentence(UserError(SENTENCE)) == SENTENCE
