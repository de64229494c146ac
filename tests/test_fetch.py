"""Fetching clips: lists as they are published, a real server, every kind of refusal, and going on after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.apps.cli import main
from avol.runtime.errors import AvolError
from avol.train.data.fetch.download import FETCHED, Outcome, fetch_segment, outcome_of, streams_of
from avol.train.data.fetch.fetch import BLOCKS_BEFORE_STOP, Manners, fetch_all
from avol.train.data.fetch.journal import Journal
from avol.train.data.fetch.segments import AUDIOSET_INSTRUMENTS, Segment, read_segments, with_classes
from avol.train.data.listing import list_videos
from avol.train.data.split import video_id_of
from conftest import SHARED_DATA
from media_factory import AudioTrack, VideoTrack, bursts, read_number, write_media
from web_server import WebServer, cut_off, refuse

pytest.importorskip("yt_dlp")

QUICK = Manners(jobs=2, interval_seconds=0.0, pause_seconds=0.0)
RATE, SOUND_HZ = 25, 16_000
SECONDS = 9.0
LOUD_AT = (1.5, 5.0, 8.0)
ANNOTATIONS = SHARED_DATA / "annotations"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("site")
    sound = AudioTrack(
        samples=bursts(LOUD_AT, seconds=SECONDS, sample_rate=SOUND_HZ), sample_rate=SOUND_HZ, codec="aac"
    )
    write_media(folder / "film.mp4", VideoTrack(seconds=SECONDS, rate=RATE), sound)
    write_media(folder / "mute.mp4", VideoTrack(seconds=3.0, rate=RATE), None)
    write_media(folder / "turned.mp4", VideoTrack(seconds=3.0, rate=RATE, rotation=90), sound)
    (folder / "page.html").write_text("<html><body>no film here</body></html>")
    answers = {
        "/forbidden.mp4": refuse(403),
        "/busy.mp4": refuse(429, Retry_After="60"),
        "/broken.mp4": refuse(503),
        "/cut.mp4": cut_off((folder / "film.mp4").read_bytes(), 0.5),
    }
    with WebServer(folder, answers) as server:
        yield server


def segment(url: str = "http://x/film.mp4", start: float = 0.0, end: float = 2.0, *labels: str) -> Segment:
    return Segment(video_id="abcdefghijk", url=url, start_seconds=start, end_seconds=end, labels=labels)


def write_list(path: Path, *rows: str, header: str = "url,start_seconds,end_seconds,label") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# --- Lists


def test_a_list_of_audioset_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / "eval_segments.csv"
    path.write_text(
        "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n-_aaaaaaaaa, 30.500, 40.500, "/m/0gwtp"\n'
    )
    names = tmp_path / "names.csv"
    names.write_text('index,mid,display_name\n0,/m/068hy,"Domestic animals, pets"\n1,/m/0gwtp,Accordion\n')
    first, second = read_segments(path, class_names=names)
    assert first.labels == ("Domestic animals, pets", "/m/07q6cd_")
    assert first.url == "https://www.youtube.com/watch?v=--4gqARaEJE"
    assert (second.start_seconds, second.end_seconds, second.labels) == (30.5, 40.5, ("Accordion",))
    assert with_classes([first, second], ["accordion"]) == [second]
    assert video_id_of(second.file_name) == second.video_id == "-_aaaaaaaaa"
    with pytest.raises(AvolError, match="--class Theremin: no segment"):
        with_classes([first, second], ["Theremin"])


def test_a_list_of_vggsound_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / "vggsound.csv"
    path.write_text('---g-f_I2yQ,1,"people marching",test\n--0PQM4-hqg,30,waterfall burbling,train\n')
    first, second = read_segments(path)
    assert (first.start_seconds, first.end_seconds, first.labels) == (1.0, 11.0, ("people marching",))
    assert second.file_name == "--0PQM4-hqg_30.000_40.000.mp4"


def test_a_list_of_ones_own_and_rows_of_one_segment(tmp_path: Path) -> None:
    path = write_list(
        tmp_path / "mine.csv",
        "https://youtu.be/abcdefghijk,1,3,cello",
        "abcdefghijk,1,3,speech",
        "http://example.org/a.mp4,0.25,3,",
    )
    one, other = read_segments(path)
    assert (one.video_id, one.labels) == ("abcdefghijk", ("cello", "speech"))
    assert len(other.video_id) == 11
    assert other.labels == ()


@pytest.mark.shared
def test_the_published_lists() -> None:
    names = ANNOTATIONS / "audioset_class_labels_indices.csv"
    balanced = read_segments(ANNOTATIONS / "audioset_balanced_train_segments.csv", class_names=names)
    evaluation = read_segments(ANNOTATIONS / "audioset_eval_segments.csv", class_names=names)
    assert (len(balanced), len(evaluation)) == (22_160, 20_371)
    found = {label for chosen in with_classes(evaluation, AUDIOSET_INSTRUMENTS) for label in chosen.labels}
    assert found == set(AUDIOSET_INSTRUMENTS)
    assert not [label for chosen in balanced for label in chosen.labels if label.startswith("/m/")]


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "holds no segments"),
        (b"# only comments\n", "holds no segments"),
        (b"\xff\xfe\x00binary", "not text in UTF-8"),
        (b"a,b\n1,2\n", "neither a list of AudioSet or VGGSound nor"),
        (b"url,start_seconds,end_seconds\n", "below its header"),
        (b"url,start_seconds\nhttp://x/y,1\n", "lacks columns"),
        (b"url,start_seconds,end_seconds\nhttp://x/y,5,2\n", "line 2: not a stretch of time"),
        (b"url,start_seconds,end_seconds\nhttp://x/y,-1,2\n", "line 2: not a stretch of time"),
        (b"url,start_seconds,end_seconds\nhttp://x/y,nan,2\n", "line 2: not a stretch of time"),
        (b"url,start_seconds,end_seconds\nhttp://x/y,0,1e9\n", "longer than 600 s"),
        (
            b"url,start_seconds,end_seconds\n../../etc/passwd,0,2\n",
            "neither a video's eleven characters nor an address",
        ),
        (
            b"url,start_seconds,end_seconds\nfile:///etc/passwd,0,2\n",
            "neither a video's eleven characters nor an address",
        ),
        (b"url,start_seconds,end_seconds\n" + b"a" * 5000 + b",0,2\n", "neither a video's eleven characters"),
        (b"url,start_seconds,end_seconds\nhttp://x/y,0,2,3\n", "line 2: has 4 cells, expected 3"),
        (b'url,start_seconds,end_seconds\n"http://x/y,0,2\n', "not a list that can be read"),
    ],
)
def test_a_list_that_is_wrong_is_one_line(tmp_path: Path, content: bytes, fact: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(AvolError, match=f"list.csv.*{fact}") as caught:
        read_segments(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_line_ends_and_a_mark_of_byte_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("\ufeffurl,start_seconds,end_seconds,label\r\nhttp://x/y,0,2,cello\r\n\r\n".encode())
    assert read_segments(path)[0].labels == ("cello",)


rows = st.lists(
    st.tuples(
        st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True),
        st.floats(0, 3600).map(lambda value: round(value, 3)),
        st.floats(0.1, 500).map(lambda value: round(value, 3)),
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=12
        ),
    ),
    min_size=1,
    max_size=10,
)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_any_list_that_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, float, float, str]]
) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "start_seconds", "end_seconds", "label"])
        writer.writerows([video, start, start + length, label] for video, start, length, label in table)
    found = read_segments(path)
    assert {(s.video_id, label) for s in found for label in s.labels} == {
        (video, label) for video, _, _, label in table
    }
    assert len({s.file_name for s in found}) == len(found)
    assert all("/" not in s.file_name and video_id_of(s.file_name) == s.video_id for s in found)


# --- One segment, from a real server through yt-dlp


def numbers_and_loudness(path: Path) -> tuple[list[int], np.ndarray]:
    with av.open(str(path)) as container:
        numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert container.streams.video[0].start_time == 0
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    return numbers, np.abs(sound).max(axis=0)


def test_a_segment_is_cut_to_the_frame_and_to_the_sample(site: WebServer, tmp_path: Path) -> None:
    outcome = fetch_segment(segment(f"{site.url}/film.mp4", 4.0, 6.0), tmp_path / "clip.mp4")
    assert outcome == Outcome(FETCHED)
    numbers, loudness = numbers_and_loudness(tmp_path / "clip.mp4")
    assert numbers == list(range(100, 150))
    assert len(loudness) / 48_000 == pytest.approx(2.0, abs=0.05)
    first_loud = np.flatnonzero(loudness > 0.1)[0] / 48_000
    assert first_loud == pytest.approx(1.0, abs=0.03)  # the burst at 5.0 s


def test_a_turned_film_is_turned_upright(site: WebServer, tmp_path: Path) -> None:
    assert fetch_segment(segment(f"{site.url}/turned.mp4"), tmp_path / "clip.mp4").status == FETCHED
    with av.open(str(site.folder / "turned.mp4")) as stored, av.open(str(tmp_path / "clip.mp4")) as clip:
        before, after = stored.streams.video[0], clip.streams.video[0]
        assert (after.width, after.height) == (before.height, before.width)


@pytest.mark.parametrize(
    ("name", "start", "status"),
    [
        ("absent.mp4", 0.0, "gone"),
        ("forbidden.mp4", 0.0, "failed"),
        ("busy.mp4", 0.0, "blocked"),
        ("broken.mp4", 0.0, "failed"),
        ("page.html", 0.0, "failed"),
        ("mute.mp4", 0.0, "no such segment"),
        ("film.mp4", 60.0, "no such segment"),
        ("film.mp4", 8.5, "no such segment"),
        ("cut.mp4", 6.0, "failed"),
    ],
)
def test_what_cannot_be_had_has_a_name_and_leaves_nothing(
    site: WebServer, tmp_path: Path, name: str, start: float, status: str
) -> None:
    outcome = fetch_segment(segment(f"{site.url}/{name}", start, start + 2.0), tmp_path / "clip.mp4")
    assert (outcome.status, bool(outcome.reason)) == (status, True), outcome
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access to this video", "private"),
        ("[youtube] x: Video unavailable. This video has been removed by the uploader", "gone"),
        ("Video unavailable. This video is no longer available because the account has been terminated.", "gone"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "age-restricted"),
        ("The uploader has not made this video available in your country", "region-blocked"),
        ("Join this channel to get access to members-only content like this video", "members only"),
        ("Sign in to confirm you\u2019re not a bot. Use --cookies", "blocked"),
        ("Unable to download webpage: HTTP Error 429: Too Many Requests", "blocked"),
        ("\x1b[0;31mERROR:\x1b[0m Unable to download webpage: timed out\nmore", "failed"),
        ("", "failed"),
    ],
)
def test_what_sites_say_is_understood(said: str, status: str) -> None:
    outcome = outcome_of(said)
    assert outcome.status == status
    assert outcome.reason
    assert "\n" not in outcome.reason
    assert "\x1b" not in outcome.reason


def test_pictures_and_sound_apart_come_from_two_addresses() -> None:
    parts = [
        {"url": "http://a", "vcodec": "none", "acodec": "aac"},
        {"url": "http://v", "vcodec": "h264", "acodec": "none", "http_headers": {"Referer": "r"}},
    ]
    streams = streams_of({"requested_formats": parts})
    assert (streams.pictures, streams.sound, streams.headers) == ("http://v", "http://a", {"Referer": "r"})
    assert streams_of({"entries": [{"url": "http://one"}]}).sound == "http://one"
    with pytest.raises(ValueError, match="2 videos"):
        streams_of({"entries": [{"url": "http://one"}, {"url": "http://two"}]})


# --- All of a list


class FakeSite:
    """Stands in for the network: answers by video, and notes what was asked for."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.asked, self.running, self.most_running = answers, [], 0, 0
        self._lock = threading.Lock()

    def __call__(self, wanted: Segment, path: Path) -> Outcome:
        with self._lock:
            self.asked.append(wanted.video_id)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        time.sleep(0.01)
        with self._lock:
            self.running -= 1
        status = self.answers.get(wanted.video_id, FETCHED)
        if status == FETCHED:
            path.write_bytes(b"clip")
        return Outcome(status, "as told")


def segments_named(*letters: str) -> list[Segment]:
    return [
        Segment(
            video_id=letter * 11, url=f"http://x/{letter}", start_seconds=0, end_seconds=2, labels=(letter.upper(),)
        )
        for letter in letters
    ]


def test_each_is_asked_for_once_and_what_is_final_never_again(tmp_path: Path) -> None:
    wanted = segments_named("a", "b", "c", "d")
    site = FakeSite({"b" * 11: "private", "c" * 11: "failed"})
    counts = fetch_all(wanted, tmp_path, QUICK, fetch=site)
    assert counts == {FETCHED: 2, "private": 1, "failed": 1}
    again = FakeSite({})
    counts = fetch_all(wanted, tmp_path, QUICK, fetch=again)
    assert again.asked == ["c" * 11]
    assert counts == {FETCHED: 3, "private": 1}
    (tmp_path / wanted[0].file_name).unlink()
    third = FakeSite({})
    fetch_all(wanted, tmp_path, Manners(jobs=2, interval_seconds=0, retry=True), fetch=third)
    assert sorted(third.asked) == ["a" * 11, "b" * 11]


def test_the_tables_say_everything(tmp_path: Path) -> None:
    wanted = [*segments_named("a", "b"), segment("http://x/z", 1.5, 3.0, "Cello", "Violin, fiddle")]
    fetch_all(wanted, tmp_path, QUICK, fetch=FakeSite({"b" * 11: "gone"}))
    with (tmp_path / "fetch.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == [FETCHED, "gone", FETCHED]
    assert table[2]["label"] == "Cello|Violin, fiddle"
    with (tmp_path / "clips.csv").open(newline="") as file:
        clips = [(row["file"], row["label"], row["video_id"]) for row in csv.DictReader(file)]
    assert clips == [
        (wanted[0].file_name, "A", "a" * 11),
        (wanted[2].file_name, "Cello", "abcdefghijk"),
        (wanted[2].file_name, "Violin, fiddle", "abcdefghijk"),
    ]
    listing = list_videos([tmp_path])
    assert {(Path(video.path).name, video.label, video.video_id) for video in listing.videos} == {
        (wanted[0].file_name, "A", "a" * 11),
        (wanted[2].file_name, "Cello|Violin, fiddle", "abcdefghijk"),
    }


def test_no_more_at_a_time_than_asked_and_not_too_fast(tmp_path: Path) -> None:
    site = FakeSite({})
    started = time.monotonic()
    fetch_all(segments_named(*"abcdef"), tmp_path, Manners(jobs=2, interval_seconds=0.1), fetch=site)
    assert time.monotonic() - started > 5 * 0.05  # five distances, each at least half the interval
    assert site.most_running <= 2


def test_a_site_that_refuses_again_and_again_stops_the_fetch(tmp_path: Path) -> None:
    wanted = segments_named(*"abcdefghij")
    site = FakeSite({letter * 11: "blocked" for letter in "bcdefghij"})
    with pytest.raises(AvolError, match=r"the site refused .* times in a row .*--jobs 1"):
        fetch_all(wanted, tmp_path, Manners(jobs=1, interval_seconds=0, pause_seconds=0), fetch=site)
    assert len(site.asked) <= 1 + BLOCKS_BEFORE_STOP + 1
    assert "not asked yet" in (tmp_path / "fetch.csv").read_text()
    assert fetch_all(wanted, tmp_path, QUICK, fetch=FakeSite({}))[FETCHED] == 10


def test_two_fetches_do_not_work_in_one_folder(tmp_path: Path) -> None:
    inside: list[str] = []

    def fetch(wanted: Segment, path: Path) -> Outcome:
        with pytest.raises(AvolError, match="another avol data fetch works there"):
            fetch_all(segments_named("b"), tmp_path, QUICK, fetch=FakeSite({}))
        inside.append(wanted.video_id)
        return Outcome(FETCHED)

    fetch_all(segments_named("a"), tmp_path, QUICK, fetch=fetch)
    assert inside == ["a" * 11]


def test_an_interrupt_keeps_what_there_is(tmp_path: Path) -> None:
    def progress(wanted: Segment, outcome: Outcome) -> None:
        if wanted.video_id.startswith("b"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_all(
            segments_named(*"abcd"),
            tmp_path,
            Manners(jobs=1, interval_seconds=0),
            fetch=FakeSite({}),
            progress=progress,
        )
    assert "fetched" in (tmp_path / "fetch.csv").read_text()
    again = FakeSite({})
    assert fetch_all(segments_named(*"abcd"), tmp_path, QUICK, fetch=again)[FETCHED] == 4
    assert "a" * 11 not in again.asked


@given(st.binary(max_size=200), st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_a_journal_that_was_cut_off_or_damaged_costs_its_lines_alone(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    wanted = segments_named("a", "b")
    with Journal(folder) as journal:
        for one in wanted:
            journal.add(one, Outcome("private", "said so"))
    text = (folder / "fetch.jsonl").read_bytes()
    line = text[: text.index(b"\n") + 1]
    rubbish = rubbish.decode("utf-8", "ignore").encode()
    (folder / "fetch.jsonl").write_bytes(line + rubbish + b"\n" + text[len(line) :][: min(cut, len(text) - len(line))])
    with Journal(folder) as journal:
        assert journal.is_done(wanted[0], retry=False)
        journal.add(wanted[1], Outcome("gone", ""))
    with Journal(folder) as journal:
        assert journal.status_of(wanted[1]).status == "gone"


# --- The command


def test_from_a_list_to_pairs(site: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(
        tmp_path / "mine.csv",
        f"{site.url}/film.mp4,0,3,cello",
        f"{site.url}/film.mp4,4,7,cello",
        f"{site.url}/absent.mp4,0,2,dog",
    )
    out = tmp_path / "clips"
    assert main(["data", "fetch", str(listed), "--out", str(out), "--interval", "0", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 clips are there" in said
    assert main(["data", "prepare", str(out), "--out", str(tmp_path / "pairs"), "--jobs", "1"]) == 0
    assert "cello" in _inspected(tmp_path / "pairs", capsys)
    before = site.requests.total()
    assert main(["data", "fetch", str(listed), "--out", str(out), "--interval", "0"]) == 0
    assert site.requests.total() == before  # all is final


def _inspected(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["data", "inspect", str(folder)]) == 0
    return capsys.readouterr().out


def test_a_kill_at_any_moment_is_gone_on_from(site: WebServer, tmp_path: Path) -> None:
    rows = [f"{site.url}/film.mp4,{start},{start + 2},cello" for start in range(6)]
    listed, out = write_list(tmp_path / "mine.csv", *rows), tmp_path / "clips"
    command = [sys.executable, "-m", "avol", "data", "fetch", str(listed), "--out", str(out), "--interval", "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 60
    while not list(out.glob("*.mp4")) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(command[3:]) == 0
    assert not list(out.glob(".*.partial.*"))
    clips = sorted(out.glob("*.mp4"))
    assert len(clips) == 6
    for clip in clips:
        numbers, _ = numbers_and_loudness(clip)
        assert len(numbers) == 50
    lines = [json.loads(line) for line in (out / "fetch.jsonl").read_text().splitlines() if line]
    assert {line["file"] for line in lines} == {clip.name for clip in clips}


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--jobs", "99"], ["--interval", "-1"], ["--per-class", "0"]])
def test_numbers_that_make_no_sense_are_a_usage_mistake(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "fetch", "mine.csv", "--out", str(tmp_path), *arguments])
    assert caught.value.code == 2


def test_mistakes_are_one_line(
    site: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["data", "fetch", str(tmp_path / "none.csv"), "--out", str(tmp_path / "clips")]) == 1
    assert "none.csv: cannot be read" in capsys.readouterr().err
    monkeypatch.setattr("avol.apps.data_fetch.VGGSOUND_LIST", f"{site.url}/absent.csv")
    assert main(["data", "fetch", "vggsound", "--out", str(tmp_path / "clips")]) == 1
    said = capsys.readouterr().err
    assert "cannot be downloaded" in said
    assert said.count("\n") == 1
    listed = write_list(tmp_path / "mine.csv", f"{site.url}/absent.mp4,0,2,dog")
    assert main(["data", "fetch", str(listed), "--out", str(tmp_path / "mine.csv" / "x")]) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert main(["data", "fetch", str(listed), "--out", str(tmp_path / "nothing"), "--interval", "0"]) == 1


def test_a_published_list_is_downloaded_once(site: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.folder / "vgg.csv").write_text("aaaaaaaaaaa,0,cello,train\n")
    monkeypatch.setattr("avol.apps.data_fetch.VGGSOUND_LIST", f"{site.url}/vgg.csv")
    monkeypatch.setattr("avol.train.data.fetch.fetch.fetch_segment", FakeSite({}))
    monkeypatch.setattr(
        "avol.train.data.fetch.fetch.fetch_all.__kwdefaults__", {**fetch_all.__kwdefaults__, "fetch": FakeSite({})}
    )
    for _ in range(2):
        assert main(["data", "fetch", "vggsound", "--out", str(tmp_path / "clips"), "--interval", "0"]) == 0
    assert site.requests["/vgg.csv"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a file system that is full")
def test_a_full_disk_stops_with_one_line(site: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(out)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        listed = write_list(tmp_path / "mine.csv", f"{site.url}/film.mp4,0,8,dog")
        assert main(["data", "fetch", str(listed), "--out", str(out), "--interval", "0"]) == 1
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert not list(out.glob("*.mp4"))
    finally:
        subprocess.run(["umount", str(out)], check=True)
