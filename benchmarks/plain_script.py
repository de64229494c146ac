"""What one writes first: frame by frame with OpenCV and PyTorch. `benchmarks/run_video.py` times `avol-run` against it.

    python benchmarks/plain_script.py IN.mp4 OUT.mp4 [--model FOLDER]

Every frame is read by OpenCV, resized, and given to the network together with the spectrogram of the second around it,
one pair at a time in float32; the map is enlarged and blended in RGB; the pictures go to the same encoder with the same
settings as `avol-run`'s, and the audio packets are copied at the end.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.train.checkpoint import load_checkpoint


def read_samples(path: Path, rate_hz: int) -> np.ndarray:
    """The whole track, mono."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=bundled_model_folder())
    arguments = parser.parse_args()
    network = load_checkpoint(arguments.model / CHECKPOINT_FILE).eval()
    spec, calibration = network.spec, network.spec.calibration
    sound = spec.spectrogram
    samples = read_samples(arguments.video, sound.sample_rate_hz)
    samples = np.pad(samples, sound.clip_samples)
    capture = cv2.VideoCapture(str(arguments.video))
    rate, width, height = (
        capture.get(what) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    with av.open(str(arguments.video)) as given, av.open(str(arguments.out), "w") as output, torch.inference_mode():
        stream = output.add_stream("libx264", rate=round(rate), options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = int(width), int(height), "yuv420p"
        stream.codec_context.thread_type = "FRAME"
        copied = output.add_stream_from_template(given.streams.audio[0], opaque=True)
        for index in range(10**9):
            found, picture = capture.read()
            if not found:
                break
            small = cv2.resize(picture, (spec.frame_width, spec.frame_height), interpolation=cv2.INTER_AREA)
            frame = torch.from_numpy(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))[None]
            middle = round(index / rate * sound.sample_rate_hz) + sound.clip_samples
            window = samples[middle - sound.clip_samples // 2 :][: sound.clip_samples]
            logits = network(frame, torch.from_numpy(np.ascontiguousarray(window))[None])
            cells = torch.sigmoid(logits * calibration.scale + calibration.bias)[0].numpy()
            heat = cv2.resize(cells, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
            if cells.max() >= spec.threshold:
                colours = cv2.applyColorMap((255 * heat.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
                weight = 0.65 * heat.clip(0, 1)[..., None]
                picture = (picture * (1 - weight) + colours * weight).astype(np.uint8)
            shown = av.VideoFrame.from_ndarray(picture, "bgr24")
            shown.pts, shown.time_base = index, Fraction(1, round(rate))
            output.mux(stream.encode(shown))
        output.mux(stream.encode(None))
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = copied
                output.mux(packet)


if __name__ == "__main__":
    main()
