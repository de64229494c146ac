"""What stands between a camera and a viewer: one MPEG-TS stream, handed on over RTSP, RTP or HTTP on 127.0.0.1."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable

MP2T_PAYLOAD = 33  # RFC 3551
CLOCK_HZ = 90_000
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 33\r\na=rtpmap:33 MP2T/90000\r\na=control:track1\r\n"
)
TURN_SECONDS = 0.2


class StreamServer:
    """A context manager: takes datagrams of MPEG-TS at ``from_port`` and hands them on to whoever asks at ``url``.

    Args:
        kind: ``rtsp`` (over TCP, as the reader asks for), ``http``, or ``rtp`` (sent whether anybody listens or not).
        from_port: UDP port where the sender's datagrams come in.
        port: where readers connect, or are sent to.
    """

    def __init__(self, kind: str, from_port: int, port: int) -> None:
        self.url = f"{kind}://127.0.0.1:{port}" + ("" if kind == "rtp" else "/stream")
        self.requests: list[str] = []
        self._kind, self._port, self._stop = kind, port, threading.Event()
        self._source = _bound(socket.SOCK_DGRAM, from_port)
        self._viewers: list[Callable[[bytes], None]] = []
        self._sockets: list[socket.socket] = [self._source]
        self._threads = [threading.Thread(target=self._hand_on, daemon=True)]
        if kind == "rtp":
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(sender)
            packets = RtpPackets()
            self._viewers.append(lambda data: (sender.sendto(packets.wrap(data), ("127.0.0.1", port)), None)[1])
        else:
            self._listener = _bound(socket.SOCK_STREAM, port)
            self._listener.listen()
            self._sockets.append(self._listener)
            self._threads.append(threading.Thread(target=self._accept, daemon=True))

    def __enter__(self) -> StreamServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def _hand_on(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                datagram = self._source.recv(65_536)
                for viewer in list(self._viewers):
                    try:
                        viewer(datagram)
                    except OSError:
                        self._viewers.remove(viewer)

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                connection.settimeout(TURN_SECONDS)
                self._sockets.append(connection)
                answer = self._answer_rtsp if self._kind == "rtsp" else self._answer_http
                thread = threading.Thread(target=answer, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _answer_http(self, connection: socket.socket) -> None:
        request = self._request(connection)
        self.requests.append(request.split("\r\n")[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
        self._viewers.append(connection.sendall)

    def _answer_rtsp(self, connection: socket.socket) -> None:
        """RFC 2326, as much of it as a viewer that wants its packets in the same connection asks for."""
        packets = RtpPackets()
        while request := self._request(connection):
            method, number = request.split(" ")[0], re.search(r"CSeq: *(\d+)", request)
            self.requests.append(method)
            head, body = [f"CSeq: {number[1] if number else 0}", "Session: 1"], ""
            if method == "OPTIONS":
                head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
            elif method == "DESCRIBE":
                body = SDP
                head += ["Content-Type: application/sdp", f"Content-Base: {self.url}/", f"Content-Length: {len(SDP)}"]
            elif method == "SETUP":
                head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            with contextlib.suppress(OSError):
                connection.sendall(("\r\n".join(["RTSP/1.0 200 OK", *head]) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                self._viewers.append(lambda data: connection.sendall(interleaved(packets.wrap(data))))

    def _request(self, connection: socket.socket) -> str:
        """The next one; empty when there is none any more. What a viewer reports of its reception is passed over."""
        data = b""
        while not self._stop.is_set():
            try:
                data += connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return ""
            if not data:
                return ""
            while data[:1] == b"$" and len(data) >= 4:
                data = data[4 + struct.unpack(">H", data[2:4])[0] :]
            if b"\r\n\r\n" in data:
                return data.decode("latin-1")
        return ""


class RtpPackets:
    """Numbers the packets of one stream (RFC 3550, section 5.1)."""

    def __init__(self) -> None:
        self._number = 0

    def wrap(self, payload: bytes) -> bytes:
        """One packet."""
        self._number += 1
        head = struct.pack(">BBHII", 0x80, MP2T_PAYLOAD, self._number & 0xFFFF, self._number * 900 & 0xFFFFFFFF, 1)
        return head + payload


def interleaved(packet: bytes) -> bytes:
    """A packet in an RTSP connection (RFC 2326, section 10.12)."""
    return struct.pack(">cBH", b"$", 0, len(packet)) + packet


def _bound(kind: int, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, kind)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    found.settimeout(TURN_SECONDS)
    return found
