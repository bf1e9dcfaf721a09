"""Files that would run code where they are unpickled: each makes a file called canary."""

import argparse
import collections
import io
import pickle
import subprocess
import tarfile
import zipfile

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3)}


class Call:
    """Pickled as a call of a function, made where the file is read."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Rebuilt:
    """Pickled as a call whose result is then given a state."""

    def __init__(self, function, args, state):
        self.call = function, args, state

    def __reduce__(self):
        return self.call


def touch(canary):
    return Call(eval, f"open({str(canary)!r}, 'w').close()")


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, content in members.items():
            written.writestr(f"archive/{name.replace('__', '.')}", content)
    return file.getvalue()


def tar_of(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as written:
        for name in ("storages", "tensors", "pickle", "sys_info"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            written.addfile(member, io.BytesIO(content))
    return file.getvalue()


def history(**state):
    buffer = HistoryBuffer(np.ones(2), np.ones(2))
    vars(buffer).update(state)
    return {"state_dict": WEIGHTS, "message_hub": {"log_scalars": {"loss": buffer}}}


def program(canary):
    class Program(torch.nn.Module):
        def forward(self, x):
            return x

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Program()), file)
    return file.getvalue()


def beside(payload):
    return saved({"state_dict": WEIGHTS, "meta": {"env": payload}})


def of_protocol(protocol):
    return lambda canary: pickle.dumps({"state_dict": touch(canary)}, protocol=protocol)


#: Those whose code really runs where a file is trusted.
LIVE = {
    "eval": lambda c: beside(touch(c)),
    "os.system": lambda c: beside(Call(__import__("os").system, f"touch {c}")),
    "exec": lambda c: beside(Call(exec, f"open({str(c)!r}, 'w')")),
    "subprocess": lambda c: beside(Call(subprocess.call, ["touch", str(c)])),
    "at the top": lambda c: saved(touch(c)),
    "as a key": lambda c: saved({"state_dict": WEIGHTS, "x": {"y": [({touch(c): 1},)]}}),
    "old format": lambda c: saved(
        {"state_dict": WEIGHTS, "x": touch(c)}, _use_new_zipfile_serialization=False
    ),
    "pickle in pickle": lambda c: beside(Call(pickle.loads, pickle.dumps(touch(c)))),
    "file in file": lambda c: beside(Call(pickle.load, Call(io.BytesIO, pickle.dumps(touch(c))))),
    "in a history": lambda c: saved(history(extra=touch(c))),
    "in a history's methods": lambda c: beside(
        Rebuilt(HistoryBuffer, (), {"statistics_methods": {"harm": touch(c)}})
    ),
    "in a namespace": lambda c: beside(argparse.Namespace(lr=touch(c))),
    "in a configuration": lambda c: beside(ConfigDict(lr=touch(c))),
    "in an ordered dict's attributes": lambda c: beside(
        Rebuilt(collections.OrderedDict, (), {"_metadata": touch(c)})
    ),
    "in an array of objects": lambda c: beside(np.array([touch(c), 1], dtype=object)),
    "through a tensor's rebuilding": lambda c: beside(
        Call(torch._tensor._rebuild_from_type_v2, eval, int, (f"open({str(c)!r}, 'w')",), {})
    ),
    "through a parameter's hooks": lambda c: beside(
        Call(torch._utils._rebuild_parameter_with_state, torch.ones(1), True, {}, {"x": touch(c)})
    ),
    "bare pickle, protocol 0": of_protocol(0),
    "bare pickle, protocol 4": of_protocol(4),
    "zip within zip": lambda c: archive(
        data__pkl=archive(data__pkl=saved(touch(c))), version="3\n"
    ),
    "two pickles": lambda c: archive(
        version="3\n", byteorder="little", data__pkl=pickle.dumps(touch(c), 2)
    ),
    "tar": lambda c: tar_of(pickle.dumps(touch(c), 2)),
}
#: Those that reach for what is allowed, to make it do what it should not.
REACHING = {
    "attributes of allowed objects": lambda c: beside(
        Call(getattr(np, "__getattr__", getattr), "os")
    ),
    "a call of what getattr gave": lambda c: (
        b"\x80\x02cbuiltins\ngetattr\ncnumpy\nndarray\nX\x06\x00\x00\x00tofile\x86R)R."
    ),
    "a new function for a stand-in": lambda c: (
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(cbuiltins\ngetattr\n)}}tb."
    ),
    "a state for a class": lambda c: (
        b"\x80\x02cargparse\nNamespace\n}X\x08\x00\x00\x00__init__Nsb."
    ),
    "a state for a history's class": lambda c: (
        b"\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n}X\x04\x00\x00\x00meanNsb."
    ),
    "a method by its dotted name": lambda c: b"\x80\x02cargparse\nNamespace.__init__\n.",
    "stack global": lambda c: b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "instance opcode": lambda c: b"(S'touch x'\nios\nsystem\n.",
    "extension opcode": lambda c: b"\x80\x02\x82\x01.",
    "a persistent module": lambda c: b"\x80\x02X\x06\x00\x00\x00modulecos\nsystem\n\x86Q.",
    "TorchScript": program,
}
