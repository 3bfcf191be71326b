"""Recorded forward passes: a stand-in for CUDA's capture shows here that inputs are copied and outputs are kept."""

import pytest
import torch
from torch.utils import _pytree as pytree

from breakascene.generation.generate import generate
from breakascene.models import graphs
from breakascene.models.graphs import GraphedForward, graphed_forward


class RecordOnCpu:
    """Replays a record by calling the recorded function again on the inputs that it was recorded with."""

    def __init__(self):
        self.records = self.replays = 0

    def warm_up(self, function):
        return function()

    def record(self, function):
        self.records += 1
        outputs = pytree.tree_map_only(torch.Tensor, torch.zeros_like, function())  # capturing computes nothing

        def replay():
            self.replays += 1
            for old, new in zip(pytree.tree_leaves(outputs), pytree.tree_leaves(function()), strict=True):
                old.copy_(new)

        return outputs, replay


@pytest.mark.parametrize("name", ["sd_base", "sdxl_base"])
def test_images_are_those_of_eager_calls(name, request, monkeypatch):
    """SDXL passes a nested dict of conditions."""
    base, capture = request.getfixturevalue(name), RecordOnCpu()

    def sampled():
        options = {"count": 2, "num_inference_steps": 8, "guidance_scale": 3.0}
        return [image.image.tobytes() for image in generate(base, None, ["a dog", "a cat"], batch_size=2, **options)]

    eager = sampled()
    monkeypatch.setattr(base.unet, "forward", GraphedForward(base.unet.forward, capture))
    assert sampled() == eager
    assert capture.records == 1  # batches of one shape share a record
    assert capture.replays == 2 * 8 - graphs.WARM_UP_CALLS


def test_other_shapes_and_values_are_recorded_anew():
    capture = RecordOnCpu()
    scaled = GraphedForward(lambda x, scale=1: x * scale, capture)
    for scale, size in ((2, 3), (2, 4), (3, 4)):
        results = [scaled(torch.full((size,), float(value)), scale=scale) for value in range(5)]
        expected = [torch.full((size,), float(scale * value)) for value in range(5)]
        assert all(torch.equal(result, other) for result, other in zip(results, expected, strict=True))
    assert capture.records == 3 and capture.replays == 3 * (5 - graphs.WARM_UP_CALLS)


def test_where_capture_fails_calls_run_eagerly(caplog):
    class Failing(RecordOnCpu):
        def record(self, function):
            self.records += 1
            raise RuntimeError("operation not permitted when stream is capturing")

    capture = Failing()
    double = GraphedForward(lambda x: 2 * x, capture)
    assert [double(torch.tensor(float(i))).item() for i in range(6)] == [0, 2, 4, 6, 8, 10]
    assert capture.records == 1 and "without a CUDA graph" in caplog.text


def test_a_cpu_runs_eagerly(tiny_base):
    forward = tiny_base.unet.forward
    with graphed_forward(tiny_base.unet, calls=100, batch_size=1):
        assert tiny_base.unet.forward == forward


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_cuda_graph_equals_eager_calls():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).cuda()
    inputs = torch.randn(20, 4, 64, device="cuda")
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        eager = [module(x) for x in inputs]
        with graphed_forward(module, calls=len(inputs), batch_size=4):
            graphed = [module(x) for x in inputs]
            assert module.forward.replay is not None
    assert "forward" not in vars(module)
    assert all(torch.allclose(a, b, atol=1e-2) for a, b in zip(eager, graphed, strict=True))
