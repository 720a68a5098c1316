"""What went wrong, in words, and advice that was not followed already."""

import subprocess
import sys
from pathlib import Path

import pytest
from AttribSegLib.job_failure import explain_failure

TRAIN = ["train", "cohort.csv", "--out", "b"]
TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 3, in f', "    g()"]

CUDA_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
HOST_MEMORY = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 8589934592 bytes."
)


def explained(line, arguments=TRAIN, code=1):
    found = explain_failure(code, [*TRACEBACK, line], arguments)
    assert "Traceback" not in found.message
    assert "\n" not in found.message
    return found


@pytest.mark.parametrize(
    ("line", "message", "advice"),
    [
        (CUDA_MEMORY, "memory of the graphics card", "device cpu"),
        ("RuntimeError: CUDA error: out of memory", "memory of the graphics card", "device cpu"),
        (HOST_MEMORY, "computer's memory", "batch size"),
        ("MemoryError", "computer's memory", "network width"),
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 4.0 GiB for an array",
            "computer's memory",
            "2 mm",
        ),
        ("MemoryError: std::bad_alloc", "computer's memory", "2 mm"),
        ("OSError: [Errno 12] Cannot allocate memory", "computer's memory", "2 mm"),
        (
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "cannot be used",
            "device cpu",
        ),
        ("AssertionError: Torch not compiled with CUDA enabled", "cannot be used", "PyTorch"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "cannot be used", "PyTorch"),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "driver failed", "driver"),
        ("RuntimeError: CUDA error: an illegal memory access", "driver failed", "device cpu"),
        ("ModuleNotFoundError: No module named 'torch'", "torch is missing", "PyTorch extension"),
        ("ModuleNotFoundError: No module named 'monai.networks'", "monai is missing", "monai"),
        ("OSError: [Errno 28] No space left on device", "disk is full", "free some space"),
        ("OSError: [Errno 30] Read-only file system: '/x'", "cannot be written", "of your own"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "cannot be written", "of your own"),
    ],
)
def test_known_causes(line, message, advice):
    found = explained(line)
    assert message in found.message
    assert any(advice in each for each in found.advice)


@pytest.mark.parametrize("code", [-9, 137])
def test_killed_without_a_word_is_memory(code):
    found = explain_failure(code, "", TRAIN)
    assert found.message == "the computer's memory ran out"
    assert any("batch size" in each for each in found.advice)


def test_a_real_memory_error():
    """The text that Python itself prints."""
    done = subprocess.run(
        [sys.executable, "-c", "x = bytearray(2**62)"],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    found = explain_failure(done.returncode, done.stderr, ["preprocess", "c.csv"])
    assert found.message == "the computer's memory ran out"
    assert "2 mm" in found.advice[0]


def advice(line, *arguments, code=1):
    return " ".join(explained(line, arguments, code).advice)


def test_what_was_done_already_is_not_advised():
    assert "device cpu" not in advice(CUDA_MEMORY, *TRAIN, "--device", "cpu")
    assert "device cpu" not in advice(CUDA_MEMORY, *TRAIN, "--device=cpu")
    assert "device cpu" in advice(CUDA_MEMORY, *TRAIN, "--device", "cuda")
    # A command without the option.
    assert "device" not in advice(CUDA_MEMORY, "preprocess", "c.csv")
    assert "batch size: 4 instead of 8" in advice(HOST_MEMORY, *TRAIN, "--batch-size", "8")
    assert "batch size: 2 instead of 4" in advice(HOST_MEMORY, *TRAIN, "--batch-size=4")
    assert "batch size" not in advice(HOST_MEMORY, *TRAIN, "--batch-size", "2")
    assert "width: 0.125 instead of 0.25" in advice(HOST_MEMORY, *TRAIN, "--width", "0.25")
    assert "1 instead of 4" in advice("MemoryError", "preprocess", "c.csv", "--jobs", "4")
    assert "processes" not in advice("MemoryError", "preprocess", "c.csv", "--jobs", "1")
    assert "2 mm" in advice("MemoryError", "preprocess", "c.csv")
    assert "2 mm" not in advice("MemoryError", "preprocess", "c.csv", "--spacing", "2")
    assert "2 mm" not in advice("MemoryError", "simulate", "out")
    for command in ("detect", "evaluate"):
        assert "trained at 2 mm" in advice("MemoryError", command)


def test_figures_of_the_recipe_s_file(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"batch_size": 8, "width": 0.25}', encoding="utf-8")
    in_file = explained(HOST_MEMORY, [*TRAIN, "--recipe", str(recipe)]).advice
    assert in_file[:2] == (
        "a smaller batch size: 4 instead of 8",
        "a smaller network width: 0.125 instead of 0.25",
    )
    recipe.write_text('{"batch_size": 2, "width": "x"}', encoding="utf-8")
    in_file = explained(HOST_MEMORY, [*TRAIN, "--recipe", str(recipe)]).advice
    assert in_file[0] == "a smaller network width"
    for broken in ("[]", "{"):
        recipe.write_text(broken, encoding="utf-8")
        assert "batch size" in advice(HOST_MEMORY, *TRAIN, "--recipe", str(recipe))


def test_a_model_of_2_mm_is_not_told_to_be_one():
    bundle = Path(__file__).resolve().parents[3] / "Resources" / "DemoBundle"
    told = advice("MemoryError", "detect", "a.nii", "--bundle", str(bundle))
    assert "close other programs" in told
    assert "2 mm" not in told


def test_panels_are_not_told_options_of_the_command_line():
    for line in (CUDA_MEMORY, HOST_MEMORY):
        for command in ("train", "detect", "evaluate", "preprocess", "inspect"):
            assert "--" not in advice(line, command, "--jobs", "4")


def test_the_command_s_own_words_pass_through():
    lines = ["checked 3", "attribseg: error: c.csv: 2 faults", "  row 2: x", "  row 3: y", "bye"]
    assert explain_failure(2, lines, TRAIN).message == "c.csv: 2 faults\n  row 2: x\n  row 3: y"
    usage = ["usage: attribseg train [-h]", "attribseg train: error: argument --epochs: bad"]
    assert explain_failure(2, usage, TRAIN).message == "argument --epochs: bad"
    several = "attribseg: 1 of 2 images failed:\n  a.nii: no such file"
    found = explain_failure(2, several, ["detect"])
    assert found.message == "1 of 2 images failed:\n  a.nii: no such file"
    cases = ["attribseg: failed: a: no overlap", "attribseg: failed: b: empty"]
    found = explain_failure(2, cases, ["preprocess"])
    assert found.message == "2 cases failed\n  a: no overlap\n  b: empty"


def test_own_words_on_memory_and_devices_have_advice_too():
    line = "attribseg: error: a.nii: out of memory on cuda:0; use --device cpu, 2 mm images"
    found = explain_failure(2, [line], ["detect", "a.nii"])
    assert found.message == line.removeprefix("attribseg: error: ")
    assert "device cpu" in found.advice[0]
    line = "attribseg: error: device cuda: no CUDA device is available to this build of PyTorch"
    assert "device cpu" in explain_failure(2, [line], TRAIN).advice[0]
    line = "attribseg: error: /x: no permission to write; choose another output folder"
    assert "of your own" in explain_failure(2, [line], TRAIN).advice[0]
    # Words in the name of a file are no cause.
    line = "attribseg: error: c.csv: no such file"
    assert explain_failure(2, ["No space left on device", line], TRAIN).advice == ()


def test_what_nobody_knows():
    found = explained("ValueError: math domain error")
    assert found.message.endswith("ValueError: math domain error")
    assert "log" in found.advice[0]
    assert len(explained("ValueError: " + 5000 * "x").message) < 400
    assert "compiled code" in explain_failure(-11, ["loading"], TRAIN).message
    # A launcher passes on that it failed, not how.
    assert "memory" in explain_failure(1, ["loading"], TRAIN).message
    assert explain_failure(None, [], []).message
