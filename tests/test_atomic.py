"""Results appear under their final name only when complete, whatever interrupts the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from avol.runtime.atomic import AtomicOutput, commit_all
from avol.runtime.errors import AvolError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_committed_file_replaces_the_old_result(tmp_path: Path) -> None:
    path = tmp_path / "clip.avol.mp4"
    path.write_text("old")
    with AtomicOutput(path) as output:
        output.temporary.write_text("new")
        assert path.read_text() == "old"
        output.commit()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["clip.avol.mp4"]


def test_the_temporary_name_is_hidden_in_the_same_directory_and_keeps_the_suffix(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "clip.avol.mp4") as output:
        assert output.temporary.parent == tmp_path
        assert output.temporary.name.startswith(".clip.avol.")
        assert output.temporary.suffix == ".mp4"
        with AtomicOutput(tmp_path / "clip.avol.mp4") as second:
            assert second.temporary != output.temporary


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, AvolError])
def test_an_error_leaves_the_old_result_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "clip.json"
    path.write_text("old")

    def write_half() -> None:
        with AtomicOutput(path) as output:
            output.temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["clip.json"]


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "clip.json") as output:
        output.temporary.write_text("complete, but not meant")
    assert names(tmp_path) == []


def test_ctrl_c_leaves_the_old_result_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text("old")
    program = """
        import sys, time
        from pathlib import Path
        from avol.runtime.atomic import AtomicOutput
        with AtomicOutput(Path(sys.argv[1])) as output:
            output.temporary.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT
    assert path.read_text() == "old"
    assert names(tmp_path) == ["clip.json"]


def test_of_several_results_none_appears_when_one_is_missing(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "a.json") as first, AtomicOutput(tmp_path / "b.json") as second:
        first.temporary.write_text("a")
        second.temporary.unlink()
        with pytest.raises(AvolError, match=r"b\.json: cannot be written"):
            commit_all(first, second)
    assert names(tmp_path) == []


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("existed", [True, False])
def test_of_several_results_none_appears_when_a_rename_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, existed: bool, has_links: bool
) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    if existed:
        for path in paths:
            path.write_text(f"old {path.name}")
    if not has_links:

        def refuse_link(*_: object) -> None:
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", refuse_link)
    rename = Path.replace

    def refuse_second(self: Path, target: Path) -> Path:
        if ".partial" in self.name and Path(target).name == "b.json" and self.read_text() == "new b.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse_second)
    with AtomicOutput(paths[0]) as a, AtomicOutput(paths[1]) as b, AtomicOutput(paths[2]) as c:
        for output in (a, b, c):
            output.temporary.write_text(f"new {output.path.name}")
        with pytest.raises(AvolError, match=r"b\.json: cannot be written: No space"):
            commit_all(a, b, c)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == (
        {path.name: f"old {path.name}" for path in paths} if existed else {}
    )


def test_several_results_appear_together(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "a.json") as first, AtomicOutput(tmp_path / "b.json") as second:
        first.temporary.write_text("a")
        second.temporary.write_text("b")
        commit_all(first, second)
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["a", "b"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "real.json", tmp_path / "link.json"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    with AtomicOutput(link) as output:
        output.temporary.write_text("new")
        output.commit()
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_unusable_places_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "directory.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, fact in [
        (tmp_path / "missing" / "clip.mp4", "does not exist"),
        (tmp_path / "file" / "clip.mp4", "does not exist"),
        (tmp_path / "directory.mp4", "not a regular file"),
        (tmp_path / "pipe.mp4", "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        with pytest.raises(AvolError, match=fact) as caught:
            AtomicOutput(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["directory.mp4", "file", "pipe.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AvolError, match="not writable"):
        AtomicOutput(tmp_path / "clip.mp4")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that takes no files")
def test_a_directory_that_takes_no_files_is_refused() -> None:
    def enter() -> None:
        with AtomicOutput(Path("/proc/clip.mp4")):
            pass

    with pytest.raises(AvolError, match=r"^/proc/clip\.mp4: "):
        enter()


@pytest.mark.parametrize("stem", ["x" * 251, "ü" * 125])
def test_the_longest_names_work(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.mp4"
    with AtomicOutput(path) as output:
        output.temporary.write_text("new")
        output.commit()
    assert names(tmp_path) == [path.name]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from avol.runtime.atomic import AtomicOutput
    with AtomicOutput(Path(sys.argv[1])) as output:
        output.temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["clip.avol.mp4", "[a]*.json", "x" * 251 + ".mp4", "plain"])
def test_what_a_killed_run_left_goes_with_the_next_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for _ in range(2):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert len(names(tmp_path)) == 1
    with AtomicOutput(path) as output:
        assert names(tmp_path) == [output.temporary.name]
        output.temporary.write_text("whole")
        output.commit()
    assert (names(tmp_path), path.read_text()) == ([name], "whole")


def test_only_orphans_of_the_same_result_go(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    kept = [".clip.12345678.partial.mp4", ".clip.1234567.partial.json", ".clip.1234567g.partial.json"]
    kept += [".clips.12345678.partial.json", "clip.12345678.partial.json", ".clip.json"]
    for name in [*kept, ".clip.12345678.partial.json"]:
        (tmp_path / name).write_text("x")
    os.mkfifo(tmp_path / ".clip.aaaaaaaa.partial.json")
    (tmp_path / ".clip.bbbbbbbb.partial.json").symlink_to(tmp_path / ".clip.json")
    (tmp_path / ".clip.cccccccc.partial.json").mkdir()
    with AtomicOutput(path):
        pass
    left = names(tmp_path)
    assert sorted([*kept, ".clip.bbbbbbbb.partial.json", ".clip.cccccccc.partial.json"]) == [
        name for name in left if name != ".clip.aaaaaaaa.partial.json"
    ]


def test_a_run_at_work_keeps_its_file(tmp_path: Path) -> None:
    """The same result from another process, from another thread, from around this one."""
    path = tmp_path / "clip.json"
    program = """
        import sys
        from pathlib import Path
        from avol.runtime.atomic import AtomicOutput
        with AtomicOutput(Path(sys.argv[1])) as output:
            output.temporary.write_text("of the other process")
            print("writing", flush=True)
            sys.stdin.readline()
            output.commit()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        with AtomicOutput(path) as first, AtomicOutput(path) as second:
            assert len(names(tmp_path)) == 3
            second.temporary.write_text("second")
            second.commit()
            first.temporary.write_text("first")
            first.commit()
            assert path.read_text() == "first"
        process.communicate("go on\n")
    assert (names(tmp_path), path.read_text()) == (["clip.json"], "of the other process")
