"""A GPU that is not there: what a training, an evaluation or a prediction does on one is traced with torch's fake tensors.

Fake tensors have a device, a type and a shape, and no values: every operation is checked, forward and backward, and nothing is
computed. So a test fails here, in one line that names the operation and the line of the project that made it, for

- tensors on different devices in one operation (`FakeTensorMode`'s own check; a CPU tensor without dimensions may be mixed in);
- anything that makes the host wait for the GPU: reading a value, a shape that depends on values, a copy to the CPU, or a copy
  from it that is not asynchronous;
- an operation that `compute.deterministic` rejects on a GPU, or that has no kernel for its type there.

torch without CUDA has to be made to believe in a GPU: its no-op device guard, which it keeps for this very case, is put in place
of CUDA's, and the hooks that the backward pass asks say that there is one.
"""

from __future__ import annotations

import contextlib
import ctypes
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import lightning_fabric.accelerators.cuda as fabric_cuda
import torch
from lightning_fabric.strategies import SingleDeviceStrategy
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

LIBRARIES = Path(torch.__file__).parent / "lib"
PROJECT = Path(__file__).parents[1]
GUARDS, HOOKS = "_ZN3c104impl26device_guard_impl_registryE", "_ZN2at6detail12getCUDAHooksEv"  # C++ names in torch's libraries
CUDA = 1  # of c10::DeviceType
# of the virtual functions of at::CUDAHooksInterface, after the two destructors
IS_BUILT, HAS_PRIMARY_CONTEXT, TABLE_SIZE = 2, 4, 60

aten = torch.ops.aten
# what makes the host wait, whatever its arguments
WAITING = {
    *(aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero, aten.bincount, aten.histc),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.nonzero_static),
}
READS, TO_CPU, FROM_CPU = "makes the host wait for a value", "copies to the CPU", "copies from the CPU and waits for it"
WAITS = {READS, TO_CPU, FROM_CPU}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index, aten._unsafe_index_put}
COPIES = {aten._to_copy, aten.copy_, aten._copy_from, aten.copy}
# from the documentation of torch.use_deterministic_algorithms: what raises an error on a GPU
NOT_DETERMINISTIC = {
    *(aten._adaptive_avg_pool2d_backward, aten._adaptive_avg_pool3d_backward, aten.adaptive_max_pool2d_backward),
    *(aten.avg_pool3d_backward, aten.max_pool3d_with_indices_backward, aten.max_unpool2d, aten.max_unpool3d),
    *(aten.fractional_max_pool2d_backward, aten.fractional_max_pool3d_backward, aten.upsample_linear1d_backward),
    *(aten.upsample_bilinear2d_backward, aten.upsample_bicubic2d_backward, aten.upsample_trilinear3d_backward),
    *(aten._upsample_bilinear2d_aa_backward, aten._upsample_bicubic2d_aa_backward, aten._ctc_loss, aten.kthvalue),
    *(aten.reflection_pad1d_backward, aten.reflection_pad2d_backward, aten.reflection_pad3d_backward),
    *(aten.replication_pad1d_backward, aten.replication_pad2d_backward, aten.replication_pad3d_backward),
    *(aten.grid_sampler_2d_backward, aten.grid_sampler_3d_backward, aten.nll_loss2d_forward, aten.nll_loss2d_backward),
    *(aten.median.dim, aten.nanmedian.dim, aten.put_, aten.histc, aten.scatter_reduce),
}
NO_KERNELS = {torch.uint16, torch.uint32, torch.uint64}  # but for copies
# operations without kernels for half precision on GPUs, by how they begin
FULL_PRECISION = (
    "aten::linalg_inv",
    "aten::linalg_solve",
    "aten::_linalg_",
    "aten::_fft_",
    "aten::cholesky",
    "aten::triangular_solve",
    "aten::quantile",
)
HALF = {torch.bfloat16, torch.float16}


# in place, without a result; fake tensors know it on the CPU only
OF_GPU_ONLY = {aten._fused_sgd_}


class NotOnGpu(AssertionError):
    """A step that would wait, fail, or differ from run to run on a GPU."""


class _Watch(TorchDispatchMode):
    """Sees every operation before the fake tensors do, those of the backward pass too; counts those on the GPU.

    waits_in: ends of names of files in which the host may wait; what it reads there is 1, or true. waits: the lines where it did.
    """

    def __init__(self, waits_in: Sequence[str]) -> None:
        super().__init__()
        self.num_operations, self.waits_in, self.waits = 0, waits_in, list[str]()
        self._is_paused = False

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Within the block waiting is allowed: before the first step, say."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        values = list(_flatten((args, kwargs)))
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        devices = {value.type for value in values if isinstance(value, torch.device)} | {tensor.device.type for tensor in tensors}
        if "cuda" not in devices:
            with fake_tensor.unset_fake_temporarily():  # on the CPU all is real, as it is beside a GPU
                return function(*args, **kwargs)
        if function.namespace == "prim":
            return function(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode torch does not take it apart itself
                return function.decompose(*args, **kwargs)
        if not self._is_paused:
            self.num_operations += 1
            what = _find_fault(function, args, kwargs, tensors)
            if what is not None:
                self._wait_or_fail(function, what)
                if what in (READS, TO_CPU):
                    with fake_tensor.unset_fake_temporarily():
                        ones = torch.ones(args[0].shape, dtype=args[0].dtype)
                        return ones.item() if what == READS else ones
        return None if function.overloadpacket in OF_GPU_ONLY else function(*args, **kwargs)

    def _wait_or_fail(self, function: Any, what: str) -> None:
        frame = _find_frame()
        place = f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}"
        if what not in WAITS or not frame.filename.endswith(tuple(self.waits_in)):
            raise NotOnGpu(f"{function} {what}: {place}")
        self.waits.append(place)


def _find_fault(function: Any, args: tuple, kwargs: dict, tensors: list[torch.Tensor]) -> str | None:
    """What is wrong with an operation on a GPU; None if nothing is."""
    operation = function.overloadpacket
    if operation in COPIES:
        return _find_fault_of_copy(function, args, kwargs)
    if operation is aten._local_scalar_dense:
        return READS
    if operation in WAITING:
        return "makes the host wait for a shape"
    if operation in INDEXING:
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "makes the host wait for a shape: indices are a mask"
        if any(index.device.type == "cpu" for index in indices):
            return "makes the host wait: indices are on the CPU"
    is_cumsum = operation is aten.cumsum and args[0].is_floating_point()
    if operation in NOT_DETERMINISTIC or function in NOT_DETERMINISTIC or is_cumsum:
        return "is not deterministic"
    found = {tensor.dtype for tensor in tensors}
    missing = found & NO_KERNELS | (found & HALF if function.name().startswith(FULL_PRECISION) else set())
    return f"has no kernel for {', '.join(map(str, missing))}" if missing else None


def _find_fault_of_copy(function: Any, args: tuple, kwargs: dict) -> str | None:
    if function.overloadpacket is aten._to_copy:
        source, target = args[0].device, torch.device(kwargs.get("device") or args[0].device)
        non_blocking = kwargs.get("non_blocking", False)
    else:
        target, source = args[0].device, args[1].device
        non_blocking = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    if source.type == "cuda" and target.type == "cpu":
        return TO_CPU
    return FROM_CPU if source.type == "cpu" and target.type == "cuda" and not non_blocking else None


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for one in value:
            yield from _flatten(one)
    elif isinstance(value, dict):
        yield from _flatten(list(value.values()))
    else:
        yield value


def _find_frame() -> traceback.FrameSummary:
    """The innermost line of the project, or of a test, that made an operation."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(f"{PROJECT}/") and frame.filename != __file__ and "/.venv/" not in frame.filename:
            return frame
    raise AssertionError("no line of the project made it")


@contextlib.contextmanager
def faking_cuda(waits_in: Sequence[str] = ()) -> Iterator[_Watch]:
    """Within the block `cuda` is a device, of fake tensors; deterministic algorithms are on, as by default in params.yaml.

    What is on the CPU, such as loaded data and new models, consists of real tensors. waits_in: see `_Watch`.
    """
    watch, before = _Watch(waits_in), torch.are_deterministic_algorithms_enabled()
    with contextlib.ExitStack() as stack:
        if not torch.cuda.is_available():
            stack.enter_context(_believing_in_cuda())
        stack.enter_context(mock.patch.object(torch.nn.Module, "_apply", _make_apply(watch)))
        stack.callback(torch.use_deterministic_algorithms, before)
        torch.use_deterministic_algorithms(True)
        # a process starts the backward pass's threads once, for the devices it has then
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(watch)
        yield watch


def _make_apply(watch: _Watch) -> Any:
    """What `Module.to` does, for weights that have become fake: torch would try to exchange them in place, which fails."""

    def apply(module: torch.nn.Module, convert: Any, recurse: bool = True) -> torch.nn.Module:
        for child in module.children() if recurse else ():
            child._apply(convert)
        with torch.no_grad(), watch.pause():
            for name, parameter in module._parameters.items():
                moved = None if parameter is None else convert(parameter)
                if moved is not parameter:
                    module._parameters[name] = torch.nn.Parameter(moved.detach(), parameter.requires_grad)
            module._buffers.update({name: convert(buffer) for name, buffer in module._buffers.items() if buffer is not None})
        return module

    return apply


@contextlib.contextmanager
def _believing_in_cuda() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_guarding_cuda())
        stack.enter_context(_hooking_cuda())
        patch = stack.enter_context
        patch(mock.patch.object(fake_tensor, "init_gpu_context", lambda device: None))
        patch(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        patch(mock.patch.object(torch.cuda, "is_bf16_supported", lambda *_, **__: True))
        patch(mock.patch.object(fabric_cuda, "num_cuda_devices", lambda: 1))
        patch(mock.patch.object(fabric_cuda.CUDAAccelerator, "setup_device", lambda *_: None))
        patch(mock.patch.object(SingleDeviceStrategy, "setup_environment", lambda *_: None))
        yield


@contextlib.contextmanager
def _guarding_cuda() -> Iterator[None]:
    """torch replaces the guard of a CUDA without devices by one that does nothing; where there is none, it needs one first."""
    registry = (ctypes.c_void_p * (CUDA + 1)).in_dll(ctypes.CDLL(str(LIBRARIES / "libc10.so")), GUARDS)
    before = registry[CUDA]
    no_devices = ctypes.CFUNCTYPE(ctypes.c_int8)(lambda: 0)
    table = (ctypes.c_void_p * TABLE_SIZE)(*[ctypes.cast(no_devices, ctypes.c_void_p).value] * TABLE_SIZE)
    guard = ctypes.c_void_p(ctypes.addressof(table))
    try:
        if not before:
            registry[CUDA] = ctypes.addressof(guard)
        torch._C._ensureCUDADeviceGuardSet()
        assert registry[CUDA] not in (None, ctypes.addressof(guard)), "torch has not set its no-op guard"
        yield
    finally:
        registry[CUDA] = before


@contextlib.contextmanager
def _hooking_cuda() -> Iterator[None]:
    """Have CUDA's hooks, an object with virtual functions, say that torch is built with it and that no device is in use."""
    find = ctypes.CDLL(str(LIBRARIES / "libtorch_cpu.so"))[HOOKS]
    find.restype = ctypes.c_void_p
    pointer = ctypes.c_void_p.from_address(find())
    before = pointer.value
    yes, no = ctypes.CFUNCTYPE(ctypes.c_bool)(lambda: True), ctypes.CFUNCTYPE(ctypes.c_bool)(lambda: False)
    table = (ctypes.c_void_p * TABLE_SIZE).from_buffer_copy((ctypes.c_void_p * TABLE_SIZE).from_address(before))
    table[IS_BUILT] = ctypes.cast(yes, ctypes.c_void_p).value
    table[HAS_PRIMARY_CONTEXT] = ctypes.cast(no, ctypes.c_void_p).value
    try:
        pointer.value = ctypes.addressof(table)
        assert str(torch._C._accelerator_getAccelerator()) == "cuda", "torch's hooks have another layout"
        yield
    finally:
        pointer.value = before


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Whether it is fake, and on cuda."""
    return isinstance(tensor, FakeTensor) and tensor.device.type == "cuda"
