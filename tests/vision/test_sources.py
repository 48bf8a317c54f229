"""Where images come from: files, lists, addresses, videos, cameras and standard input."""

import base64
import http.server
import io
import itertools
import re
import struct
import sys
import threading

import cv2
import numpy as np
import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError, ImageError
from trtnn.vision import ahead as ahead_module
from trtnn.vision import frames as frames_module
from trtnn.vision import sources as sources_module
from trtnn.vision.frames import read_frames
from trtnn.vision.images import encode_image
from trtnn.vision.sources import Source, find_sources

MOST = 1 << 20  # pixels


def image(seed=0, height=48, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def video(path, frames, code="MJPG", size=(48, 64)):
    """Write a video whose frames are of one grey each: 0, 20, 40, ..."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 5, size[::-1])
    for index in range(frames):
        writer.write(np.full((*size, 3), 20 * index % 256, np.uint8))
    writer.release()
    return path


def greys(frames):
    return [round(float(frame.image.mean()) / 20) for frame in frames]


def read(text, most=MOST):
    (source,) = find_sources(str(text))
    return list(source.read(most))


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_image("a.png", image()))
    return path


# -- files ------------------------------------------------------------------------------------------------------------


def test_an_image_is_one_frame_without_a_number(png):
    (frame,) = read(png)
    np.testing.assert_array_equal(frame.image, image())
    assert frame.index is None


def test_a_folder_has_images_and_videos_by_path(tmp_path, png):
    video(tmp_path / "b.avi", 2)
    (tmp_path / "c.jpg").write_bytes(encode_image("c.jpg", image()))
    (tmp_path / "d.md").touch()
    for text in (tmp_path, tmp_path / "*"):
        assert [source.name for source in find_sources(str(text))] == [
            str(tmp_path / n) for n in ("a.png", "b.avi", "c.jpg")
        ]


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.MOV", "mp4v")])
def test_a_video_gives_its_frames_in_order_with_numbers_and_rate(tmp_path, name, code):
    frames = read(video(tmp_path / name, 7, code))
    assert [frame.index for frame in frames] == list(range(7))
    assert greys(frames) == list(range(7))
    assert {frame.rate for frame in frames} == {5}
    assert frames[0].image.shape == (48, 64, 3)


def test_the_channels_of_a_video_are_rgb(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    writer.write(np.full((48, 64, 3), (0, 0, 250), np.uint8))  # red, as OpenCV has it
    writer.release()
    (frame,) = read(tmp_path / "a.avi")
    np.testing.assert_allclose(frame.image.mean((0, 1)), (250, 0, 0), atol=8)


def test_a_video_that_ends_early_gives_what_it_has(tmp_path):
    whole = video(tmp_path / "a.avi", 100).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 2 // 5])
    (source,) = find_sources(str(tmp_path / "cut.avi"))
    frames = []
    with pytest.raises(
        ImageError, match=r"the video .*cut\.avi ended early: (\d+) of its 100 frames could be read"
    ) as info:
        frames.extend(iter_into(frames, source.read(MOST)))
    assert 20 < len(frames) < 45
    assert f": {len(frames)} of" in str(info.value)


def matroska(times_ms, length_ms):
    """Return a Matroska file of frames that are shown at these times, each as bright as four times its number.

    It says how long it is, and not how many frames it has, as https://www.rfc-editor.org/rfc/rfc9559 has no place for.
    """

    def sized(length):
        width = next(n for n in range(1, 9) if length < (1 << 7 * n) - 1)
        return (length | 1 << 7 * width).to_bytes(width, "big")

    def element(name, *content):
        data = b"".join(n.to_bytes(4, "big") if isinstance(n, int) else n for n in content)
        return bytes.fromhex(name) + sized(len(data)) + data

    head = element("1A45DFA3", element("4282", b"matroska"), element("4287", 4), element("4285", 2))
    info = element("1549A966", element("2AD7B1", 1_000_000), element("4489", struct.pack(">d", length_ms)))
    sides = element("E0", element("B0", 64), element("BA", 48))
    tracks = element("1654AE6B", element("AE", element("D7", 1), element("73C5", 1), element("83", 1),
                     element("86", b"V_MJPEG"), sides))  # fmt: skip
    clusters = []
    for index, time in enumerate(times_ms):
        image = cv2.imencode(".jpg", np.full((48, 64, 3), 4 * index, np.uint8))[1].tobytes()
        clusters.append(element("1F43B675", element("E7", time), element("A3", b"\x81\x00\x00\x80", image)))
    return head + element("18538067", info, tracks, *clusters)


VARIED = [*range(0, 200, 10), *range(200, 2200, 100)]  # ms: 20 frames at 100 a second, and 20 at 10


@pytest.mark.parametrize("length", [2200, 2110])
def test_a_video_of_varying_rate_that_only_says_how_long_it_is(tmp_path, length):
    path = tmp_path / "a.mkv"
    path.write_bytes(matroska(VARIED, length))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 150  # as OpenCV guesses
    capture.release()
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(40) * 4, atol=2)


@pytest.mark.parametrize("kept", [12, 25, 36, "a pause"])
def test_a_video_of_varying_rate_that_ends_early(tmp_path, kept):
    times, length = ([0, 40, 80, 2000, 2040], 3960) if kept == "a pause" else (VARIED[:kept], 2200)
    (tmp_path / "cut.mkv").write_bytes(matroska(times, length))
    kept = len(times)
    (source,) = find_sources(str(tmp_path / "cut.mkv"))
    frames = []
    with pytest.raises(ImageError, match=rf"cut\.mkv ended early: {kept} of its [\d,]+ frames could be read"):
        frames.extend(iter_into(frames, source.read(MOST)))
    assert len(frames) == kept


def broken(path, codec, numbers, change):
    """Write a video of 20 frames, each as bright as ten times its number, of which some are changed in the file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"00dc", data[data.index(b"movi") : data.rindex(b"idx1")])]
    for number in numbers:
        at = starts[number] + data.index(b"movi")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        data[at : at + 8 + length] = change(bytes(data[at : at + 8]), length)
    path.write_bytes(data)


@pytest.mark.skipif(cv2.__version__ < "5", reason="OpenCV 4 passes over what does not decode, without a word")
@pytest.mark.parametrize("codec", ["MJPG", "XVID"])
@pytest.mark.parametrize("numbers", [[6], [3, 4, 11], [1, 18]])
def test_frames_behind_a_broken_one_keep_their_numbers(tmp_path, codec, numbers):
    broken(tmp_path / "a.avi", codec, numbers, lambda head, length: head + b"\xff" * length)
    frames = []
    with pytest.raises(ImageError) as info:
        iter_into(frames, find_sources(str(tmp_path / "a.avi"))[0].read(MOST))
    assert [frame.index for frame in frames] == [number for number in range(20) if number not in numbers]
    np.testing.assert_allclose([frame.image.mean() / 10 for frame in frames], [f.index for f in frames], atol=0.5)
    lost = f"is damaged: {len(numbers)} of its 20 frames could not be read"
    assert (
        str(info.value) == f"the video {tmp_path / 'a.avi'} {lost}\n  the others have the numbers that they have in it"
    )


def iter_into(frames, iterator):
    """Move what an iterator gives into a list as it comes."""
    for frame in iterator:
        frames.append(frame)
    return ()


def test_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"none" * 100)
    with pytest.raises(ImageError, match=r"cannot open the video .*a\.mp4\n  the file is damaged, or of a kind that"):
        read(tmp_path / "a.mp4")


def test_frames_of_too_many_pixels(tmp_path):
    with pytest.raises(ImageError, match=r"the video .*a\.avi is too large: 48×64 pixels a frame"):
        read(video(tmp_path / "a.avi", 2), 48 * 64 - 1)


# -- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_names_sources_from_its_own_folder(tmp_path, png, monkeypatch):
    (tmp_path / "inner").mkdir()
    video(tmp_path / "inner" / "b.avi", 1)
    path = tmp_path / "list.txt"
    path.write_text(f"\ufeffa.png\n\n  inner\n{png}\nhttps://example.org/c.jpg\n3\n", encoding="utf-8")
    monkeypatch.chdir("/")
    names = [source.name for source in find_sources(str(path))]
    assert names == [str(png), str(tmp_path / "inner" / "b.avi"), str(png), "https://example.org/c.jpg", "3"]


def test_what_a_list_names_and_is_not_there_is_told_at_its_turn(tmp_path, png):
    (tmp_path / "empty").mkdir()
    long = "x" * 300
    (tmp_path / "list.txt").write_text(f"gone.png\na.png\nempty\nnone/*.jpg\n{long}\n")
    sources = find_sources(str(tmp_path / "list.txt"))
    unread = []
    taken = [s.name for s, _ in read_frames(sources, lambda source, error: unread.append((source.name, str(error))))]
    assert taken == [str(png)]
    told = ["no picture at", "no picture in the folder", "no picture at", "no picture at"]
    assert [name for name, _ in unread] == [str(tmp_path / name) for name in ("gone.png", "empty", "none/*.jpg", long)]
    assert all(message.startswith(words) for (_, message), words in zip(unread, told, strict=True))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no picture in the list .*: it is empty"),
        (b"\xff\xfe\x00", "the list .* is not text in UTF-8"),
        (b"gone.png\n*.jpg\n", r"no picture in the list .*: nothing that it names is there\n  such as .*gone\.png"),
        (b"other.txt", "names other.txt\n  a list holds no lists"),
        (b"-", "a list holds no lists, and not standard input"),
        (
            b"s3://b/a.jpg",
            r"the list .* names s3://b/a.jpg: no images are read from s3://\n  known: (.*\n.*)--ray reads",
        ),
        (b"ftp://u:secret@x/a.jpg", r"the list .* names ftp://u:\*\*\*@x/a.jpg: no images are read from ftp://"),
    ],
)
def test_lists_that_are_none(tmp_path, content, words):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises((ImageError, ArgumentError), match=words):
        find_sources(str(tmp_path / "list.txt"))


# -- standard input, cameras and other words --------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [False, True])
def test_an_image_on_standard_input(monkeypatch, broken):
    data = b"none" if broken else encode_image("a.png", image())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    if broken:
        with pytest.raises(ImageError, match="cannot read the picture on standard input: it does not decode"):
            read("-")
    else:
        np.testing.assert_array_equal(read("-")[0].image, image())


def test_too_much_on_standard_input(monkeypatch):
    monkeypatch.setattr(sources_module, "most_bytes", lambda _: 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encode_image("a.png", image()))))
    with pytest.raises(ImageError, match="cannot read the picture on standard input: it has more than 1,000 bytes"):
        read("-")


def test_a_number_that_is_a_file_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").touch()
    with pytest.raises(ArgumentError, match=r"0 is a camera's number, and a file here\n  \./0 is the file"):
        find_sources("0")


def test_a_camera_that_is_not_there():
    with pytest.raises(ImageError, match="cannot open the camera 99\n  it is not there, is used by another program"):
        read("99")


def test_addresses_of_other_kinds():
    for text in ("ftp://example.org/a.jpg", "file:///etc/a.jpg"):
        with pytest.raises(ArgumentError, match=rf"no images are read from {text.split(':')[0]}://\n  known: http://"):
            find_sources(text)


@pytest.mark.parametrize("password", ["secret", "se@cr:et@", "s%40"])
def test_a_password_is_not_shown(password):
    (source,) = find_sources(f"rtsp://me:{password}@camera.local/stream")
    assert source.name == "rtsp://me:***@camera.local/stream"


@pytest.mark.parametrize("address", ["http://a.org/b:c@d.jpg", "http://a.org?at=b:c@d.jpg", "http://me@a.org/b.jpg"])
def test_an_address_without_a_password_is_shown_as_it_is(address):
    (source,) = find_sources(address)
    assert source.name == address


def test_the_address_of_a_stream_that_is_not_utf_8_is_told_without_its_password():
    message = message_of(ImageError, lambda: next(find_sources("rtsp://me:secret@a/\udcff")[0].read(MOST)))
    assert message.startswith("OpenCV opens no video rtsp://me:***@a/")
    assert "secret" not in message


# -- streams, by a stand-in for OpenCV's reader -----------------------------------------------------------------------


class Capture:
    """A reader that gives some frames, and tells how many there are where it has an end."""

    def __init__(self, frames, count=0):
        self.frames, self.count, self.released = list(frames), count, False

    def isOpened(self):
        return self.frames is not None

    def get(self, key):
        return {cv2.CAP_PROP_FRAME_COUNT: self.count, cv2.CAP_PROP_FPS: 30, cv2.CAP_PROP_FRAME_HEIGHT: 8}.get(key, 8)

    def read(self):
        return (True, np.full((8, 8, 3), self.frames.pop(0), np.uint8)) if self.frames else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def captures(monkeypatch):
    """Have readers opened one after another, and the pauses between them noted."""
    opened, pauses = [], []

    def arrange(*readers):
        left = iter(readers)
        monkeypatch.setattr(sources_module, "_open", lambda place: opened.append(next(left)) or opened[-1])
        monkeypatch.setattr(sources_module.time, "sleep", pauses.append)
        return opened, pauses

    return arrange


@pytest.mark.parametrize("place", ["rtsp://camera/stream", "7"])
def test_a_stream_that_breaks_off_is_opened_again(captures, place):
    opened, pauses = captures(
        Capture([0, 20]), Capture([]), Capture([]), Capture([40]), *(Capture([]) for _ in sources_module.PAUSES_S)
    )
    frames, reader = [], find_sources(place)[0].read(MOST)
    with pytest.raises(ImageError, match=r"(stream|camera) .* broke off after 3 frames, and did not come back"):
        iter_into(frames, reader)
    assert greys(frames) == [0, 1, 2]
    assert [frame.index for frame in frames] == [0, 1, 2]
    once = sources_module.PAUSES_S
    assert pauses == [*once[:3], *once]  # a frame that comes begins them anew
    assert all(capture.released for capture in opened)


def test_a_stream_that_never_was_there(captures):
    nothing = Capture([])
    nothing.frames = None
    opened, pauses = captures(nothing)
    with pytest.raises(ImageError, match="cannot open the stream rtsp://camera/stream\n  nothing that OpenCV reads"):
        read("rtsp://camera/stream")
    assert pauses == []
    assert opened[0].released


def test_what_has_an_end_is_not_opened_again(captures):
    opened, _ = captures(Capture([0, 20, 40], count=3))
    assert greys(read("https://example.org/a.mp4")) == [0, 1, 2]
    assert len(opened) == 1


@pytest.mark.parametrize("count", [-5, 0, 1, 3])
@pytest.mark.parametrize("name", ["a.mp4", "https://example.org/a.mp4"])
def test_a_video_of_no_frame_is_told(captures, tmp_path, name, count):
    captures(Capture([], count=count))
    (tmp_path / "a.mp4").touch()
    place = name if "://" in name else tmp_path / name
    if "://" in name and count <= 0:  # a stream, for all that is known
        captures(*(Capture([], count=count) for _ in range(len(sources_module.PAUSES_S) + 1)))
        words = "broke off after 0 frames"
    else:
        words = "has no frame that can be read"
    with pytest.raises(ImageError, match=words):
        read(place)


def test_a_file_that_does_not_say_how_many_frames_it_has_is_read_once(captures, tmp_path):
    opened, _ = captures(Capture([0, 20, 40], count=-5))
    (tmp_path / "a.webm").touch()
    assert greys(read(tmp_path / "a.webm")) == [0, 1, 2]
    assert len(opened) == 1


# -- addresses, by a server on this machine ---------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path; a stream of images breaks off after some, and is gone after the third time."""

    def do_GET(self):
        server, path = self.server, self.path
        server.seen.append((path, self.headers.get("User-Agent")))
        server.users.append(self.headers.get("Authorization"))
        if path in ("/gone.jpg", "/stream") and (path != "/stream" or len(server.seen) > 3):
            self.send_error(404)
            return
        if path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[path])
            self.end_headers()
            return
        self.send_response(200)
        if path == "/stream":
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for seed in range(30):
                data = encode_image("a.jpg", np.full((48, 64, 3), 20 * (seed % 2), np.uint8))
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")
            return
        data = server.files[path]
        self.send_header("Content-Type", "video/x-msvideo" if path == "/video" else "application/octet-stream")
        self.send_header("Content-Length", str(len(data) * (2 if path == "/cut.png" else 1)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(sources_module, "PAUSES_S", (0, 0))
    monkeypatch.setattr(sources_module, "TIMEOUT_S", 60)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    data = encode_image("a.png", image())
    film = video(tmp_path / "film.avi", 3).read_bytes()
    server.files = {
        "/a": data,
        "/a.png?size=1": data,
        "/cut.png": data,
        "/text": b"<html>",
        "/film.avi": film,
        "/video": film,
    }
    server.moved, server.seen = {"/moved": "/a", "/away": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/a"}, []
    server.users = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/a", "/a.png?size=1", "/moved"])
def test_an_image_at_an_address(server, path):
    (frame,) = read(server.url + path)
    np.testing.assert_array_equal(frame.image, image())
    assert frame.index is None
    assert server.seen[0] == (path, "trtnn")


def test_a_user_and_a_password_go_to_their_own_host_alone(server):
    (frame,) = read(server.url.replace("//", "//me:p%40ss:word@") + "/moved")
    np.testing.assert_array_equal(frame.image, image())
    assert server.users == ["Basic " + base64.b64encode(b"me:p@ss:word").decode(), None]
    with pytest.raises(ImageError, match=r"//me:\*\*\*@127\.0\.0\.1:\d+/text: it does not decode"):
        read(server.url.replace("//", "//me:secret@") + "/text")


@pytest.mark.parametrize("path", ["/ä ö.png?n=é 1", "/%C3%A4%20%C3%B6.png?n=%C3%A9%201"])
def test_letters_that_no_address_may_hold_are_written_as_browsers_do(server, path):
    server.files["/%C3%A4%20%C3%B6.png?n=%C3%A9%201"] = server.files["/a"]
    (frame,) = read(f"{server.url}{path}#part")
    np.testing.assert_array_equal(frame.image, image())


@pytest.mark.parametrize("path", ["/film.avi", "/video"])
def test_a_video_at_an_address_by_its_suffix_or_by_what_the_server_says(server, path):
    assert greys(read(server.url + path)) == [0, 1, 2]


def test_images_that_a_server_sends_without_an_end(server):
    """A camera's stream: what breaks off is opened again, and what came until it is gone is kept."""
    frames = []
    with pytest.raises(ImageError, match=r"the stream .* broke off after \d+ frames, and did not come back"):
        iter_into(frames, find_sources(f"{server.url}/stream")[0].read(MOST))
    assert set(greys(frames)) == {0, 1}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone.jpg", "HTTP 404 Not Found"),
        ("/text", "it does not decode"),
        ("/cut.png", r"(\d+ of its|more expected|IncompleteRead)"),
        ("/away", "HTTP 302 .*|redirect|unknown url type"),
        ("/ftp", "HTTP 302 .*|redirect|unknown url type"),
    ],
)
def test_what_is_no_image_at_an_address(server, path, words):
    with pytest.raises(ImageError, match=rf"cannot read the picture {server.url}{path}: .*({words})") as info:
        read(server.url + path)
    assert str(info.value).count("cannot read") == 1


def test_an_image_of_too_many_bytes(server, monkeypatch):
    monkeypatch.setattr(sources_module, "most_bytes", lambda _: 1000)
    with pytest.raises(ImageError, match="it has more than 1,000 bytes"):
        read(f"{server.url}/a")


def test_an_image_that_does_not_come_in_time(server, monkeypatch):
    monkeypatch.setattr(sources_module, "LONGEST_S", -1)
    with pytest.raises(ImageError, match="it was not there within -1 s"):
        read(f"{server.url}/a")


def test_a_server_that_is_not_there():
    with pytest.raises(ImageError, match=r"cannot read the picture http://127\.0\.0\.1:9/a\.jpg: .*refused"):
        read("http://127.0.0.1:9/a.jpg")


# -- several, read ahead ----------------------------------------------------------------------------------------------


def test_frames_of_several_sources_come_in_order_and_errors_in_theirs(tmp_path):
    for index in range(12):
        (tmp_path / f"{index:02}.png").write_bytes(b"none" if index % 5 == 3 else encode_image("a.png", image(index)))
    video(tmp_path / "05-film.avi", 2)
    seen, sources = [], find_sources(str(tmp_path))
    frames = read_frames(sources, lambda source, error: seen.append((source.name, "error")), MOST, threads=3)
    for source, frame in frames:
        seen.append((source.name, frame.index))
    names = [f"{index:02}.png" for index in range(12)]
    expected = [(name, "error" if int(name[:2]) % 5 == 3 else None) for name in names]
    expected[6:6] = [("05-film.avi", 0), ("05-film.avi", 1)]
    expected.sort(key=lambda row: row[0])
    assert [(name.rpartition("/")[2], what) for name, what in seen] == expected


@pytest.mark.parametrize(("most", "ahead"), [(0, 4), (ahead_module.MOST_BYTES, 16)])
def test_no_more_are_read_ahead_than_it_takes(monkeypatch, most, ahead):
    monkeypatch.setattr(ahead_module, "MOST_BYTES", most)
    started = []

    class File(Source):
        pass

    def source(index, path):
        def read(most):
            started.append(index)
            yield sources_module.Frame(image())

        return Source(str(index), read, path)

    frames = read_frames(
        [source(i, image_path) for i, image_path in zip(range(100), itertools.repeat(sources_module.Path("a.png")))],
        print,
        MOST,
        2,
    )
    for index in range(5):
        next(frames)
        assert len(started) <= index + 1 + ahead
    frames.close()


# -- live sources -----------------------------------------------------------------------------------------------------


def live(steps):
    """Frames that come when they come: each step is waited for before the next is given."""
    for index, step in enumerate(steps):
        if isinstance(step, Exception):
            raise step
        if step is not None:
            assert step.wait(60)
        yield sources_module.Frame(image(index), index)


def test_of_live_frames_the_newest_is_taken_and_the_others_are_dropped():
    come, taken = threading.Event(), threading.Event()
    frames = frames_module.newest(live([None, come, None, None, taken, None]))
    assert next(frames).index == 0
    come.set()
    while next(frames).index < 3:  # as far as they have come: some of 1, 2 and 3 may be dropped, 3 is not
        pass
    taken.set()
    assert [frame.index for frame in frames][-1] == 5


def test_what_ends_live_frames_is_raised_behind_the_last():
    frames = frames_module.newest(live([None, ImageError("it broke off")]))
    assert next(frames).index == 0
    with pytest.raises(ImageError, match="it broke off"):
        next(frames)
    assert list(frames_module.newest(live([]))) == []


def test_who_takes_no_more_ends_the_reading():
    closed, go = threading.Event(), threading.Event()

    def forever():
        try:
            for index in itertools.count():
                yield sources_module.Frame(image(0), index)
                go.wait(60)
        finally:
            closed.set()

    frames = frames_module.newest(forever())
    next(frames)
    frames.close()
    go.set()
    assert closed.wait(60)


@pytest.mark.parametrize(("place", "is_live"), [("7", True), ("rtsp://a/b", True), ("https://a.org/b.mp4", False)])
def test_cameras_and_streams_are_live_and_files_are_not(place, is_live, tmp_path):
    (source,) = find_sources(place)
    assert source.is_live is is_live
    assert not find_sources(str(video(tmp_path / "a.avi", 2)))[0].is_live


def test_frames_of_live_sources_alone_are_dropped(monkeypatch):
    asked = []

    def newest(frames):
        asked.append(True)
        return frames

    monkeypatch.setattr(frames_module, "newest", newest)
    for is_live, every_frame, drops in ((True, False, 1), (True, True, 0), (False, False, 0)):
        asked.clear()
        source = Source("a", lambda most: live([None, None]), is_live=is_live)
        frames = [frame.index for _, frame in read_frames([source], print, MOST, every_frame=every_frame)]
        assert frames == [0, 1]
        assert len(asked) == drops
