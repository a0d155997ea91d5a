"""Train many editors of Table 1 at once on one GPU, in minutes: those of drawn faces were made so.

    python tools/side_by_side.py --minutes 8 [--data FOLDER] [--only NAME ...] --out FOLDER

At 64 px an iteration of stage A is some 1,300 kernels of a few microseconds each, which a GPU can
run faster than Python can ask for them. So the iteration is recorded once as a CUDA graph, and
every training replays its own on a stream of its own. Steps, faces and seeds are those of
`idf weights`, the other random numbers are not. What is unfinished when the time is over is
exported as it is; the manifest says after how many iterations.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from idf.commands.options import Data, Preset, SkipBad, check_choices, check_writable, find_data
from idf.config import Config, UserError, load_config
from idf.data.faces import Faces, batch_indices, open_faces
from idf.data.pictures import to_model
from idf.editing import Training, make_training, train_editor
from idf.zoo.grid import ATTEMPTS, EDITORS, LOOK, GridEditor, all_in_negative, looks_upright

CHUNK = 40  # replays that are asked for at once
# what begins from other weights than its own is trained by `idf weights`, after those
TOGETHER = {name: editor for name, editor in EDITORS.items() if editor.variant != "tuned"}

Only = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all but `tuned`.")]
Minutes = Annotated[float, typer.Option(metavar="NUMBER", min=0, help="0: to the end.")]
Out = Annotated[str, typer.Option(metavar="FOLDER", help="Where weights and manifest go.")]


class Lane:
    """One training and its graph."""

    def __init__(self, editor: GridEditor, config: Config, faces: Faces, device: torch.device):
        self.editor, self.own, self.faces, self.device = (
            editor,
            editor.config(config),
            faces,
            device,
        )
        self.images = torch.from_numpy(np.array(faces.images)).to(device)
        self.labels = faces.labels.to(device)
        self.attempt = -1
        self.restart()

    def restart(self) -> None:
        """Fresh networks, from the next attempt's seed."""
        self.attempt += 1
        seed, editor = self.own.seed + self.attempt, self.own.editor
        self.run: Training = make_training(self.own.changed(seed=seed), network=self.editor.network)
        self.run.generator = None  # random numbers come from the GPU
        self.rates = []
        for network, rate in ((self.run.surrogate, editor.lr), (self.run.d_a, editor.lr_d)):
            now = torch.tensor(rate, device=self.device)
            self.rates.append((now, rate))
            self.run.optimizers[network] = torch.optim.Adam(
                network.parameters(),
                lr=now,
                betas=(0.5, 0.999),
                fused=True,
                capturable=self.device.type == "cuda",
            )
        order = batch_indices(0, editor.iterations * editor.batch, len(self.faces), seed)
        self.order = torch.from_numpy(order).view(-1, editor.batch).to(self.device)
        left = 1 - torch.arange(editor.iterations, device=self.device) / editor.iterations
        self.decay = (left / editor.decay).clamp(max=1) if editor.decay else left.sign()
        self.number = torch.zeros(1, dtype=torch.long, device=self.device)
        self.replay = self.step
        self.asked = None

    def step(self) -> None:
        """One iteration, its number counted on the GPU: every replay takes the next batch."""
        for now, rate in self.rates:
            now.copy_(rate * self.decay.index_select(0, self.number)[0])
        index = self.order.index_select(0, self.number)[0]
        images = self.images.index_select(0, index)
        mirrored = torch.rand(len(images), 1, 1, 1, device=self.device) < 0.5
        x = to_model(torch.where(mirrored, images.flip(-1), images))
        c = self.labels.index_select(0, index)
        c_trg = c.index_select(0, torch.rand(len(c), device=self.device).argsort())
        alpha = torch.rand(len(x), 1, 1, 1, device=self.device)
        self.run.record(train_editor(self.run, x, c, c_trg, alpha))
        self.number.add_(1)

    def capture(self) -> None:
        """A few iterations as they are, which also choose the fastest kernels; then the graph."""
        self.stream = torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.step()
        torch.cuda.synchronize()
        self.run.iteration = 3
        graph = torch.cuda.CUDAGraph()
        # others go on meanwhile
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            self.step()
        self.replay = graph.replay

    def go_on(self, until: int) -> None:
        """Asks for the next replays, up to iteration `until`."""
        count = min(CHUNK, until - self.run.iteration)
        if self.device.type == "cpu":
            for _ in range(count):
                self.replay()
        else:
            with torch.cuda.stream(self.stream):
                for _ in range(count):
                    self.replay()
            self.asked = torch.cuda.Event()
            self.asked.record(self.stream)
        self.run.iteration += count

    def is_ready(self) -> bool:
        return self.asked is None or self.asked.query()


def train_together(lanes: list[Lane], out: Path, deadline: float) -> None:
    """All of them, each exported when it is done, or at the deadline (time.monotonic)."""
    start = time.monotonic()
    for lane in lanes:
        begin(lane)
    waiting = list(lanes)
    while waiting:
        late = time.monotonic() > deadline
        for lane in [lane for lane in waiting if late or lane.is_ready()]:
            run, iterations = lane.run, lane.own.editor.iterations
            if late or run.iteration >= iterations:
                finish(lane, out, time.monotonic() - start)
                waiting.remove(lane)
            elif run.iteration == min(LOOK, iterations) and not looks_upright(run, lane.faces):
                if lane.attempt + 1 == ATTEMPTS:
                    raise all_in_negative(lane.editor.name)
                lane.restart()
                begin(lane)
            else:
                lane.go_on(iterations if run.iteration >= LOOK else min(LOOK, iterations))
        time.sleep(0.0005)


def begin(lane: Lane) -> None:
    if lane.device.type == "cuda":
        lane.capture()


def finish(lane: Lane, out: Path, seconds: float) -> None:
    if lane.device.type == "cuda":
        torch.cuda.synchronize()
    lane.run.seconds = seconds
    lane.editor.export(lane.run, out, lane.attempt)
    print(f"{lane.editor.name}: {lane.run.iteration} iterations, {seconds:.0f} s", flush=True)


def main(
    out: Out,
    preset: Preset = "demo",
    data: Data = "",
    skip_bad: SkipBad = False,
    only: Only = (),
    minutes: Minutes = 0,
) -> None:
    """Trains on the GPU, or for a test on the CPU, and exports."""
    check_choices("--only", only, TOGETHER)
    check_writable(Path(out))
    # in half precision there are more kernels, not fewer
    config = load_config(preset, data_root=find_data(data), skip_bad=skip_bad, bf16=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    lanes = []
    for name in only or TOGETHER:
        editor = TOGETHER[name]
        part = "surrogate" if editor.is_surrogate else "target"
        lanes.append(Lane(editor, config, open_faces(editor.config(config), part), device))
    train_together(lanes, Path(out), time.monotonic() + (60 * minutes or float("inf")))


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
