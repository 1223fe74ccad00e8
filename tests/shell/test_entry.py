"""What stops a command, or stops reading it, is answered in a line whenever it comes."""

import os
import signal
import subprocess
import sys
import time

import pytest


def started(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


@pytest.mark.parametrize(
    ("by", "said", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)],
)
def test_a_command_that_is_still_loading_is_stopped_in_a_word(tmp_path, by, said, code):
    """However often the key is pressed."""
    process = started("kt_transfer.pretrain", cwd=tmp_path)
    # From the moment at which it answers signals itself, which takes Python a few hundredths.
    answers = f"/proc/{process.pid}/status"
    until = time.monotonic() + 30
    while not caught(answers) >> (signal.SIGTERM - 1) & 1 and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(by)
    time.sleep(0.005)
    process.send_signal(by)
    out, err = process.communicate(timeout=60)
    # A second one after the last line may find the interpreter gone already: the same to a shell.
    assert process.returncode in (code, -by)
    assert (out, err) == ("", f"{said}\n")
    assert not list(tmp_path.iterdir())


def caught(status) -> int:
    """The signals that a process handles, as bits."""
    with open(status) as file:
        (line,) = (line for line in file if line.startswith("SigCgt"))
    return int(line.split()[1], 16)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "kt_transfer", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_work_goes_on_though_nobody_reads_it(tmp_path):
    read, write = os.pipe()
    os.close(read)
    lines = "\n".join(
        [
            "import sys",
            "from kt_transfer.files.printing import say",
            "sys.stdout.reconfigure(line_buffering=True)",
            "say('one'); say('two'); open('done', 'w').write('whole')",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").read_text() == "whole"


def test_a_name_of_bytes_that_are_no_text_is_printed(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    words = ("kt_transfer", "inspect", "--data", f"images:{os.fsdecode(b'caf') + chr(0xDCE9)}")
    out, err = started(*words, cwd=tmp_path).communicate(timeout=60)
    assert out == ""
    assert "images:caf\\udce9 was given" in err
    assert "Traceback" not in err
